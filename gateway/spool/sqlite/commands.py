"""What passes between the spool's event loop and the thread that writes.

The counters are here too: what one transaction does to them, and what all of them did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from gateway.errors import SpoolError
from gateway.model import DeadLetter, DeadLetterCount, Entry, Ledger, Queue, QueueState
from gateway.spool.chunks import NumberedChunk

__all__ = [
    "Append",
    "Changes",
    "CommitResult",
    "Expire",
    "Purge",
    "Replay",
    "SetAside",
    "SetAsideLetters",
    "Settle",
    "Totals",
    "Work",
]

EMPTY = QueueState(pending=0, chunks=0, oldest_ms=None)


class Append(msgspec.Struct, frozen=True):
    """The records of one request."""

    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The end of one or more chunks of a queue.

    Their records are exactly: ``delivered`` of them, the ``dead`` ones, and ``remaining``, which
    takes the place (and keeps the age) of the first chunk in the queue.
    """

    queue: Queue
    chunk_ids: Sequence[int]
    delivered: int
    dead: Sequence[DeadLetter] = ()
    remaining: Entry | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A chunk that delivery must never see."""

    queue: Queue
    chunk_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class SetAsideLetters:
    """Dead letters that are not as they were written, and must never be sent."""

    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Replay:
    """Records in the place of dead letters; results in the ids of those that were there.

    :param entries: for queues of a letter's own destination, by its id; at least one for each.
    """

    entries: Mapping[int, Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class Purge:
    """The end of dead letters; results in how many were there."""

    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Expire:
    """A step towards the limits of dead letters; results in whether there is more to do.

    Every transaction takes such a step; this is for when there is none.
    """


Work = Append | Settle | SetAside | SetAsideLetters | Replay | Purge | Expire


@dataclass(slots=True)
class Changes:
    """What one transaction does to the counters."""

    ledger: dict[str, Ledger] = field(default_factory=dict)
    queues: dict[Queue, QueueState] = field(default_factory=dict)  # differences, except oldest_ms
    damaged: list[SetAside] = field(default_factory=list)
    damaged_letters: list[int] = field(default_factory=list)
    kept: dict[str, DeadLetterCount] = field(default_factory=dict)

    @property
    def has_damage(self) -> bool:
        """Tell whether something was found that cannot be told from what it was."""
        return bool(self.damaged or self.damaged_letters)

    def count(self, destination: str, delta: Ledger) -> None:
        """Add to the ledger of a destination."""
        self.ledger[destination] = self.ledger.get(destination, Ledger()) + delta

    def keep(self, destination: str, delta: DeadLetterCount) -> None:
        """Add to the dead letters that a destination has."""
        self.kept[destination] = self.kept.get(destination, DeadLetterCount()) + delta

    def move(self, queue: Queue, *, chunks: int = 0, records: int = 0) -> None:
        """Add to what waits in a queue."""
        before = self.queues.get(queue, EMPTY)
        self.queues[queue] = replace(
            before, pending=before.pending + records, chunks=before.chunks + chunks
        )


@dataclass(slots=True)
class Totals:
    """The committed counters; what is pending is in ``queues`` only."""

    ledger: dict[str, Ledger] = field(default_factory=dict)
    queues: dict[Queue, QueueState] = field(default_factory=dict)
    kept: dict[str, DeadLetterCount] = field(default_factory=dict)

    def apply(self, changes: Changes) -> None:
        """Add what a transaction did."""
        for destination, delta in changes.ledger.items():
            self.ledger[destination] = self.ledger.get(destination, Ledger()) + delta
        for queue, moved in changes.queues.items():
            before = self.queues.get(queue, EMPTY)
            self.queues[queue] = QueueState(
                pending=before.pending + moved.pending,
                chunks=before.chunks + moved.chunks,
                oldest_ms=moved.oldest_ms,
            )
        for destination, more in changes.kept.items():
            self.kept[destination] = self.kept.get(destination, DeadLetterCount()) + more


@dataclass(slots=True)
class CommitResult:
    """What became of a group.

    :param refused: by position, why a request was not kept; all others are on disk.
    :param results: by position, what those that have one resulted in.
    :param fresh: the chunks that were added, in order.
    :param totals: replaces the counters, in place of adding ``changes`` to them.
    :param problem: why the next append is likely to fail, "" when it is not.
    :param is_disk_full: whether that is because the disk has no room at all.
    """

    refused: dict[int, SpoolError] = field(default_factory=dict)
    results: dict[int, object] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    fresh: list[NumberedChunk] = field(default_factory=list)
    totals: Totals | None = None
    problem: str = ""
    is_disk_full: bool = False
