"""Delivery: from the spool to the destinations, at least once, under their limits."""

from gateway.delivery.sender import Status
from gateway.delivery.service import Delivery

__all__ = ["Delivery", "Status"]
