"""A Mixpanel stand-in that enforces the documented contract, and misbehaves on request."""

from gateway.sandbox.faults import Fault
from gateway.sandbox.server import Sandbox

__all__ = ["Fault", "Sandbox"]
