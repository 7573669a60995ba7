"""The way out of a queue in the file: what has been read of it, and what was released again."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Collection, Hashable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol, cast

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import Entry, Queue
from gateway.spool.chunks import NumberedChunk, decode
from gateway.spool.outlet import Holder, Lease, Settlement
from gateway.spool.sqlite.commands import Settle

__all__ = ["SqliteLease", "SqliteOutlet"]

_NEWEST_CHUNKS = 16  # the last one may be a single record


class _File(Protocol):
    """What an outlet needs of its spool; ids ascend within a queue in the order of acceptance."""

    async def read(
        self, queue: Queue, *, after: int = ..., max_records: int = ..., max_bytes: int = ...
    ) -> list[NumberedChunk]: ...

    async def newest_id(self, queue: Queue) -> int: ...

    async def settle(self, settle: Settle) -> None: ...

    def records_in(self, queue: Queue) -> int: ...


class SqliteLease:
    """Chunks of the one lane that there is.

    :param is_taken: otherwise they stay where they are.
    """

    lane: Hashable = None
    is_lost = False

    def __init__(
        self, outlet: "SqliteOutlet", chunks: Sequence[NumberedChunk], *, is_taken: bool
    ) -> None:
        self.chunks = chunks
        self.span = (chunks[0].id, chunks[-1].id)
        self.position = self.span[0]
        self.ids = tuple([chunk.id for chunk in chunks])  # of those that are left
        self.records = sum([chunk.records for chunk in chunks])  # likewise
        self.is_taken = is_taken
        self._outlet = outlet

    async def settle(self, settlement: Settlement) -> None:
        """Apply the end of records in one transaction; see ``Lease.settle``."""
        await self._outlet.settle(self, settlement)

    def release(self) -> None:
        """Have what is left read again, before all that is newer.  Idempotent."""
        self._outlet.release(self)


class SqliteOutlet:
    """What of a queue nobody works on yet, in order.

    A cursor tells what has been read.  Chunks that were read and released lie behind it: their
    spans of ids are read again first.  No two leases that were taken hold the same chunk.
    """

    def __init__(self, queue: Queue, file: _File) -> None:
        self.taking = asyncio.Lock()
        self._queue = queue
        self._file = file
        self._holder: Holder | None = None
        self._cursor = 0
        self._newest: int | None = None  # the highest id there is; None where only the file knows
        self._released: list[tuple[int, int]] = []  # a heap of spans, both ends included
        self._leases: set[SqliteLease] = set()
        self._leased_records = 0

    def attach(self, holder: Holder) -> None:
        """Have a holder told of what happens."""
        self._holder = holder

    def detach(self) -> None:
        """Release all that the holder has, and leave the outlet to the next one.  Idempotent."""
        self._holder = None
        for lease in tuple(self._leases):
            self.release(lease)

    def grow(self, newest: int | None) -> None:
        """Take note of new chunks.

        :param newest: the highest id there is; None where only the file knows.
        """
        self._newest = newest
        if self._holder is not None:
            self._holder.wake()

    @property
    def has_more(self) -> bool:
        """Whether there may be something to take."""
        return self._newest is None or self._cursor < self._newest or bool(self._released)

    @property
    def has_released(self) -> bool:
        """Whether something is to be read again."""
        return bool(self._released)

    def has_before(self, lease: Lease) -> bool:
        """Whether something that comes before a lease is to be read again."""
        return bool(self._released) and self._released[0][0] < lease.position

    def waiting(self) -> int:
        """Return the records that nobody works on; less for the moment after a commit."""
        return self._file.records_in(self._queue) - self._leased_records

    async def take(self, max_records: int, max_bytes: int) -> Lease | None:
        """Return the next chunks; None when there are none.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        async with self.taking:
            chunks = await self._take(max_records, max_bytes)
            if not chunks:
                return None
            lease = SqliteLease(self, chunks, is_taken=True)
            self._leases.add(lease)
            self._leased_records += lease.records
            return lease

    async def _take(self, max_records: int, max_bytes: int) -> Sequence[NumberedChunk]:
        while self._released:
            first, last = heapq.heappop(self._released)
            try:
                chunks = await self._within(first, last, max_records, max_bytes)
            except BaseException:
                heapq.heappush(self._released, (first, last))
                raise
            if chunks:
                if (read := chunks[-1].id) < last:
                    heapq.heappush(self._released, (read + 1, last))
                return chunks
        newest = self._newest
        if newest is not None and newest <= self._cursor:
            return ()
        chunks = await self._file.read(
            self._queue, after=self._cursor, max_records=max_records, max_bytes=max_bytes
        )
        if chunks:
            self._cursor = chunks[-1].id
        elif self._newest == newest:  # else something came meanwhile
            self._newest = self._cursor
        return chunks

    async def samples(self, rng: Random, max_records: int, max_bytes: int) -> Sequence[Lease]:
        """Return a few batches that nobody works on, the newest first; see ``Outlet.samples``.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        newest = await self._file.newest_id(self._queue)
        anywhere = rng.randint(self._cursor, max(self._cursor, newest))
        seen: set[Hashable] = set()
        found: list[Lease] = []
        for after in (newest - 1, newest - _NEWEST_CHUNKS, anywhere, self._cursor):
            chunks = await self._file.read(
                self._queue,
                after=max(after, self._cursor),
                max_records=max_records,
                max_bytes=max_bytes,
            )
            if fresh := [chunk for chunk in chunks if chunk.id not in seen]:
                seen.update(chunk.id for chunk in fresh)
                found.append(SqliteLease(self, fresh, is_taken=False))
        if not found and self._released:
            chunks = await self._within(*self._released[0], max_records, max_bytes)
            if chunks:
                found.append(SqliteLease(self, chunks, is_taken=False))
        return found

    async def following(
        self, start: Hashable, after: Hashable, max_records: int, max_bytes: int
    ) -> Lease | None:
        """Return the batch behind a chunk; None at the end.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        chunks = await self._file.read(
            self._queue, after=cast(int, after), max_records=max_records, max_bytes=max_bytes
        )
        return SqliteLease(self, chunks, is_taken=False) if chunks else None

    @asynccontextmanager
    async def withheld(self) -> AsyncIterator[frozenset[Hashable]]:
        """Leave the queue to the caller; gives the chunks that stay with the holder."""
        await self._recall()  # who waits in the middle of a probe has the lock
        async with self.taking:
            await self._recall()
            yield frozenset(chunk_id for lease in self._leases for chunk_id in lease.ids)

    async def _recall(self) -> None:
        if self._holder is not None:
            await self._holder.recall()

    async def settle(self, lease: SqliteLease, settlement: Settlement) -> None:
        """Apply the end of records of a lease.

        :raises SpoolUnavailable: perhaps nothing changed.
        :raises SpoolError: the file holds something else than the settlement says.
        """
        remaining = settlement.remaining
        settle = Settle(
            queue=self._queue,
            chunk_ids=lease.ids,
            delivered=settlement.delivered,
            dead=settlement.dead,
            remaining=remaining,
        )
        try:
            await self._file.settle(settle)
        except SpoolUnavailable:
            raise
        except SpoolError:
            # A commit may fail and yet have happened; then an earlier attempt did the work.
            if not await self._is_settled(lease.ids, remaining):
                raise
        left = remaining.records if remaining else 0
        if lease in self._leases:
            self._leased_records -= lease.records - left
        # What remains has taken the place of the first chunk.
        lease.ids, lease.records = lease.ids[: remaining is not None], left
        if remaining is None:
            self._leases.discard(lease)

    def release(self, lease: SqliteLease) -> None:
        """Have what is left of a lease read again.  Idempotent."""
        if lease in self._leases:
            self._leases.discard(lease)
            self._leased_records -= lease.records
            heapq.heappush(self._released, lease.span)

    async def _is_settled(self, ids: Sequence[int], remaining: Entry | None) -> bool:
        """Tell whether the file holds what it would hold after a settlement of these chunks."""
        left = await self._held(ids)
        if remaining is None:
            return not left
        if [(chunk.id, chunk.records) for chunk in left] != [(ids[0], remaining.records)]:
            return False
        return decode(left[0].encoding, left[0].payload) == remaining.lines

    async def _held(self, ids: Collection[int]) -> list[NumberedChunk]:
        """Return which of these chunks the file holds."""
        last = max(ids)
        after = min(ids) - 1
        found: list[NumberedChunk] = []
        while after < last and (chunks := await self._file.read(self._queue, after=after)):
            found += [chunk for chunk in chunks if chunk.id in ids]
            after = chunks[-1].id
        return found

    async def _within(
        self, first: int, last: int, max_records: int, max_bytes: int
    ) -> list[NumberedChunk]:
        """Return chunks of a span of ids."""
        chunks = await self._file.read(
            self._queue, after=first - 1, max_records=max_records, max_bytes=max_bytes
        )
        return [chunk for chunk in chunks if chunk.id <= last]
