"""Delivery: from the spool to the destinations, at least once, under their limits."""

from gateway.delivery.sender import EndpointStatus
from gateway.delivery.service import Delivery

__all__ = ["Delivery", "EndpointStatus"]
