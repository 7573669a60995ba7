"""Finding out whether records or a setting is to blame for refusals."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from gateway.clock import Clock
from gateway.delivery.backlog import Backlog
from gateway.delivery.batch import Piece
from gateway.delivery.channel import Channel
from gateway.delivery.circuit_breaker import CircuitBreaker, Sleep
from gateway.delivery.outcome import Delivered, Outcome, Partial, Split
from gateway.delivery.progress import Progress
from gateway.delivery.suspicion import Suspicion
from gateway.delivery.trial import Trial

__all__ = ["Inquiry"]


class Inquiry:
    """Sends a few other records while a setting is suspected, and pauses where all are refused.

    :param name: of the queue, for the log.
    :param suspicion: of the queue; it says when there is something to find out.
    :param request: makes one, and takes note of what it says.
    :param keep: settles what is done of a batch.
    :param is_spare: whether a batch is to be given back, as another one tries the way.
    :param on_try: called with a batch before some of it is sent.
    """

    def __init__(
        self,
        channel: Channel,
        backlog: Backlog,
        suspicion: Suspicion,
        *,
        name: str,
        clock: Clock,
        rng: Random,
        sleep: Sleep,
        request: Callable[[Progress, Piece], Awaitable[Outcome | None]],
        keep: Callable[[Progress], Awaitable[None]],
        is_spare: Callable[[Progress], bool],
        on_try: Callable[[Progress], None],
    ) -> None:
        self._channel = channel
        self._backlog = backlog
        self._suspicion = suspicion
        self._clock = clock
        self._request = request
        self._keep = keep
        self._is_spare = is_spare
        self._on_try = on_try
        self._probing = asyncio.Lock()
        self.breaker = CircuitBreaker(f"{name} (refusals)", clock=clock, rng=rng, sleep=sleep)
        """Closed while all is refused."""

    async def run(self, progress: Progress, trial: Trial) -> bool:
        """Wait until anything is accepted, which clears the settings of suspicion.

        Returns False when the batch has to be given back: that of another worker waits already.

        :param progress: a batch of which records were refused.
        :param trial: chooses the others.
        """
        was_paused = False
        while self._is_suspicious():
            if self._is_spare(progress):
                return False
            async with self.breaker.turn() as turn, self._probing:
                if not self._is_suspicious():
                    break
                await self._probe(progress, trial)
                if self._is_suspicious():
                    was_paused = True
                    self.breaker.pause(
                        turn,
                        f"{self._suspicion.refused} records refused and none accepted, which looks "
                        f"like a wrong setting; they are kept. For example: {progress.example}",
                    )
                else:
                    self.breaker.close(turn)
        if was_paused:
            progress.restart()  # somebody may have corrected a setting meanwhile
        return True

    def _is_suspicious(self) -> bool:
        return self._suspicion.is_on(self._clock.monotonic())

    async def _probe(self, progress: Progress, trial: Trial) -> None:
        """Send a refused record again, if that was a while ago, and a few that were not tried.

        The first one is also sent while something is in the way: nobody else tries the way then.
        """
        if not self.breaker.is_closed():
            await self._try(progress, progress.reconsider() or progress.untried[:1])
        async with self._backlog.outlet.taking:
            async for sample, piece in trial.pieces():
                if not (self._is_suspicious() and self._channel.is_clear()):
                    return
                await self._try(sample, piece)
                await self._keep(sample)

    async def _try(self, progress: Progress, piece: Piece) -> None:
        """Send these records until one is accepted, all are refused, or the service fails."""
        self._on_try(progress)
        progress.prefer(piece)
        left = set(piece)
        while left and self._is_suspicious() and (part := progress.take()) is not None:
            outcome = await self._request(progress, part)
            if isinstance(outcome, Split) and len(part) > 1:
                progress.prefer_halves(part)
            elif isinstance(outcome, Delivered | Partial | Split):
                left.difference_update(part)
            else:
                progress.put_back(part)
                break
        progress.in_order()
