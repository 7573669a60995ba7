"""What is sent in place of records with which requests failed again and again."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from functools import partial
from random import Random

from gateway.delivery.backlog import Backlog
from gateway.delivery.batch import Batch, Piece
from gateway.delivery.blame import MIN_FAILURES
from gateway.delivery.progress import Progress
from gateway.delivery.retry import PROBE_RECORDS
from gateway.delivery.trial import firsts

__all__ = ["Detour"]

_OWN_FAILURES = 4
"""The same before others of the same batch are, now and then."""

_BATCHES = 20
"""How many are looked through at once, where the order counts, for records that may be sent."""

_NEWER = 0.6
"""How likely one with such records is chosen in place of those before it."""

_MOST_SUBJECTS = 100_000
"""How many are remembered before the search begins again: about 20 MB."""


class Detour:
    """Chooses a few records that may pass where others fail; fewer with each failure.

    If one of them is as bad as the others, a smaller choice does not hold it.  Where the order
    counts, a record may overtake others only if none of those is about the same subject.

    :param subject_of: what a record is about; None where the order does not count.
    :param threads: look through batches; shared by all senders.
    :param rng: which records are chosen.
    :param begin: returns the progress of a batch.
    """

    def __init__(
        self,
        backlog: Backlog,
        *,
        subject_of: Callable[[bytes], Hashable] | None,
        threads: Executor,
        rng: Random,
        begin: Callable[[Batch], Progress],
    ) -> None:
        self._backlog = backlog
        self._subject_of = subject_of
        self._threads = threads
        self._rng = rng
        self._begin = begin
        self._oldest_id: Hashable = None  # the chunk that the search began at
        self._start: Hashable = None  # the chunk that it goes on behind
        self._after: Hashable = None  # the last chunk that was looked through
        self._held: set[Hashable] = set()  # what those up to there are about
        self._looked_through: set[Hashable] = set()  # batches under way, by their first chunks

    async def choose(
        self, failing: Progress, under_way: list[Progress], failures: int
    ) -> tuple[Progress, Piece] | None:
        """Return records to be sent, with the batch they are of; None where there are no others.

        Batches that nobody works on stay where they are in the backlog.

        :param failing: the batch that fails.
        :param under_way: all batches that somebody works on.
        :param failures: requests that have failed in a row, whatever they held.
        """
        at_most = max(1, PROBE_RECORDS >> max(0, failures - MIN_FAILURES))
        own_first = failures >= _OWN_FAILURES and failures % 2 == 0
        # Where the order counts, all others may have to wait for these.
        own_too = failures >= _OWN_FAILURES or self._subject_of is not None
        for is_own in (own_first, not own_first):
            if is_own and not own_too:
                continue
            chosen = await (self._own(failing) if is_own else self._other(failing, under_way))
            if chosen is not None and chosen[1]:
                progress, piece = chosen
                number = min(at_most, max(1, len(piece) // 2))
                return progress, sorted(self._rng.sample(piece, number))
        return None

    async def _own(self, failing: Progress) -> tuple[Progress, Piece]:
        piece = failing.untried
        return failing, await self._firsts(set(), failing.batch, piece)

    async def _other(
        self, failing: Progress, under_way: list[Progress]
    ) -> tuple[Progress, Piece] | None:
        if self._subject_of is None:
            found = await self._backlog.samples()
            if not found:
                return None
            batch = found[0] if self._rng.random() < 0.5 else self._rng.choice(found)
            return self._begin(batch), range(batch.records)
        return await self._first_about_something(under_way)

    async def _first_about_something(
        self, under_way: list[Progress]
    ) -> tuple[Progress, Piece] | None:
        """Look through the batches behind those under way, from where that ended the last time."""
        oldest = min(under_way, key=lambda progress: progress.batch.position)
        if self._backlog.outlet.has_before(oldest.batch.lease):
            return None  # it is to be read first, and what it is about is not known
        if self._oldest_id != oldest.batch.chunk_ids[0] or len(self._held) > _MOST_SUBJECTS:
            self._oldest_id = oldest.batch.chunk_ids[0]
            self._start = self._after = oldest.batch.chunk_ids[-1]
            self._held.clear()
            self._looked_through.clear()
        for progress in under_way:
            if progress.batch.chunk_ids[0] not in self._looked_through:
                await self._firsts(self._held, progress.batch, progress.unsettled)
                self._looked_through.add(progress.batch.chunk_ids[0])
        taken = {chunk_id for progress in under_way for chunk_id in progress.batch.chunk_ids}
        chosen: tuple[Batch, Piece] | None = None
        seen = 0
        async for batch in self._backlog.following(
            self._start, len(under_way) + _BATCHES, after=self._after
        ):
            if taken.issuperset(batch.chunk_ids):
                continue
            seen += 1
            piece = await self._firsts(self._held, batch, range(batch.records))
            self._after = batch.chunk_ids[-1]  # only now: it may be cut off before
            batch.compact()
            if piece and taken.isdisjoint(batch.chunk_ids) and self._rng.random() < _NEWER:
                chosen = batch, piece
            if seen == _BATCHES:
                break
        else:
            self._oldest_id = None  # that was all: from the start the next time
        return None if chosen is None else (self._begin(chosen[0]), chosen[1])

    async def _firsts(self, subjects: set[Hashable], batch: Batch, piece: Piece) -> Piece:
        """Return the records that none about the same comes before, and add what they are about."""
        if self._subject_of is None:
            return piece
        search = partial(firsts, self._subject_of, subjects, batch, piece)
        return await asyncio.get_running_loop().run_in_executor(self._threads, search)
