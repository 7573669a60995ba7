"""The way of one request to its endpoint: everything that it has to pass, and what it reports."""

import asyncio
from collections import Counter
from concurrent.futures import Executor
from random import Random
from typing import Any

from gateway.clock import Clock
from gateway.config import DeliveryConfig
from gateway.delivery.adaptive_concurrency import Concurrency, Result
from gateway.delivery.base import Endpoint
from gateway.delivery.batch import Batch, Body, Piece
from gateway.delivery.circuit_breaker import CircuitBreaker, DestinationPause, Sleep
from gateway.delivery.outcome import Delivered, Outcome, Partial, Paused, RetryLater, is_failure
from gateway.delivery.rate_limit import ProjectLimiter
from gateway.model import Queue
from gateway.telemetry import Telemetry

__all__ = ["Channel"]


class Channel:
    """An endpoint with its circuit breaker, its share of the rate, and its concurrency.

    :param name: for the log.
    :param hold: shared by the endpoints of a destination.
    :param limiter: shared by all that feed the same project.
    :param threads: builds requests; shared by all channels.
    :param rng: source of the jitter.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        queue: Queue,
        endpoint: Endpoint[Any],
        *,
        config: DeliveryConfig,
        name: str,
        limiter: ProjectLimiter,
        hold: DestinationPause,
        threads: Executor,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        sleep: Sleep,
    ) -> None:
        self._queue = queue
        self._endpoint = endpoint
        self._limiter = limiter
        self._hold = hold
        self._threads = threads
        self._clock = clock
        self._telemetry = telemetry
        self.breaker = CircuitBreaker(name, clock=clock, rng=rng, sleep=sleep)
        self.concurrency = Concurrency(1 if endpoint.is_ordered else config.connections)
        self.sends_plain = endpoint.sends_plain
        self._sending: Counter[Batch] = Counter()  # requests
        self.last_success_ms: int | None = None
        self._gauge = telemetry.delivery_concurrency.labels(*queue)
        self._gauge.set(self.concurrency.limit)

    def is_clear(self) -> bool:
        """Whether nothing is known that stands in the way."""
        return self.breaker.is_closed() and self._hold.reason_for(self._queue.endpoint) is None

    def is_sending(self, batch: Batch) -> bool:
        """Whether a request with records of a batch has no answer yet."""
        return self._sending[batch] > 0

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def request(
        self, batch: Batch, piece: Piece, *, is_apart: bool = False
    ) -> Outcome | None:
        """Make one request; return None when it turned out that it is not the time for it.

        :param is_apart: whether a failure is no reason for others to wait; to be made only while
            the way is clear.
        """
        if is_apart and not self.is_clear():
            return None
        loop = asyncio.get_running_loop()
        async with self.breaker.turn() as turn:
            await self._hold.wait(self._queue.endpoint)
            stored = batch.stored(piece)
            if stored is not None and self._endpoint.is_quick(stored):
                request, records, size = self._prepare(stored)
            else:
                request, records, size = await loop.run_in_executor(
                    self._threads, lambda: self._prepare(batch.body(piece))
                )
            await self._limiter.acquire(records, size)
            if batch.lease.is_lost or not self.breaker.is_current(turn):
                return None
            self._sending[batch] += 1
            try:
                outcome = await self._exchange(request, size, batch.created_ms, is_apart=is_apart)
            finally:
                self._sending[batch] -= 1
                if not self._sending[batch]:
                    del self._sending[batch]
            if not (is_apart and is_failure(outcome)):
                self._report(turn, outcome)
        return outcome

    def _prepare(self, body: Body) -> tuple[Any, int, int]:
        return self._endpoint.prepare(body), body.records, body.size

    async def _exchange(
        self, request: object, size: int, created_ms: int, *, is_apart: bool
    ) -> Outcome:
        ticket = self.concurrency.begin(self._clock.monotonic(), size)
        result: Result = "unknown"
        try:
            outcome = await self._endpoint.send(request)
            result = "unknown" if is_apart and is_failure(outcome) else _result_of(outcome)
        finally:
            ended = self._clock.monotonic()
            self.concurrency.end(ticket, ended, result)
            self._gauge.set(self.concurrency.limit)
        self._telemetry.delivery_requests.labels(*self._queue, type(outcome).__name__).inc()
        self._telemetry.delivery_seconds.labels(*self._queue).observe(ended - ticket.started)
        if isinstance(outcome, Delivered | Partial):
            now_ms = self.last_success_ms = self._clock.now_ms()
            lag_s = max(0, now_ms - created_ms) / 1000  # the clock may have been set back
            self._telemetry.delivery_lag.labels(*self._queue).observe(lag_s)
        return outcome

    def _report(self, turn: int, outcome: Outcome) -> None:
        match outcome:
            case RetryLater(after_s, reason):
                self.breaker.back_off(turn, after_s, reason)
            case Paused(reason):
                self.breaker.pause(turn, reason)
            case _:
                self.breaker.close(turn)
        if isinstance(outcome, Paused) and outcome.holds_others:
            self._hold.update(self._queue.endpoint, self.breaker.detail)
        elif self.breaker.state != "paused" or isinstance(outcome, Paused):
            self._hold.update(self._queue.endpoint, None)


def _result_of(outcome: Outcome) -> Result:
    match outcome:
        case RetryLater(throttled=throttled):
            return "throttled" if throttled else "failed"
        case Paused():
            return "unknown"
        case _:
            return "ok"
