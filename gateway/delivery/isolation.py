"""Trying records whose requests fail while others pass, apart from these."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from random import Random
from typing import Protocol

from gateway.clock import Clock
from gateway.delivery.batch import Piece
from gateway.delivery.blame import Blame
from gateway.delivery.channel import Channel
from gateway.delivery.circuit_breaker import Sleep
from gateway.delivery.outcome import Delivered, Outcome, Partial
from gateway.delivery.poison import MOST_STRIKES, PoisonCase
from gateway.delivery.progress import Progress
from gateway.delivery.retry import backoff_s
from gateway.notices import Notices

__all__ = ["Isolation"]

_LOOK_S = 1.0
"""How soon it is looked again whether there is still something to wait for."""

_KEEP_S = 1.0
"""How soon what is done is settled while the rest goes on."""


class _Request(Protocol):
    def __call__(
        self, progress: Progress, piece: Piece, *, is_apart: bool
    ) -> Awaitable[Outcome | None]: ...


class Isolation:
    """Keeps poison records from stopping the others of a queue.

    A failure here is no reason for others to wait, unless so much failed that it may be an outage:
    then it is treated as one, until something is accepted.

    :param name: for the log.
    :param blame: of the queue.
    :param connections: how many requests there may be at once.
    :param request: makes one, and takes note of what it says.
    :param keep: settles what is done of a batch.
    :param account: takes note that a batch is sent again.
    :param compact: takes note that one only waits.
    :param go_around: waits until somebody may try the way, and tries it with records of others than
        a batch; False where there are none.
    :param others_try: whether other batches find out whether the way is clear.
    :param must_stop: whether what is here has to be given back.
    :param on_change: called when a batch comes, or only waits for its next round.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        name: str,
        blame: Blame,
        connections: int,
        clock: Clock,
        notices: Notices,
        rng: Random,
        sleep: Sleep,
        request: _Request,
        keep: Callable[[Progress], Awaitable[None]],
        account: Callable[[Progress], None],
        compact: Callable[[Progress], None],
        go_around: Callable[[Progress], Awaitable[bool]],
        others_try: Callable[[], bool],
        must_stop: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._name = name
        self._blame = blame
        self._clock = clock
        self._notices = notices
        self._rng = rng
        self._sleep = sleep
        self._request = request
        self._keep = keep
        self._account = account
        self._compact = compact
        self._go_around = go_around
        self._others_try = others_try
        self._must_stop = must_stop
        self._on_change = on_change
        self._cases: dict[Progress, PoisonCase] = {}
        self._active: set[Progress] = set()  # those in the middle of a round
        self._resting: set[Progress] = set()  # those that only wait for their next one
        self._connections = asyncio.Semaphore(connections)

    @property
    def batches(self) -> AbstractSet[Progress]:
        """Those that are tried apart."""
        return self._cases.keys()

    @property
    def resting(self) -> AbstractSet[Progress]:
        """Those of them that only wait for their next round."""
        return self._resting

    @property
    def is_active(self) -> bool:
        """Whether any of them are sent now."""
        return bool(self._active)

    @property
    def suspects(self) -> int:
        """How many records failed alone while others were accepted, and are tried again."""
        return sum(case.suspects for case in self._cases.values())

    def forget(self, progress: Progress) -> None:
        """Take note that a batch is not tried apart any more."""
        self._cases.pop(progress, None)

    async def run(
        self, progress: Progress, subjects: Sequence[Hashable] | None, *, is_overtaking: bool
    ) -> bool:
        """Try the untried records of a batch until they pass or have to be given up.

        Returns False when the batch has to be given back.

        :param subjects: what each record is about, where the order counts.
        :param is_overtaking: whether to return after each round.
        """
        case = self._cases.get(progress)
        if case is None:
            case = self._cases[progress] = PoisonCase(progress, subjects)
            self._on_change()
        while True:
            self._account(progress)
            await self._round(case)
            await self._keep(progress)
            if not progress.has_untried:
                return True
            if not self._must_end(progress):
                await self._rest(case)
            if self._must_end(progress):
                return False
            if is_overtaking:
                return True

    async def _round(self, case: PoisonCase) -> None:
        case.begin_round()
        self._active.add(case.progress)
        kept_s = self._clock.monotonic()
        try:
            while case.has_more and not self._must_end(case.progress):
                part = case.next()
                outcome = await self._send(case.progress, part)
                now = self._clock.monotonic()
                if (strikes := case.note(part, outcome, now, self._blame)) > 0:
                    self._tell(strikes)
                if isinstance(outcome, Delivered | Partial) and now - kept_s >= _KEEP_S:
                    await self._keep(case.progress)
                    kept_s = now
        finally:
            self._active.discard(case.progress)
            case.end_round()

    def _tell(self, strikes: int) -> None:
        self._notices.say(
            "isolated",
            None,
            "%s: a record failed alone while others were accepted, %d of %d times before it is a "
            "dead letter; it is tried apart from the others, which go on",
            *(self._name, strikes, MOST_STRIKES),
        )

    async def _send(self, progress: Progress, piece: Piece) -> Outcome | None:
        """Make a request when it is the time for it; None when it has not been."""
        while not self._channel.is_clear():
            if self._must_end(progress):
                return None
            if self._others_try() or not self._is_turn_of(progress):
                await self._sleep(_LOOK_S)
            elif not (self._channel.breaker.failures % 2 and await self._go_around(progress)):
                return await self._request(progress, piece, is_apart=False)
        async with self._connections:
            if self._must_end(progress) or not self._channel.is_clear():
                return None
            is_apart = not self._blame.is_in_doubt()
            return await self._request(progress, piece, is_apart=is_apart)

    def _must_end(self, progress: Progress) -> bool:
        """Whether a batch has to be given back."""
        return progress.is_lost or self._must_stop()

    def _is_turn_of(self, progress: Progress) -> bool:
        """Whether it is a batch's turn to try the way, as no other one does."""
        turns = sorted(self._active, key=lambda other: other.batch.position)
        return progress is turns[self._channel.breaker.failures // 2 % len(turns)]

    async def _rest(self, case: PoisonCase) -> None:
        self._compact(case.progress)
        self._resting.add(case.progress)
        self._on_change()
        try:
            left_s = backoff_s(case.rounds, case.after_s, self._rng)
            while left_s > 0 and not self._must_end(case.progress):
                await self._sleep(min(left_s, _LOOK_S))
                left_s -= _LOOK_S
        finally:
            self._resting.discard(case.progress)
