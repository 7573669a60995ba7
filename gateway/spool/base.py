"""What a durable buffer is, whichever storage is behind it.

A *queue* is one (destination, endpoint).  Ingest appends *entries* (the records of one request
for one queue); the spool groups them into *chunks* and makes them durable.  Delivery reads chunks
and *settles* them.  Every change to chunks and to the ledger's counters happens in one transaction,
so ``accepted = delivered + dead_lettered + pending`` holds after any crash.

What can be done with dead letters is said in ``gateway.spool.dead_letters``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.model import (
    DeadLetter,
    Entry,
    Health,
    Ledger,
    Queue,
    QueueState,
    StoredDeadLetter,
    Usage,
)

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_CHUNK_RECORDS",
    "Chunk",
    "Settlement",
    "Spool",
]

MAX_CHUNK_RECORDS = 2000
"""Records in one chunk: Mixpanel's limit for one request."""

MAX_CHUNK_BYTES = 2 * 1024 * 1024
"""Uncompressed bytes in one chunk: Mixpanel's limit for one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records as they lie on disk.

    :param id: ascending within a queue in the order of acceptance.
    :param encoding: how ``payload`` is stored.
    :param raw_bytes: size of the records uncompressed.
    :param created_ms: when the oldest record was accepted, epoch milliseconds.
    """

    id: int
    queue: Queue
    records: int
    raw_bytes: int
    created_ms: int
    encoding: Literal["gzip", "identity"]
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of one or more chunks of a queue, applied in one transaction.

    The records of ``chunk_ids`` are exactly: ``delivered`` of them, the ``dead`` ones, and
    ``remaining``, which takes the place (and keeps the age) of the first chunk in the queue.
    """

    queue: Queue
    chunk_ids: tuple[int, ...]
    delivered: int
    dead: Sequence[DeadLetter] = ()
    remaining: Entry | None = None


class Spool(Protocol):
    """A durable buffer of records.

    All methods belong to one event loop.  Nothing here blocks it.
    """

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
        dead-lettered.  Either all of the request becomes durable or the awaitable raises.

        :raises SpoolUnavailable: (from the awaitable) nothing of it was kept.
        """
        ...

    async def read(
        self,
        queue: Queue,
        *,
        after: int = 0,
        max_records: int = MAX_CHUNK_RECORDS,
        max_bytes: int = MAX_CHUNK_BYTES,
    ) -> list[Chunk]:
        """Return waiting chunks with ``id > after``, in order, within both limits.

        The first waiting chunk is returned even when it alone exceeds a limit.  A chunk whose
        checksum does not match is set aside, counted and never returned.
        """
        ...

    async def newest_id(self, queue: Queue) -> int:
        """Return the id of the newest waiting chunk, 0 where none waits.

        :raises SpoolUnavailable: it cannot be found out now.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Apply the end of chunks; returns when it is durable.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        ...

    def ledger(self) -> Mapping[str, Ledger]:
        """Return the committed counters by destination."""
        ...

    def queues(self) -> Mapping[Queue, QueueState]:
        """Return what is waiting, by queue; queues that were never used are absent."""
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

    def on_commit(self, listener: Callable[[frozenset[Queue]], None]) -> None:
        """Call ``listener`` on the event loop after each commit that added chunks to queues."""
        ...

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredDeadLetter]:
        """Return dead letters with ``id > after``, oldest first.

        Damaged ones are set aside, counted and never returned.
        """
        ...
