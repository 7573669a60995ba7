"""What a durable buffer is, whichever storage is behind it.

A *queue* is one (destination, endpoint).  Ingest appends *entries* (the records of one request
for one queue); the spool groups them into *chunks* and makes them durable.  Delivery takes chunks
from the queue's *outlet* and *settles* them.  Chunks and the ledger's counters change together, so
``accepted = delivered + dead_lettered + pending`` holds after any crash.

The outlets are described in ``gateway.spool.outlet``, what operators can do with dead letters and
with what waits in ``gateway.spool.dead_letters`` and ``gateway.spool.pending``.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from gateway.model import DeadLetter, Entry, Health, Ledger, Queue, QueueState, Usage
from gateway.spool.dead_letters import DeadLetterStore
from gateway.spool.outlet import Outlet
from gateway.spool.pending import PendingStore

__all__ = ["Spool"]


class Spool(Protocol):
    """A durable buffer of records.

    All methods belong to one event loop.  Nothing here blocks it.
    """

    @property
    def place(self) -> str:
        """Where it keeps what it has, for people."""
        ...

    async def open(self) -> None:
        """Find everything an earlier process left, and accept records from now on.

        :raises SpoolLocked: another process owns this spool.
        :raises SpoolError: the storage cannot be used.
        """
        ...

    async def close(self) -> None:
        """Commit what was appended, then release the storage.  Idempotent."""
        ...

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        """Queue the records of one request; the result arrives when they are on disk.

        Records of one queue keep the order of the calls.  ``dead`` counts as accepted and as
        dead-lettered.  All of the request is durable when the awaitable returns.

        :raises SpoolUnavailable: (from the awaitable) it is not known to be kept: whoever sent it
            sends it again.
        """
        ...

    def outlet(self, queue: Queue) -> Outlet:
        """Return the way out of a queue, always the same one."""
        ...

    @property
    def dead_letters(self) -> DeadLetterStore:
        """What will not be delivered, with the reasons."""
        ...

    @property
    def pending(self) -> PendingStore:
        """What waits, for operators."""
        ...

    def ledger(self) -> Mapping[str, Ledger]:
        """Return the counters of this process by destination, as they were last committed.

        Where several processes share the storage, these are its share: what one accepted another
        one may have delivered, so that only the sum of all has no gap.
        """
        ...

    def queues(self) -> Mapping[Queue, QueueState]:
        """Return what is waiting, by queue, for operators; queues that were never used are absent.

        It may lag behind, and may be missing: delivery depends on none of it.
        """
        ...

    def health(self) -> Health:
        """Return whether the next append is likely to succeed, as far as is known."""
        ...

    async def check(self) -> Health:
        """Find out whether an append would succeed now, unless that has just been seen.

        Waits for a slow disk only for a moment.
        """
        ...

    def usage(self) -> Usage:
        """Return how much room there is."""
        ...
