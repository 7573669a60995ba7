"""The way of one queue's records from the spool to their endpoint."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import TypedDict, TypeVar

from gateway.clock import Clock
from gateway.config import DeliveryConfig
from gateway.delivery.base import Endpoint
from gateway.delivery.batch import Batch, Piece
from gateway.delivery.gate import Gate, GateState, Hold, Sleep
from gateway.delivery.limits import ProjectLimiter
from gateway.delivery.outcome import Delivered, Outcome, Partial, Paused, RetryLater
from gateway.delivery.progress import Progress
from gateway.delivery.retry import backoff_s, is_wrong_setting
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.spool.base import Queue, Settlement, Spool
from gateway.telemetry import Telemetry

__all__ = ["Sender", "Status"]

_LINGER_S = 0.05
"""How long a batch that is not full waits for more, and only while another one is under way."""

_STOP_S = 5.0
"""How long stopping waits for the spool to take note of what has been delivered."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Status(TypedDict):
    """What operators see of a sender.

    ``paused`` needs a person: credentials or address are wrong, or most of a batch was refused.
    ``in_flight`` counts batches, those that wait for their next attempt included.
    """

    state: GateState
    detail: str
    since_ms: int
    consecutive_failures: int
    next_attempt_in_s: float | None
    in_flight: int
    last_success_ms: int | None


