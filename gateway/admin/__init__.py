"""What operators talk to."""

from gateway.admin.server import AdminServer

__all__ = ["AdminServer"]
