"""``gateway pending``: what waits for delivery, and what to do about it."""
