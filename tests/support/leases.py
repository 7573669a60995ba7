"""Leases for tests of what is made of chunks, without a spool, and holders without delivery."""

from collections.abc import Callable, Sequence

from gateway.delivery.batch import Batch
from gateway.model import Queue
from gateway.spool.base import Spool
from gateway.spool.chunks import NumberedChunk
from gateway.spool.outlet import Settlement

__all__ = ["Listener", "batch_of"]


class _Lease:
    """Some chunks, and nobody who takes note of anything."""

    lane = None
    is_lost = False

    def __init__(self, chunks: Sequence[NumberedChunk]) -> None:
        self.chunks = chunks
        self.position = chunks[0].id

    async def settle(self, settlement: Settlement) -> None:
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError


def batch_of(*chunks: NumberedChunk) -> Batch:
    """Return these chunks as delivery takes them."""
    return Batch(_Lease(chunks))


class Listener:
    """Who holds an outlet and takes nothing by himself.

    :param woken: is told of the queue each time there may be more.
    :param recalled: likewise each time he is to release what he has.
    """

    def __init__(
        self,
        queue: Queue,
        woken: Callable[[Queue], None] = lambda _: None,
        recalled: Callable[[Queue], None] = lambda _: None,
    ) -> None:
        self._queue = queue
        self._woken = woken
        self._recalled = recalled

    @classmethod
    def at(cls, spool: Spool, *queues: Queue) -> list[Queue]:
        """Listen at some queues, and return what is heard from now on."""
        heard: list[Queue] = []
        for queue in queues:
            spool.outlet(queue).attach(cls(queue, heard.append))
        return heard

    def wake(self) -> None:
        self._woken(self._queue)

    async def recall(self) -> None:
        self._recalled(self._queue)
