"""What is sent to find out whether records or a setting are to blame for refusals."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import Executor
from functools import partial
from random import Random

from gateway.delivery.backlog import Backlog
from gateway.delivery.batch import Batch, Piece
from gateway.delivery.progress import Progress
from gateway.spool.outlet import MAX_CHUNK_RECORDS

__all__ = ["Trial", "firsts"]

_RECORDS = 8
"""Of each batch that is tried at first, so that a wrong setting is found before much is sent."""

_MOST_RECORDS = 100
"""The same later, where one request says little about more than one record."""

_BATCHES = 20
"""How many are looked through, where the order counts, for records that may be sent at once."""


class Trial:
    """Chooses records that were not tried yet: the newest, and others spread over what waits.

    If the settings are right, some of them are accepted, unless all that waits is bad.  Where the
    order counts, a record may overtake others only if none of those is about the same subject.

    :param suspect: the batch of which records were refused.
    :param subject_of: what a record is about; None where the order does not count.
    :param names_refused: whether one request tells about all records in it.
    :param threads: look through batches; shared by all senders.
    :param rng: which records are chosen.
    :param begin: returns the progress of a batch.
    """

    def __init__(
        self,
        suspect: Progress,
        backlog: Backlog,
        *,
        subject_of: Callable[[bytes], Hashable] | None,
        names_refused: bool,
        threads: Executor,
        rng: Random,
        begin: Callable[[Batch], Progress],
    ) -> None:
        self._suspect = suspect
        self._foremost = suspect  # the first batch, where the order counts, with untried records
        self._backlog = backlog
        self._subject_of = subject_of
        self._names_refused = names_refused
        self._threads = threads
        self._rng = rng
        self._begin = begin
        self._rounds = 0

    async def pieces(self) -> AsyncIterator[tuple[Progress, Piece]]:
        """Return records to be sent one piece after the other, with the batches they are of.

        The batches stay where they are in the backlog.
        """
        self._rounds += 1
        subject_of = self._subject_of
        chosen = self._anywhere() if subject_of is None else self._in_order(subject_of)
        async for progress, piece in chosen:
            if piece:
                yield progress, piece

    async def _anywhere(self) -> AsyncIterator[tuple[Progress, Piece]]:
        yield self._suspect, self._few(self._suspect.untried)
        for batch in await self._backlog.samples():
            yield self._begin(batch), self._few(range(batch.records))

    async def _in_order(
        self, subject_of: Callable[[bytes], Hashable]
    ) -> AsyncIterator[tuple[Progress, Piece]]:
        if not self._foremost.untried:
            async for batch in self._backlog.following(self._foremost.batch.chunk_ids[-1], 1):
                self._foremost = self._begin(batch)
        foremost = self._foremost
        yield foremost, foremost.untried[: self._at_most()]
        subjects: set[Hashable] = set()

        async def firsts_of(batch: Batch, piece: Piece) -> Piece:
            search = partial(firsts, subject_of, subjects, batch, piece)
            return await asyncio.get_running_loop().run_in_executor(self._threads, search)

        yield foremost, self._few(await firsts_of(foremost.batch, foremost.untried))
        found: list[tuple[Batch, Piece]] = []
        async for batch in self._backlog.following(foremost.batch.chunk_ids[-1], _BATCHES):
            found.append((batch, self._few(await firsts_of(batch, range(batch.records)))))
            batch.compact()
        for place in sorted({0, len(found) // 2, len(found) - 1}, reverse=True):
            if 0 <= place < len(found):
                batch, piece = found[place]
                yield self._begin(batch), piece

    def _at_most(self) -> int:
        if self._rounds == 1:
            return _RECORDS
        return MAX_CHUNK_RECORDS if self._names_refused else _MOST_RECORDS

    def _few(self, piece: Piece) -> Piece:
        """Return a few of these records, which lie far apart."""
        step = max(1, -(-len(piece) // self._at_most()))
        return list(piece[self._rng.randrange(step) :: step])


def firsts(
    subject_of: Callable[[bytes], Hashable], subjects: set[Hashable], batch: Batch, piece: Piece
) -> list[int]:
    """Return the records that are the first about their subject, and take note of the subjects."""
    firsts = []
    for index in piece:
        subject = subject_of(batch.lines[index])
        if subject not in subjects:
            subjects.add(subject)
            firsts.append(index)
    return firsts
