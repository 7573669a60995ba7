"""What a durable buffer is, whichever storage is behind it.

A *queue* is one (destination, endpoint).  Ingest appends *entries* (the records of one request
for one queue); the spool groups them into *chunks* and makes them durable.  Delivery reads chunks
and *settles* them.  Every change to chunks and to the ledger's counters happens in one transaction,
so ``accepted = delivered + dead_lettered + pending`` holds after any crash.

What can be done with dead letters is said in ``gateway.spool.dead_letters``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_CHUNK_RECORDS",
    "Chunk",
    "DeadLetter",
    "Entry",
    "Health",
    "Ledger",
    "Origin",
    "Queue",
    "QueueState",
    "Settlement",
    "Spool",
    "StoredDeadLetter",
    "Usage",
    "size_of",
]

MAX_CHUNK_RECORDS = 2000
"""Records in one chunk: Mixpanel's limit for one request."""

MAX_CHUNK_BYTES = 2 * 1024 * 1024
"""Uncompressed bytes in one chunk: Mixpanel's limit for one request."""


class Queue(NamedTuple):
    """Where records go: a destination's name and one of its endpoints."""

    destination: str
    endpoint: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Records for one queue.

    :param lines: newline-delimited JSON; each record ends with a newline and holds none inside.
    :param records: how many records ``lines`` holds; at least 1.
    """

    queue: Queue
    lines: bytes
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an event was received with, so that it can be mapped again as if it had just arrived.

    :param source: name of the source that sent it.
    :param received_ms: time of receipt, epoch milliseconds.
    :param skew_ms: what its times are corrected by.
    :param client_ip: the user's address where the request told it.
    """

    source: str
    received_ms: int
    skew_ms: int = 0
    client_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Something that will not be delivered, kept with the reason.

    :param queue: the queue it was for; ``endpoint`` is "" for an event that mapping rejected.
    :param kind: ``event`` as received, or ``record`` as it was sent.
    :param reason: stable word, e.g. ``missing_event_name`` or ``refused``.
    :param detail: for a person; Mixpanel's own message where there is one.
    :param payload: one JSON object.
    :param origin: that of an event; None for a record.
    """

    queue: Queue
    kind: Literal["event", "record"]
    reason: str
    detail: str
    payload: bytes
    origin: Origin | None = None


def size_of(entries: Sequence[Entry], dead: Sequence[DeadLetter]) -> int:
    """Return the bytes of the records of one request."""
    size = 0
    for entry in entries:
        size += len(entry.lines)
    for letter in dead:
        size += len(letter.payload)
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter with what the spool adds to it."""

    id: int
    created_ms: int
    letter: DeadLetter


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


class Ledger(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Counts of records of one destination since the spool was created.

    :param dead_lettered: those that are kept, and what was purged, dropped and lost of them.
    :param replayed: dead letters that were sent again: since then pending or delivered.
    :param purged: dead letters that a person deleted.
    :param dropped: dead letters deleted to stay within a limit.
    :param lost: what damage to the storage destroyed.
    """

    accepted: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    pending: int = 0
    replayed: int = 0
    purged: int = 0
    dropped: int = 0
    lost: int = 0

    @property
    def gap(self) -> int:
        """Records that vanished or appeared from nowhere; always 0."""
        return self.accepted - self.delivered - self.dead_lettered - self.pending

    @property
    def kept(self) -> int:
        """Dead letters that have to be there."""
        return self.dead_lettered - self.purged - self.dropped - self.lost

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            accepted=self.accepted + other.accepted,
            delivered=self.delivered + other.delivered,
            dead_lettered=self.dead_lettered + other.dead_lettered,
            pending=self.pending + other.pending,
            replayed=self.replayed + other.replayed,
            purged=self.purged + other.purged,
            dropped=self.dropped + other.dropped,
            lost=self.lost + other.lost,
        )


class QueueState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is waiting in one queue.

    :param oldest_ms: acceptance time of the oldest waiting record, epoch milliseconds;
        None when the queue is empty.
    """

    pending: int
    chunks: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the spool can make records durable now.

    :param detail: what is wrong and where, "" when it accepts.
    """

    accepting: bool
    detail: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Room on disk, as it was when last looked at; in bytes.

    :param used: by what is kept, and by a log that something keeps from becoming smaller.
    :param capacity: what that may be.
    :param disk_free: what the disk has left for this process.
    :param min_free: what it has to have left.
    """

    used: int = 0
    capacity: int = 0
    disk_free: int = 0
    min_free: int = 0


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
