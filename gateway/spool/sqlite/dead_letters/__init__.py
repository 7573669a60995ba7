"""The table of dead letters: changed by the writer, searched beside it."""
