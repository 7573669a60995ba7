"""``gateway dead-letters``: what could not be delivered, and what to do about it."""