class Sender:
    """Delivers one queue.

    A *feeder* reads chunks in order and makes batches of them; each batch has a *worker* until all
    its records are delivered, dead letters, or known to be refused by mistake.  As many batches are
    in memory as there are workers: the endpoint's connections, or one where the order counts.

    Two gates stand in the way: one before each request, for trouble with the service, and one
    before each batch, for refusals that look like a wrong setting.

    :param hold: shared by the endpoints of a destination.
    :param limiter: likewise.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        queue: Queue,
        endpoint: Endpoint,
        *,
        config: DeliveryConfig,
        spool: Spool,
        limiter: ProjectLimiter,
        hold: Hold,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        sleep: Sleep,
    ) -> None:
        self.queue = queue
        self._endpoint = endpoint
        self._config = config
        self._spool = spool
        self._limiter = limiter
        self._hold = hold
        self._clock = clock
        self._telemetry = telemetry
        self._rng = rng
        self._sleep = sleep
        self._name = f"delivery to {queue.destination}/{queue.endpoint}"
        self._breaker = Gate(self._name, clock=clock, rng=rng, sleep=sleep)
        self._refusals = Gate(f"{self._name} (refusals)", clock=clock, rng=rng, sleep=sleep)
        self._slots = asyncio.Semaphore(1 if endpoint.is_ordered else config.connections)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._has_read_all = False
        # The last chunk that was read: it and those before are with a worker, or done.
        self._cursor = 0
        self._under_way: set[Progress] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._last_success_ms: int | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._spawn(self._feed())

    def wake(self) -> None:
        """Take note that the queue has new chunks."""
        self._wake.set()
        self._idle.clear()

    async def drained(self) -> None:
        """Wait until nothing is left to deliver."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Cut off what is under way, and leave in the spool what is not known to be delivered."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(_STOP_S):
                await asyncio.gather(*self._settling)
                for progress in self._under_way:
                    if (settlement := progress.keep()) is not None:
                        await self._spool.settle(settlement)
        except (TimeoutError, SpoolError) as error:
            _log.warning("%s: some records will be delivered twice: %r", self._name, error)
        finally:
            await self._endpoint.close()

    def status(self) -> Status:
        """Return what operators need to know."""
        # What needs a person first, then what the next request waits for.
        gate = self._breaker if self._refusals.is_open() else self._refusals
        held = self._hold.reason_for(self.queue.endpoint) if gate.state != "paused" else None
        return Status(
            state="paused" if held else gate.state,
            detail=held or gate.detail,
            since_ms=self._hold.since_ms if held else gate.since_ms,
            consecutive_failures=gate.failures,
            next_attempt_in_s=None if held or gate.is_open() else gate.wait_s(),
            in_flight=len(self._under_way),
            last_success_ms=self._last_success_ms,
        )

    async def _feed(self) -> None:
        while True:
            await self._slots.acquire()
            progress = Progress(
                await self._next_batch(),
                max_records=self._config.batch_records,
                max_bytes=self._config.batch_bytes,
            )
            self._under_way.add(progress)
            self._spawn(self._work(progress))

    async def _next_batch(self) -> Batch:
        while True:
            self._wake.clear()
            if self._under_way and 0 < self._waiting() < self._config.batch_records:
                await self._sleep(_LINGER_S)
            chunks = await self._persistently(
                lambda: self._spool.read(
                    self.queue,
                    after=self._cursor,
                    max_records=self._config.batch_records,
                    max_bytes=self._config.batch_bytes,
                ),
                retry_on=Exception,  # whatever it is, the feeder must outlive it
            )
            if chunks:
                self._cursor = chunks[-1].id
                return Batch(chunks)
            self._has_read_all = True
            self._note_idle()
            await self._wake.wait()
            self._has_read_all = False

    def _waiting(self) -> int:
        state = self._spool.queues().get(self.queue)
        pending = 0 if state is None else state.pending
        return pending - sum(progress.batch.records for progress in self._under_way)

    async def _work(self, progress: Progress) -> None:
        failures = 0
        try:
            while not progress.is_over:
                try:
                    await self._deliver(progress)
                except SpoolError:
                    # The spool disagrees about what it holds, and it is the one that knows.
                    _log.exception("%s: a batch is given up until a restart", self._name)
                    break
                except Exception:
                    # A mistake of ours must cost neither the records nor the other batches.
                    failures += 1
                    _log.exception("%s: unexpected error; its records are kept", self._name)
                    await self._sleep(backoff_s(failures, None, self._rng))
        finally:
            self._slots.release()
        self._under_way.discard(progress)
        self._note_idle()

    async def _deliver(self, progress: Progress) -> None:
        """Send everything there is of a batch once, and judge the result."""
        async with self._refusals.turn() as turn:
            await self._send(progress)
            if not is_wrong_setting(progress.refused, progress.records):
                self._refusals.reopen(turn)
                await self._settle(progress, progress.conclude())
                return
            self._refusals.pause(
                turn,
                f"{progress.refused} of {progress.records} records refused, which looks like a "
                f"wrong setting; they are kept and tried again. For example: {progress.example}",
            )
            await self._settle(progress, progress.keep())
            progress.restart()

    async def _send(self, progress: Progress) -> None:
        """Make requests until each record has been taken or refused, or too many are refused."""
        while (piece := progress.next()) is not None:
            outcome = await self._request(progress.batch, piece)
            if isinstance(outcome, RetryLater | Paused):
                # It may be long until the rest goes on: what is done must not be done again.
                await self._settle(progress, progress.keep())
                continue
            progress.apply(outcome)
            if is_wrong_setting(progress.refused, progress.records):
                return

    async def _request(self, batch: Batch, piece: Piece) -> Outcome:
        async with self._breaker.turn() as turn:
            await self._hold.wait(self.queue.endpoint)
            body = await asyncio.to_thread(batch.body, piece)
            await self._limiter.acquire(body.records, body.size)
            started = self._clock.monotonic()
            outcome = await self._endpoint.send(body)
            self._report(turn, outcome)
        self._measure(outcome, started, batch.created_ms)
        return outcome

    def _report(self, turn: int, outcome: Outcome) -> None:
        match outcome:
            case RetryLater(after_s, reason):
                self._breaker.back_off(turn, after_s, reason)
            case Paused(reason):
                self._breaker.pause(turn, reason)
            case _:
                self._breaker.reopen(turn)
        is_paused = self._breaker.state == "paused"
        self._hold.update(self.queue.endpoint, self._breaker.detail if is_paused else None)

    def _measure(self, outcome: Outcome, started: float, created_ms: int) -> None:
        took = self._clock.monotonic() - started
        self._telemetry.delivery_requests.labels(*self.queue, type(outcome).__name__).inc()
        self._telemetry.delivery_seconds.labels(*self.queue).observe(took)
        if isinstance(outcome, Delivered | Partial):
            now_ms = self._last_success_ms = self._clock.now_ms()
            self._telemetry.delivery_lag.labels(*self.queue).observe((now_ms - created_ms) / 1000)

    async def _settle(self, progress: Progress, settlement: Settlement | None) -> None:
        if settlement is None:
            return

        async def settle() -> None:
            await self._persistently(lambda: self._spool.settle(settlement), SpoolUnavailable)
            progress.settled(settlement)

        # Shielded, so that stopping never leaves in doubt whether it was applied.
        task = asyncio.create_task(settle())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)

    async def _persistently(self, call: Callable[[], Awaitable[T]], retry_on: type[Exception]) -> T:
        failures = 0
        while True:
            try:
                return await call()
            except retry_on as error:
                failures += 1
                if failures == 1:
                    _log.warning("%s: waiting for the spool: %r", self._name, error)
                await self._sleep(backoff_s(failures, None, self._rng))

    def _note_idle(self) -> None:
        if self._has_read_all and not self._under_way and not self._wake.is_set():
            self._idle.set()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
