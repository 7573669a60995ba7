"""One queue of the spool, the way its sender reads and settles it."""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import TypeVar

from gateway.config import DeliveryConfig
from gateway.delivery.batch import Batch, Body
from gateway.delivery.circuit_breaker import Sleep
from gateway.delivery.retry import backoff_s
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import Queue
from gateway.notices import Notices
from gateway.spool.base import Chunk, Settlement, Spool

__all__ = ["Backlog"]

_NEWEST_CHUNKS = 16  # the last one may be a single record

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Backlog:
    """What of a queue nobody works on yet, in order.

    A cursor tells what has been read.  Chunks that were read but given back lie behind it: their
    ranges of ids are read again first.  No two batches ever hold the same chunk.

    :param name: for the log.
    :param notices: tell operators of records that become dead letters.
    :param rng: source of the jitter.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        config: DeliveryConfig,
        spool: Spool,
        name: str,
        notices: Notices,
        rng: Random,
        sleep: Sleep,
    ) -> None:
        self._queue = queue
        self._config = config
        self._spool = spool
        self._name = name
        self._notices = notices
        self._rng = rng
        self._sleep = sleep
        self._cursor = 0
        self._has_new = True
        self._given_back: list[tuple[int, int]] = []  # a heap of ranges, both ends included
        self.taking = asyncio.Lock()
        """Who holds it has what nobody works on to himself: nothing is taken meanwhile."""

    @property
    def has_more(self) -> bool:
        """Whether there may be something to take."""
        return self._has_new or bool(self._given_back)

    @property
    def has_given_back(self) -> bool:
        """Whether something is to be read again."""
        return bool(self._given_back)

    def has_before(self, batch: Batch) -> bool:
        """Whether something that comes before a batch is to be read again."""
        return bool(self._given_back) and self._given_back[0] < (batch.chunk_ids[0], 0)

    def grow(self) -> None:
        """Take note of new chunks."""
        self._has_new = True

    def pending(self) -> int:
        """Return the records in the spool, those that somebody works on included."""
        state = self._spool.queues().get(self._queue)
        return 0 if state is None else state.pending

    async def take(self) -> Batch | None:
        """Return the next batch; None when there is nothing left to take."""
        async with self.taking:
            return await self._take()

    async def _take(self) -> Batch | None:
        while self._given_back:
            first, last = heapq.heappop(self._given_back)
            chunks = [chunk for chunk in await self._read(first - 1) if chunk.id <= last]
            if chunks:
                if chunks[-1].id < last:
                    heapq.heappush(self._given_back, (chunks[-1].id + 1, last))
                return Batch(chunks)
        self._has_new = False  # before reading, so that nothing new is overlooked
        chunks = await self._read(self._cursor)
        if not chunks:
            return None
        self._has_new = True
        self._cursor = chunks[-1].id
        return Batch(chunks)

    async def samples(self) -> AsyncIterator[Batch]:
        """Find a few batches that nobody works on, spread over what waits, the newest first.

        They stay where they are, and are taken again later.
        """
        newest = await self._persistently(lambda: self._spool.newest_id(self._queue), Exception)
        anywhere = self._rng.randint(self._cursor, max(self._cursor, newest))
        seen = 0
        for after in (newest - 1, newest - _NEWEST_CHUNKS, anywhere, self._cursor):
            chunks = await self._read(max(after, self._cursor))
            if chunks and chunks[0].id != seen:
                seen = chunks[0].id
                yield Batch(chunks)
        if seen == 0 and self._given_back:
            first, last = self._given_back[0]
            if chunks := [chunk for chunk in await self._read(first - 1) if chunk.id <= last]:
                yield Batch(chunks)

    async def following(self, after: int, at_most: int) -> AsyncIterator[Batch]:
        """Return the batches behind a chunk, in order; they stay where they are."""
        for _ in range(at_most):
            if not (chunks := await self._read(after)):
                return
            after = chunks[-1].id
            yield Batch(chunks)

    def give_back(self, batch: Batch) -> None:
        """Leave to a later ``take`` what the spool still has of a batch."""
        heapq.heappush(self._given_back, (batch.chunk_ids[0], batch.chunk_ids[-1]))

    async def settle(self, settlement: Settlement) -> None:
        """Have the spool take note; waits for it as long as it takes.

        :raises SpoolError: the spool holds something else than the settlement says.
        """
        await self._persistently(lambda: self._settle(settlement), SpoolUnavailable)
        for letter in settlement.dead:
            self._notices.say(
                f"dead_letter {letter.reason}",
                None,
                "%s: a record became a dead letter, %s; see gateway dead-letters list",
                self._name,
                letter.reason,
            )

    async def _settle(self, settlement: Settlement) -> None:
        try:
            await self._spool.settle(settlement)
        except SpoolUnavailable:
            raise
        except SpoolError:
            # A commit may fail and yet have happened; then an earlier attempt did the work.
            if not await self._is_settled(settlement):
                raise

    async def _is_settled(self, settlement: Settlement) -> bool:
        """Tell whether the spool holds what it would hold after ``settlement``."""
        first, last = min(settlement.chunk_ids), max(settlement.chunk_ids)
        chunk = await self._first_after(first - 1)
        remaining = settlement.remaining
        if remaining is None:
            return chunk is None or chunk.id > last
        if chunk is None or (chunk.id, chunk.records) != (first, remaining.records):
            return False
        body = Body(chunk.payload, chunk.encoding == "gzip", chunk.records, chunk.raw_bytes)
        following = await self._first_after(first)
        return body.plain() == remaining.lines and (following is None or following.id > last)

    async def _first_after(self, chunk_id: int) -> Chunk | None:
        chunks = await self._spool.read(self._queue, after=chunk_id, max_records=1)
        return chunks[0] if chunks else None

    async def _read(self, after: int) -> list[Chunk]:
        return await self._persistently(
            lambda: self._spool.read(
                self._queue,
                after=after,
                max_records=self._config.batch_records,
                max_bytes=self._config.batch_bytes,
            ),
            Exception,  # whatever it is, the sender must outlive it
        )

    async def _persistently(self, call: Callable[[], Awaitable[T]], retry_on: type[Exception]) -> T:
        failures = 0
        while True:
            try:
                return await call()
            except retry_on as error:
                failures += 1
                if failures == 1:
                    _log.warning(
                        "%s: waiting for the spool: %s: %s", self._name, type(error).__name__, error
                    )
                await self._sleep(backoff_s(failures, None, self._rng))
