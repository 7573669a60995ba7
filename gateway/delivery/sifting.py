"""Finding the bad records of a request that was refused as a whole."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence

from gateway.delivery.batch import Piece
from gateway.delivery.outcome import Delivered, Outcome, Partial, Split
from gateway.delivery.progress import Halves, Progress, halves

__all__ = ["Sieve"]


class Sieve:
    """Sends halves of what was refused, several at once, down to single records.

    What is in the way of requests, or speaks against the settings, leaves the rest to be sent.

    :param connections: how many requests there may be at once.
    :param request: makes one, and takes note of what it says.
    :param may_send: whether nothing is in the way.
    """

    def __init__(
        self,
        *,
        connections: int,
        request: Callable[[Progress, Piece], Awaitable[Outcome | None]],
        may_send: Callable[[], bool],
    ) -> None:
        self._connections = asyncio.Semaphore(connections)
        self._request = request
        self._may_send = may_send

    async def sift(
        self, progress: Progress, parts: Halves, subjects: Sequence[Hashable] | None
    ) -> bool:
        """Find the bad records in both halves; False when some of them have to be sent later.

        :param subjects: what each record of the batch is about, where the order counts.
        """
        if not parts.are_apart:
            progress.put_back(parts.first, parts.second)  # to be sent one after the other
            return False
        async with asyncio.TaskGroup() as group:
            one = group.create_task(self._part(progress, parts.first, subjects))
            other = group.create_task(self._part(progress, parts.second, subjects))
        return one.result() and other.result()

    async def _part(
        self, progress: Progress, piece: Piece, subjects: Sequence[Hashable] | None
    ) -> bool:
        outcome: Outcome | None = None
        async with self._connections:
            if self._may_send():
                outcome = await self._request(progress, piece)
        if isinstance(outcome, Split) and len(piece) > 1:
            return await self.sift(progress, halves(piece, subjects), subjects)
        if isinstance(outcome, Delivered | Partial | Split):
            return True
        progress.put_back(piece)
        return False
