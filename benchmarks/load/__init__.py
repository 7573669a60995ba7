"""The load generator: processes that post requests which are ready, and time the answers."""
