"""The durable buffer: requests are answered when their records are in it, and not before."""

from gateway.spool.base import Spool
from gateway.spool.sqlite import SqliteSpool

__all__ = ["Spool", "SqliteSpool"]
