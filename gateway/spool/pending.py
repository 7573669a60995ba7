"""What an operator can do with records that wait, whichever storage keeps them.

Records lie in chunks, and the choice is the operator's record by record.  What is set aside becomes
dead letters in the transaction that takes it out of its chunk, so no record is in two places or in
none.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from gateway.model import DeadLetter, Queue
from gateway.spool.dead_letters import MAX_IDS, Id, Number
from gateway.spool.outlet import Chunk

__all__ = ["Chosen", "Match", "PendingFilter", "PendingStore", "Waiting", "Withdrawal"]

Match = Callable[[str, bytes], bool]
"""Tells whether a record is meant, by the id of its chunk and its line."""


class PendingFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pending records are meant: those that fit everything that is given.

    :param since_ms: accepted at this time or later, epoch milliseconds.
    :param until_ms: accepted before this time.
    :param event: the event's name.
    :param token: the project's token, where the record has one.
    :param source: the name of the source, where the record has one.
    :param ids: one of these records, or a record of one of these chunks; see ``gateway.pending``.
    :param up_to: of no newer chunk than the one with this id.
    """

    destination: str | None = None
    endpoint: str | None = None
    since_ms: Number | None = None
    until_ms: Number | None = None
    event: str | None = None
    token: str | None = None
    source: str | None = None
    ids: Annotated[tuple[str, ...], Meta(max_length=MAX_IDS)] | None = None
    up_to: Id | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in one queue.

    :param bytes: of the records, uncompressed.
    """

    queue: Queue
    records: int
    chunks: int
    bytes: int
    oldest_ms: int
    newest_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A chunk and those of its records that are meant.

    :param id: what operators call the chunk.
    :param lines: all of its records, each without its newline.
    :param indexes: of those that are meant, ascending; at least one.
    """

    id: str
    chunk: Chunk
    lines: Sequence[bytes]
    indexes: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Records of a chunk that are to become dead letters.

    :param dead: in place of the records at ``chosen.indexes``.
    """

    chosen: Chosen
    dead: Sequence[DeadLetter]


class PendingStore(Protocol):
    """The records that wait in a spool.

    :raises msgspec.ValidationError: (from all that take ids) one is none of such a storage.
    """

    async def waiting(
        self, wanted: PendingFilter, chunk_ids: Collection[str] | None
    ) -> Sequence[Waiting]:
        """Return what waits by queue; of the filter only what is true of a whole chunk counts.

        :param chunk_ids: of these chunks only; None for any.
        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def page(
        self,
        wanted: PendingFilter,
        chunk_ids: Collection[str] | None,
        match: Match,
        *,
        after: str,
        max_records: int,
        max_bytes: int,
    ) -> tuple[Sequence[Chosen], str | None]:
        """Return records that are meant, of the chunks after one, in their order.

        Chunks are looked at, at least one, until so many records are found or so many bytes are
        read.  What comes with them is the last of these chunks, None when there are no more.
        Damaged ones are set aside, counted and never returned.

        :param after: id of the chunk that they come after; "" for the oldest.
        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    def queues(self) -> Mapping[Queue, int]:
        """Return how many records wait, by queue."""
        ...

    async def newest_id(self) -> str:
        """Return the id of the newest chunk; one below all that will come when nothing waits.

        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    def withheld(self, queue: Queue) -> AbstractAsyncContextManager[frozenset[Hashable]]:
        """Leave a queue to the caller; gives the chunks that are not, as ``Outlet.withheld``."""
        ...

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> Sequence[bool]:
        """Make records dead letters; return of each chunk whether that was done.

        Nobody else may change these chunks meanwhile.

        :raises SpoolUnavailable: the storage has no room, or nothing could be done now.
        """
        ...

    def room(self) -> int:
        """Return the bytes of dead letters that fit before the oldest of them are dropped."""
        ...
