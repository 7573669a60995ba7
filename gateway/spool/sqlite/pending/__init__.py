"""What operators do with records that wait in the file."""
