"""The records that wait in the SQLite spool, for operators, from the event loop."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetterCount, Entry, Health, Queue, QueueState
from gateway.spool.outlet import Outlet
from gateway.spool.pending import Chosen, Match, PendingFilter, Waiting, Withdrawal
from gateway.spool.sqlite.commands import SetAside, Settle
from gateway.spool.sqlite.ids import FileIds
from gateway.spool.sqlite.pending.reader import PendingReader
from gateway.spool.sqlite.read_thread import ReadingThread

__all__ = ["SqlitePending"]


class SqlitePending:
    """Reads in a thread of its own; changes go through the spool's writer with everything else.

    :param reader: what ``reading`` reads with.
    :param ids: what chunks are called outside.
    :param settle: that of the spool.
    :param set_damaged_aside: likewise; tells whether all are.
    :param outlet, queues, health: likewise.
    :param kept: the dead letters that there are.
    :param letter_bytes: room for them, beyond which the oldest are dropped.
    """

    def __init__(
        self,
        reader: PendingReader,
        reading: ReadingThread,
        *,
        ids: FileIds,
        settle: Callable[[Settle], Awaitable[None]],
        set_damaged_aside: Callable[[Sequence[SetAside]], Awaitable[bool]],
        outlet: Callable[[Queue], Outlet],
        queues: Callable[[], Mapping[Queue, QueueState]],
        health: Callable[[], Health],
        kept: Callable[[], Collection[DeadLetterCount]],
        letter_bytes: int,
    ) -> None:
        self._reader = reader
        self._reading = reading
        self._ids = ids
        self._settle = settle
        self._set_damaged_aside = set_damaged_aside
        self._outlet = outlet
        self._queues = queues
        self._health = health
        self._kept = kept
        self._letter_bytes = letter_bytes

    async def waiting(
        self, wanted: PendingFilter, chunk_ids: Collection[str] | None
    ) -> Sequence[Waiting]:
        """Return what waits by queue, most records first."""
        return await self._reading.call(partial(self._reader.waiting, wanted, chunk_ids))

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
        """Return records that are meant, and the last chunk that was looked at."""
        start = self._ids.bound(after)
        read = partial(self._reader.page, wanted, chunk_ids, match, start, max_records, max_bytes)
        found, damaged, last = await self._reading.call(read)
        if damaged:
            await self._set_damaged_aside(damaged)
        return found, None if last is None else self._ids.text(last)

    def queues(self) -> Mapping[Queue, int]:
        """Return how many records wait, by queue."""
        return {queue: state.pending for queue, state in self._queues().items()}

    async def newest_id(self) -> str:
        """Return the id of the newest chunk; one below all that will come when nothing waits."""
        return self._ids.text(await self._reading.call(self._reader.newest_id))

    def withheld(self, queue: Queue) -> AbstractAsyncContextManager[frozenset[Hashable]]:
        """Leave a queue to the caller; gives the chunks that are in requests now."""
        return self._outlet(queue).withheld()

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> Sequence[bool]:
        """Make records dead letters; return of each chunk whether that was done.

        Chunks that end as a whole end together; they all share a commit as far as that is large
        enough.
        """
        health = self._health()
        if not health.accepting:  # dead letters take more room than what they are made of
            raise SpoolUnavailable(health.detail)
        groups = _together(withdrawals)
        results = await asyncio.gather(
            *(self._settle(_settle(group, self._ids)) for group in groups), return_exceptions=True
        )
        done: dict[str, bool] = {}
        for group, result in zip(groups, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, SpoolError):
                raise result
            done.update((each.chosen.id, result is None) for each in group)
        if not any(done.values()):
            refused = next(each for each in results if isinstance(each, SpoolError))
            raise refused
        return [done[each.chosen.id] for each in withdrawals]

    def room(self) -> int:
        """Return the bytes of dead letters that fit before the oldest of them are dropped."""
        return self._letter_bytes - sum(kept.bytes for kept in self._kept())


def _together(withdrawals: Sequence[Withdrawal]) -> list[list[Withdrawal]]:
    """Return which withdrawals are one settlement: the whole chunks of a queue."""
    whole: defaultdict[Queue, list[Withdrawal]] = defaultdict(list)
    parts: list[list[Withdrawal]] = []
    for each in withdrawals:
        chosen = each.chosen
        if len(chosen.indexes) == len(chosen.lines):
            whole[chosen.chunk.queue].append(each)
        else:
            parts.append([each])
    return [*whole.values(), *parts]


def _settle(group: Sequence[Withdrawal], ids: FileIds) -> Settle:
    first = group[0].chosen
    queue = first.chunk.queue
    remaining = None
    if len(first.indexes) < len(first.lines):
        chosen = frozenset(first.indexes)
        rest = [line + b"\n" for index, line in enumerate(first.lines) if index not in chosen]
        remaining = Entry(queue, b"".join(rest), len(rest))
    return Settle(
        queue=queue,
        chunk_ids=ids.own(each.chosen.id for each in group),
        delivered=0,
        dead=[letter for each in group for letter in each.dead],
        remaining=remaining,
    )
