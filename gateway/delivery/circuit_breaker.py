"""A circuit breaker: open while something is wrong, but for one request now and then."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Literal

from gateway.clock import Clock
from gateway.delivery.retry import backoff_s, hastened_probe_s, probe_s

__all__ = ["BreakerState", "CircuitBreaker", "DestinationPause", "Sleep"]

BreakerState = Literal["ok", "retrying", "paused"]

Sleep = Callable[[float], Awaitable[None]]

_log = logging.getLogger(__name__)


class CircuitBreaker:
    """Closed, backing off, or paused; the state and its waiting in one place.

    While it is closed all requests pass at once.  While it is open they form a line, and the first
    one passes alone when the wait is over (the half-open state): its report closes the breaker, or
    keeps it open for longer.  Reports of requests that passed before the last change are ignored,
    so that ten requests that fail together are one failure.  A change is logged once.

    :param name: what is behind the breaker, for the log.
    :param rng: source of the jitter.
    :param sleep: waits for a number of seconds.
    """

    def __init__(self, name: str, *, clock: Clock, rng: Random, sleep: Sleep) -> None:
        self._name = name
        self._clock = clock
        self._rng = rng
        self._sleep = sleep
        self._line = asyncio.Lock()
        self._hurried = asyncio.Event()
        self._changes = 0
        self._opened_s = self._until = 0.0
        self.state: BreakerState = "ok"
        self.detail = ""
        self.since_ms = clock.now_ms()
        self.failures = 0

    def is_closed(self) -> bool:
        """Whether all requests pass."""
        return self.state == "ok"

    def wait_s(self) -> float:
        """Return how long it is until somebody may try."""
        return max(0.0, self._until - self._clock.monotonic())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """Wait until it is the caller's turn; the value goes into its report."""
        while not self.is_closed():
            async with self._line:
                if self.is_closed():
                    continue
                await self._wait()
                yield self._changes
                return
        yield self._changes

    async def due(self) -> None:
        """Return when it is closed, or somebody may try: the next request need not wait again."""
        async with self.turn():
            self._until = 0.0

    def hurry(self) -> None:
        """Let the next request try now instead of when the wait is over."""
        self._until = 0.0
        self._hurried.set()

    def reset(self) -> None:
        """Close it, whoever found out that nothing is wrong any more."""
        if not self.is_closed():
            self.close(self._changes)
            self.hurry()

    def is_current(self, turn: int) -> bool:
        """Whether nothing has changed since that turn began."""
        return turn == self._changes

    def hasten(self) -> None:
        """Take note that there is something new to try: while it is paused, one passes sooner."""
        if self.state != "paused":
            return
        soon = self._opened_s + hastened_probe_s(self.failures)
        if soon < self._until:
            self._until = soon
            self._hurried.set()

    def back_off(self, turn: int, after_s: float | None, detail: str) -> None:
        """Report temporary trouble.  What is paused stays paused."""
        if turn == self._changes:
            wait = backoff_s(self.failures + 1, after_s, self._rng)
            self._open("retrying" if self.is_closed() else self.state, wait, detail)

    def pause(self, turn: int, detail: str) -> None:
        """Report what only a person can cure."""
        if turn == self._changes:
            failures = self.failures if self.state == "paused" else 0
            self._open("paused", probe_s(failures + 1), detail)

    def close(self, turn: int) -> None:
        """Report that it works."""
        if turn == self._changes and not self.is_closed():
            _log.info("%s: works again", self._name)
            self._change("ok", "")
            self.failures = 0

    async def _wait(self) -> None:
        """Wait until somebody may try, however soon that has become meanwhile."""
        if self.wait_s() == 0:
            return
        self._hurried.set()
        while self._hurried.is_set():
            self._hurried.clear()
            waits = [
                asyncio.ensure_future(wait)
                for wait in (self._sleep(self.wait_s()), self._hurried.wait())
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if self.wait_s() == 0:
                return

    def _open(self, state: BreakerState, wait_s: float, detail: str) -> None:
        if state != self.state:
            level = logging.ERROR if state == "paused" else logging.WARNING
            _log.log(level, "%s: %s, next attempt in %.0f s: %s", self._name, state, wait_s, detail)
            self.failures = 0
        self._change(state, detail)
        self._opened_s = self._clock.monotonic()
        self._until = self._opened_s + wait_s
        self.failures += 1

    def _change(self, state: BreakerState, detail: str) -> None:
        if state != self.state:
            self.since_ms = self._clock.now_ms()
        self.state, self.detail = state, detail
        self._changes += 1


class DestinationPause:
    """Stops all endpoints of a destination while one of them is paused.

    The paused one goes on with its probes.  Only it can tell when they are accepted again: the
    others may not even need the credentials that it had refused.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self.since_ms = clock.now_ms()
        self._free = asyncio.Event()

    def update(self, endpoint: str, reason: str | None) -> None:
        """Place a hold for ``endpoint``, or lift its own if there is no reason for one."""
        if reason is not None:
            if not self._reasons:
                self.since_ms = self._clock.now_ms()
            self._reasons[endpoint] = reason
            self._free.clear()
        elif self._reasons.pop(endpoint, None) is not None and not self._reasons:
            self._free.set()

    def is_held_by(self, endpoint: str) -> bool:
        """Whether ``endpoint`` stops the others."""
        return endpoint in self._reasons

    def reason_for(self, endpoint: str) -> str | None:
        """Return why ``endpoint`` has to wait; None when it need not."""
        if not self._reasons or endpoint in self._reasons:
            return None
        return "; ".join(f"/{name}: {reason}" for name, reason in self._reasons.items())

    async def wait(self, endpoint: str) -> None:
        """Return when ``endpoint`` may send."""
        while self.reason_for(endpoint) is not None:
            await self._free.wait()
