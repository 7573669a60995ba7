"""The way out of a spool: what delivery takes, and how it says what has become of it.

Delivery asks only for the next batch and settles it.  It knows no files, no partitions and no
counts: whether there is something to take, which records come next, and whether a commit has
happened whose answer was lost, is the storage's to know.
"""

import asyncio
from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from gateway.model import DeadLetter, Entry, Queue

__all__ = [
    "MAX_CHUNK_BYTES",
    "MAX_CHUNK_RECORDS",
    "Chunk",
    "Holder",
    "Lease",
    "Outlet",
    "Settlement",
]

MAX_CHUNK_RECORDS = 2000
"""Records in one chunk: Mixpanel's limit for one request."""

MAX_CHUNK_BYTES = 2 * 1024 * 1024
"""Uncompressed bytes in one chunk: Mixpanel's limit for one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records as they are stored.

    :param id: only the storage knows what it means.  No two chunks of a queue have the same.
    :param encoding: how ``payload`` is stored.
    :param raw_bytes: size of the records uncompressed.
    :param created_ms: when the oldest record was accepted, epoch milliseconds.
    """

    id: Hashable
    queue: Queue
    records: int
    raw_bytes: int
    created_ms: int
    encoding: Literal["gzip", "identity"]
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What has become of the records of a lease, as far as the storage does not know it yet.

    They are exactly: ``delivered`` of them, the ``dead`` ones, and ``remaining``, which keeps their
    place in the queue.
    """

    delivered: int
    dead: Sequence[DeadLetter] = ()
    remaining: Entry | None = None


class Lease(Protocol):
    """Chunks of a queue that nobody else delivers, until they are settled or released.

    A queue has one *lane* or several, as a log has partitions.  Order counts only within a lane:
    records about the same subject are in the same one.
    """

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The chunks as they were taken, in order; at least one."""
        ...

    @property
    def lane(self) -> Hashable:
        """The lane that all of them are of."""
        ...

    @property
    def position(self) -> int:
        """Ascends within a lane in the order of acceptance; means nothing between lanes."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether somebody else delivers them now, so that no more requests may be made."""
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Have the storage take note of what has become of the records; returns when that is sure.

        Every change to chunks, dead letters and the ledger is one.  Nothing happens where the lease
        is lost: whoever has the chunks now knows what has become of them.

        :raises SpoolUnavailable: perhaps nothing changed.  The caller may try again with the same
            settlement, which is applied once, whatever became of it the first time.
        :raises SpoolError: the storage holds something else; nothing changed.
        """
        ...

    def release(self) -> None:
        """Leave what is not settled to a later ``take``, before all that is newer in its lane.

        Idempotent, also after the end of the lease.
        """
        ...


class Holder(Protocol):
    """Who takes from an outlet."""

    def wake(self) -> None:
        """Take note that there may be more to take."""
        ...

    async def recall(self) -> None:
        """Release all leases but those with records in requests that have no answer yet.

        Called when operators want to change what waits, when the storage is about to give lanes to
        somebody else, and when leases were lost.
        """
        ...


class Outlet(Protocol):
    """The way out of one queue, for one holder at a time.

    :ivar taking: who holds it has what nobody works on to himself: nothing is taken meanwhile.
    """

    taking: asyncio.Lock

    def attach(self, holder: Holder) -> None:
        """Have a holder told of what happens."""
        ...

    def detach(self) -> None:
        """Release all that the holder has, and leave the outlet to the next one.  Idempotent."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether there may be something to take; where not, ``Holder.wake`` tells when there is.

        So it may be true in vain, until ``take`` has returned None, and never false in vain.
        """
        ...

    async def take(self, max_records: int, max_bytes: int) -> Lease | None:
        """Return the next chunks of a lane, within both limits; None when there are none.

        The first one is returned even when it alone exceeds a limit.  Damaged ones are set aside,
        counted and never returned.

        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    @property
    def has_released(self) -> bool:
        """Whether something that was released is to be taken again."""
        ...

    def has_before(self, lease: Lease) -> bool:
        """Whether something that was released comes before a lease, in its lane."""
        ...

    def waiting(self) -> int:
        """Return about how many records nobody works on; 0 where that is not known.

        For what may be wrong without harm, like waiting a moment for a batch to become full.
        """
        ...

    async def samples(self, rng: Random, max_records: int, max_bytes: int) -> Sequence[Lease]:
        """Return a few batches that nobody works on, spread over what waits, the newest first.

        They stay where they are, to be taken later, and need not be released.  The caller holds
        ``taking`` as long as it uses them.

        :param rng: which of them.
        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    async def following(
        self, start: Hashable, after: Hashable, max_records: int, max_bytes: int
    ) -> Lease | None:
        """Return the next batch of a walk, whether or not somebody works on it; None at the end.

        The walk goes from a chunk to the end of its lane, then through the other lanes, each from
        its beginning.  The batch stays where it is, as of ``samples``.

        :param start: id of the chunk that the walk is from.
        :param after: id of the last chunk that was seen; ``start`` at first.
        :raises SpoolUnavailable: the storage cannot be read now.
        """
        ...

    def withheld(self) -> AbstractAsyncContextManager[frozenset[Hashable]]:
        """Leave the queue to the caller, who may change what waits in it until it is done.

        Gives the ids of the chunks that stay with the holder: they are in requests now, and nobody
        knows yet what has become of them.  What only waits for its turn is released.
        """
        ...
