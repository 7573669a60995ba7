"""What all layers speak of: queues, records, dead letters, and the ledger that counts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from gateway.subject import keys_of

__all__ = [
    "ENDPOINTS",
    "DeadLetter",
    "DeadLetterCount",
    "Entry",
    "Health",
    "Ledger",
    "Origin",
    "Queue",
    "QueueState",
    "StoredDeadLetter",
    "Usage",
    "size_of",
]


ENDPOINTS = ("import", "track", "engage", "groups")
"""Mixpanel's, in the order of the outputs of every mapping; a name is also the path."""


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

    def keys(self) -> list[bytes]:
        """Return of each record what it is about, for a storage with partitions.

        Records of a queue that have the same key must keep their order.  The keys are looked for in
        the records when they are asked for, 0.5 to 1.4 us each, so that others pay nothing.
        """
        return keys_of(self.queue.endpoint, self.lines)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter with what the spool adds to it.

    :param id: only the storage knows what it means.
    """

    id: str
    created_ms: int
    letter: DeadLetter


class DeadLetterCount(msgspec.Struct, frozen=True, gc=False):
    """The dead letters of a destination that are there now, counted from the storage itself.

    :param bytes: the room they take, payloads, details and a constant for each.
    """

    letters: int = 0
    bytes: int = 0

    def __add__(self, other: "DeadLetterCount") -> "DeadLetterCount":
        return DeadLetterCount(self.letters + other.letters, self.bytes + other.bytes)


def size_of(entries: Sequence[Entry], dead: Sequence[DeadLetter]) -> int:
    """Return the bytes of the records of one request."""
    size = 0
    for entry in entries:
        size += len(entry.lines)
    for letter in dead:
        size += len(letter.payload)
    return size


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
