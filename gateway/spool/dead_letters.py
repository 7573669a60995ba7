"""What can be done with dead letters, whichever storage keeps them.

An operator lists, replays and purges them; limits drop the oldest.  Each of these is one
transaction with the ledger's counters, so a dead letter is never in two places or in none.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from gateway.config import SpoolConfig
from gateway.model import DeadLetterCount, Entry, StoredDeadLetter

__all__ = [
    "LETTER_BYTES",
    "MAX_IDS",
    "DeadLetterStore",
    "Filter",
    "Id",
    "LetterGroup",
    "LetterLimits",
    "Number",
    "Replacement",
    "sum_of",
]

LETTER_BYTES = 256
"""What keeping a letter takes besides its payload and detail: its row, its place in the index."""

MAX_IDS = 10_000
"""Ids in one filter."""

_USUAL = SpoolConfig()

# What the storage can compare: a signed number of 64 bits.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


Id = Annotated[str, Meta(pattern=r"^(\d[\w:]{0,99})?$")]
"""What a storage calls something it keeps; only the storage knows what that means."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant: those that fit everything that is given.

    :param since_ms: kept at this time or later, epoch milliseconds.
    :param until_ms: kept before this time.
    :param ids: one of these; None for any.
    :param up_to: no newer one than the one with this id.
    """

    destination: str | None = None
    endpoint: str | None = None
    kind: Literal["event", "record"] | None = None
    reason: str | None = None
    since_ms: Number | None = None
    until_ms: Number | None = None
    ids: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] | None = None
    up_to: Id | None = None


class LetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters that have the same cause.

    :param bytes: of their payloads and details.
    :param example: detail of the newest.
    """

    destination: str
    endpoint: str
    kind: str
    reason: str
    letters: int
    bytes: int
    oldest_ms: int
    newest_ms: int
    example: str


def sum_of(one: LetterGroup, other: LetterGroup) -> LetterGroup:
    """Return two groups of the same cause as one."""
    newest = max(one, other, key=lambda group: group.newest_ms)
    return msgspec.structs.replace(
        newest,
        letters=one.letters + other.letters,
        bytes=one.bytes + other.bytes,
        oldest_ms=min(one.oldest_ms, other.oldest_ms),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterLimits:
    """Beyond these, the oldest dead letters are dropped.

    :param max_bytes: payloads, details, and ``LETTER_BYTES`` for each letter.
    """

    max_bytes: int = _USUAL.dead_letter_max_bytes
    max_age_ms: int = int(_USUAL.dead_letter_max_age_days * 86_400_000)


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes the place of a dead letter.

    :param entries: records for queues of the letter's own destination; at least one.
    """

    letter_id: str
    entries: Sequence[Entry]


class DeadLetterStore(Protocol):
    """The dead letters of a spool.

    :raises msgspec.ValidationError: (from all that take ids) one is none of such a storage.
    """

    @property
    def limits(self) -> LetterLimits:
        """The limits in force."""
        ...

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, max_bytes: int = 1 << 20
    ) -> list[StoredDeadLetter]:
        """Return the dead letters after one, oldest first, within both limits.

        The first is returned even when it alone exceeds ``max_bytes``.  Damaged ones are set
        aside, counted and never returned.

        :param after: id of the one that they come after; "" for the oldest.
        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def ids(self, wanted: Filter, *, after: str = "", limit: int = 100) -> list[str]:
        """Return the ids of the dead letters after one, oldest first.

        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def groups(self, wanted: Filter) -> list[LetterGroup]:
        """Return counts by destination, endpoint, kind and reason, the most frequent first.

        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def newest_id(self) -> str:
        """Return the id of the newest dead letter; one below all that will come where none is.

        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def replay(self, replacements: Sequence[Replacement]) -> frozenset[str]:
        """Put records in the place of dead letters, in one transaction; return whose was taken.

        A letter that is not there any more is passed over with its records: whoever took it has
        counted it.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        ...

    async def purge(self, ids: Collection[str]) -> int:
        """Delete dead letters for good, in one transaction; return how many of them were there.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        ...

    def kept(self) -> Mapping[str, DeadLetterCount]:
        """Return what is kept, by destination."""
        ...
