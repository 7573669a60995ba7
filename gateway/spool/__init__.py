"""The durable buffer: requests are answered when their records are in it, and not before.

``base``, ``outlet``, ``dead_letters`` and ``pending`` say what a spool is and what can be done with
it, whichever storage is behind it; ``chunks`` and ``recent_chunks`` are of use to any.  ``sqlite``
is the storage: one file a worker.  ``backends`` chooses it.
"""

from gateway.spool.base import Spool

__all__ = ["Spool"]
