"""Other ways to do the gateway's work, for comparison."""
