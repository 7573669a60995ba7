"""What takes the load: the gateway and its peers."""
