"""The way of one queue's records from the spool to their endpoint."""

import asyncio
import logging
from collections.abc import (
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Sequence,
)
from concurrent.futures import Executor
from functools import partial
from random import Random
from typing import Any, TypedDict, TypeVar, get_args

from gateway.clock import Clock
from gateway.config import DeliveryConfig
from gateway.delivery.backlog import Backlog
from gateway.delivery.base import Endpoint
from gateway.delivery.batch import Batch, Piece
from gateway.delivery.blame import MIN_FAILURES, Blame
from gateway.delivery.channel import Channel
from gateway.delivery.circuit_breaker import BreakerState, DestinationPause, Sleep
from gateway.delivery.detour import Detour
from gateway.delivery.inquiry import Inquiry
from gateway.delivery.isolation import Isolation
from gateway.delivery.linger import Linger
from gateway.delivery.memory_budget import MemoryBudget, Reservation
from gateway.delivery.outcome import (
    Delivered,
    Outcome,
    Partial,
    Paused,
    RetryLater,
    Split,
    is_failure,
)
from gateway.delivery.progress import Progress, RequestTally, halves
from gateway.delivery.rate_limit import ProjectLimiter
from gateway.delivery.retry import PROBE_RECORDS, backoff_s
from gateway.delivery.sifting import Sieve
from gateway.delivery.suspicion import Suspicion
from gateway.delivery.trial import Trial
from gateway.errors import SpoolError
from gateway.model import Queue
from gateway.notices import Notices
from gateway.spool.outlet import MAX_CHUNK_BYTES, Outlet, Settlement
from gateway.telemetry import Telemetry

__all__ = ["EndpointStatus", "Sender"]

_MOST_ASIDE = 64
_FEW_ASIDE = 8
"""Batches of which records were refused, and that others overtake; the first few of them without
asking for room in memory."""

_HELD_S = 1.0
"""How soon records look again that only wait for what is tried apart from the others."""

_OVERTAKE_S = 0.05
"""How soon records are sent that had to wait for others about the same, once these are done."""

_STOP_S = 5.0
"""How long stopping waits for the spool to take note of what has been delivered."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class EndpointStatus(TypedDict):
    """What operators see of a sender.

    ``paused`` needs a person: credentials or address are wrong, or all that is sent is refused.
    ``in_flight`` counts batches, those that wait for their next attempt included; ``concurrency``
    is how many there may be.  ``isolated`` counts records that fail alone while others pass.
    """

    state: BreakerState
    detail: str
    since_ms: int
    consecutive_failures: int
    next_attempt_in_s: float | None
    in_flight: int
    concurrency: int
    isolated: int
    last_success_ms: int | None


class Sender:
    """Delivers one queue.

    A *feeder* takes batches from the backlog; each batch has a *worker* until all its records are
    delivered, dead letters, or known to be refused by mistake.  As many batches are in memory as
    the endpoint's concurrency and the budget allow, and one where the order counts.

    There are two circuit breakers: one before each request, for trouble with the service, and one
    for refusals that look like a wrong setting.  While the way is not clear, one batch is enough to
    try it: the workers of the others give theirs back.  As long as nothing has been accepted
    lately, requests are small, so that a wrong setting is found before much has been sent.

    A worker whose records are refused while nothing is accepted sends a few of other batches: if
    one of those is accepted, what was refused is to blame; else the queue is paused.

    A worker whose requests fail again and again sends a few other records: if one of those is
    accepted, it is no outage, and its own are sent apart, where a failure is no reason for others
    to wait.

    What does not fill a batch lingers for more, except what was given back, and when stopping.

    :param outlet: of the queue.
    :param hold: shared by the endpoints of a destination.
    :param limiter: shared by all that feed the same project.
    :param memory: shared by all senders.
    :param threads: builds requests; shared by all senders.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        queue: Queue,
        endpoint: Endpoint[Any],
        *,
        config: DeliveryConfig,
        outlet: Outlet,
        limiter: ProjectLimiter,
        hold: DestinationPause,
        memory: MemoryBudget,
        threads: Executor,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        sleep: Sleep,
    ) -> None:
        self.queue = queue
        self._config = config
        self._outlet = outlet
        self._clock = clock
        self._endpoint = endpoint
        self._hold = hold
        self._memory = memory
        self._threads = threads
        self._rng = rng
        self._sleep = sleep
        self._name = f"delivery to {queue.destination}/{queue.endpoint}"
        self._notices = Notices(_log, clock)
        self._channel = Channel(
            queue,
            endpoint,
            config=config,
            name=self._name,
            limiter=limiter,
            hold=hold,
            threads=threads,
            clock=clock,
            telemetry=telemetry,
            rng=rng,
            sleep=sleep,
        )
        self._backlog = Backlog(
            outlet,
            config=config,
            name=self._name,
            notices=self._notices,
            rng=rng,
            sleep=sleep,
        )
        self._suspicion = Suspicion()
        self._tried: Progress | None = None  # the last one that was probed with
        self._inquiry = Inquiry(
            self._channel,
            self._backlog,
            self._suspicion,
            name=self._name,
            clock=clock,
            rng=rng,
            sleep=sleep,
            request=self._request,
            keep=self._keep,
            is_spare=self._is_spare,
            on_try=self._note_tried,
        )
        self._detour = Detour(
            self._backlog,
            subject_of=endpoint.subject_of if endpoint.is_ordered else None,
            threads=threads,
            rng=rng,
            begin=self._begin,
        )
        self._blame = Blame()
        self._isolation = Isolation(
            self._channel,
            name=self._name,
            blame=self._blame,
            connections=max(1, config.connections // 4),
            clock=clock,
            notices=self._notices,
            rng=rng,
            sleep=sleep,
            request=self._request,
            keep=self._keep,
            account=self._account,
            compact=self._compact,
            go_around=self._go_around,
            others_try=lambda: bool(self._tries()),
            must_stop=lambda: self._is_finishing or self._is_suspicious(),
            on_change=lambda: self._news.set(),
        )
        self._held: set[Progress] = set()  # those that only wait for what is tried apart
        self._news = asyncio.Event()  # something that the feeder waits for may have happened
        self._linger = Linger(self._news.set)
        self._idle = asyncio.Event()
        self._is_finishing = False
        self._in_flight = 0  # records
        self._sieve = Sieve(
            connections=max(1, config.connections // 2),
            request=self._request,
            may_send=self._is_clear,
        )
        self._aside: set[Progress] = set()  # sifted, or waiting for others that are
        self._known_subjects: dict[Progress, Sequence[Hashable]] = {}
        self._under_way: dict[Progress, Reservation] = {}
        self._unreadable: list[Batch] = []
        self._workers: dict[Progress, asyncio.Task[None]] = {}
        self._feeder: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling: dict[asyncio.Task[None], Progress] = {}
        self._disagreements = 0  # with the spool, in a row
        for state in get_args(BreakerState):
            shown = partial(self._is_in, state)
            telemetry.delivery_state.labels(*queue, state).set_function(shown)
        telemetry.delivery_refused.labels(*queue).set_function(lambda: self._suspicion.refused)
        telemetry.delivery_isolated.labels(*queue).set_function(lambda: self._isolation.suspects)

    def start(self) -> None:
        """Begin to deliver."""
        self._outlet.attach(self)
        self._feeder = self._spawn(self._feed())

    def wake(self) -> None:
        """Take note that there may be more to take."""
        self._inquiry.breaker.hasten()
        self._channel.breaker.hasten()
        self._idle.clear()
        self._linger.begin()
        if self._may_take():  # else the feeder would wake up at each commit for nothing
            self._news.set()

    def holds_others(self) -> bool:
        """Whether the other endpoints of the destination wait for this one."""
        return self._hold.is_held_by(self.queue.endpoint)

    def hurry(self) -> None:
        """Make the next attempt now; one that waits for another endpoint needs that one's."""
        self._channel.breaker.hurry()
        self._inquiry.breaker.hurry()

    async def recall(self) -> None:
        """Give back the batches that are in no request, but for what is delivered of them."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=_STOP_S)
        settling = frozenset(self._settling.values())
        waiting = [
            progress
            for progress in self._under_way
            if progress not in settling and not self._is_sending(progress)
        ]
        tasks = [self._workers[progress] for progress in waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for progress in waiting:
            if progress in self._under_way:  # else it had just come to its end
                await self._settle_at_last(progress)
                self._let_go(progress)
        await self._settle_tried()
        unreadable, self._unreadable = self._unreadable, []
        for batch in unreadable:
            batch.lease.release()

    def _is_sending(self, progress: Progress) -> bool:
        """Whether the worker of a batch waits for an answer, perhaps about another one."""
        tried = self._tried
        is_probing = tried is not None and tried not in self._under_way
        return self._channel.is_sending(progress.batch) or (
            is_probing and tried is not None and self._channel.is_sending(tried.batch)
        )

    async def _settle_tried(self) -> None:
        """Settle what was delivered of a batch that was only probed with."""
        tried = self._tried
        if tried is None or tried in self._under_way or self._channel.is_sending(tried.batch):
            return
        self._tried = None
        await self._settle_at_last(tried)

    async def drained(self) -> None:
        """Deliver what is left without delay, and wait until that is done."""
        self._linger.forbid()
        self._news.set()
        await self._idle.wait()

    def finish(self) -> None:
        """Make no more requests than those that are under way."""
        self._is_finishing = True
        self._news.set()

    async def finished(self) -> None:
        """Wait until those are answered."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Cut off what is under way, and leave in the spool what is not known to be delivered."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(_STOP_S):
                await asyncio.gather(*self._settling, return_exceptions=True)
                await self._settle_tried()
                for progress in self._under_way:
                    await self._settle_at_last(progress)
        except TimeoutError:
            _log.warning("%s: some records will be delivered twice: no time", self._name)
        finally:
            self._outlet.detach()
            await self._channel.close()

    async def _settle_at_last(self, progress: Progress) -> None:
        try:
            if (settlement := progress.keep()) is not None:
                await progress.batch.lease.settle(settlement)
        except SpoolError as error:
            _log.warning("%s: some records will be delivered twice: %r", self._name, error)

    def status(self) -> EndpointStatus:
        """Return what operators need to know."""
        # What needs a person first, then what the next request waits for.
        breaker = (
            self._channel.breaker if self._inquiry.breaker.is_closed() else self._inquiry.breaker
        )
        held = self._hold.reason_for(self.queue.endpoint) if breaker.state != "paused" else None
        return EndpointStatus(
            state="paused" if held else breaker.state,
            detail=held or breaker.detail,
            since_ms=self._hold.since_ms if held else breaker.since_ms,
            consecutive_failures=breaker.failures,
            next_attempt_in_s=None if held or breaker.is_closed() else breaker.wait_s(),
            in_flight=len(self._under_way),
            concurrency=self._channel.concurrency.limit,
            isolated=self._isolation.suspects,
            last_success_ms=self._channel.last_success_ms,
        )

    def _is_in(self, state: BreakerState) -> bool:
        return self.status()["state"] == state

    # The feeder

    async def _feed(self) -> None:
        while True:
            if not (self._may_take() and await self._take()):
                if not (self._works() or self._has_more()):
                    self._idle.set()
                await self._news.wait()
            self._news.clear()

    def _works(self) -> bool:
        """Whether there is work that does not only wait for its next round, apart from others."""
        resting = self._isolation.resting
        return any(not (each in resting or each in self._held) for each in self._under_way)

    def _may_take(self) -> bool:
        """Whether another batch could be sent now, memory permitting."""
        if not self._has_more() or self._is_lingering():
            return False
        if self._blame.is_failing() and self._isolation.is_active:
            return False
        if not self._tries():
            return len(self._aside) < _MOST_ASIDE
        if len(self._under_way) - len(self._aside) >= self._channel.concurrency.limit:
            self._channel.concurrency.want()
            return False
        return len(self._aside) < _MOST_ASIDE and self._is_clear()

    async def _take(self) -> bool:
        """Start a worker on the next batch; return False when there is none, or no room for it."""
        # What it takes is known when it is there; until then the most that it could be.
        # What is sifted must not keep others back, within reason.
        is_first = not self._under_way.keys() - self._aside and len(self._aside) < _FEW_ASIDE
        most = 0 if is_first else 3 * max(self._config.batch_bytes, MAX_CHUNK_BYTES)
        reservation = self._memory.reserve(
            self.queue, most, is_first=is_first, on_room=self._news.set
        )
        if reservation is None:
            return False
        self._linger.reset()  # before reading: what comes meanwhile is read, or lingers
        batch = None
        try:
            batch = await self._backlog.take()
        finally:
            if batch is None:
                reservation.end()
        if batch is None:
            return False
        try:
            progress = self._begin(batch)
        except Exception:
            # The other batches must not wait for what nobody can read.
            reservation.end()
            self._unreadable.append(batch)
            _log.exception(
                "%s: %d records cannot be read, of chunks %s to %s; they are kept, and tried again "
                "at the next start",
                *(self._name, batch.records, batch.chunk_ids[0], batch.chunk_ids[-1]),
            )
            return True
        self._under_way[progress] = reservation
        self._account(progress)
        self._workers[progress] = self._spawn(self._work(progress))
        return True

    def _account(self, progress: Progress) -> None:
        """Take note of the memory that a batch needs now: little while it only waits."""
        if self._channel.breaker.is_closed():
            size = progress.batch.memory_bytes(sent_plain=self._channel.sends_plain)
            self._under_way[progress].resize(size)
        else:
            self._compact(progress)

    def _compact(self, progress: Progress) -> None:
        """Keep only what is stored of a batch."""
        progress.batch.compact()
        self._under_way[progress].resize(progress.batch.stored_bytes)

    def _has_more(self) -> bool:
        """Whether there is something that nobody works on yet."""
        return not self._is_finishing and self._outlet.has_more

    def _is_lingering(self) -> bool:
        """Whether what waits is to wait for more."""
        return (
            self._linger.is_on
            and not self._outlet.has_released
            and self._outlet.waiting() < self._config.batch_records
        )

    # A worker

    async def _work(self, progress: Progress) -> None:
        failures = 0
        while not (progress.is_over or self._is_spare(progress)):
            try:
                if not await self._deliver(progress):
                    break
            except SpoolError:
                # The spool disagrees about what it holds, and it is the one that knows.
                self._disagreements += 1
                _log.exception("%s: a batch is read again", self._name)
                await self._sleep(backoff_s(self._disagreements, None, self._rng))
                break
            except Exception:
                # A mistake of ours must cost neither the records nor the other batches.
                failures += 1
                _log.exception("%s: unexpected error; its records are kept", self._name)
                progress.restart()
                await self._sleep(backoff_s(failures, None, self._rng))
        self._let_go(progress)

    def _let_go(self, progress: Progress) -> None:
        """Take note that nobody works on a batch any more."""
        del self._workers[progress]
        self._under_way.pop(progress).end()
        self._aside.discard(progress)
        self._isolation.forget(progress)
        self._held.discard(progress)
        self._known_subjects.pop(progress, None)
        progress.batch.lease.release()
        self._news.set()

    def _is_clear(self) -> bool:
        """Whether nothing is known that stands in the way."""
        return self._channel.is_clear() and not self._is_suspicious()

    def _is_spare(self, progress: Progress) -> bool:
        """Whether a batch is to be given back.

        So is each when no more requests are to be made, and while the way is not clear all but the
        oldest, which tries it.
        """
        if self._is_finishing or progress.is_lost:
            return True
        if self._is_clear() or progress in self._isolation.batches:
            return False
        tries = self._tries()
        return progress is not min(tries, key=lambda other: other.batch.position, default=None)

    def _tries(self) -> Collection[Progress]:
        """Return the batches that find out whether the way is clear, if they are sent."""
        apart = self._isolation.batches
        return self._under_way.keys() - apart - self._held if apart else self._under_way.keys()

    async def _deliver(self, progress: Progress) -> bool:
        """Send everything there is of a batch, and settle the result.

        Returns False when the batch has to be given back.
        """
        if self._endpoint.is_ordered and not await self._overtake(progress):
            return False
        self._held.discard(progress)
        while True:
            if not await self._send(progress):
                return False
            if not (progress.refused and self._is_suspicious()):
                break
            if not await self._find_out(progress):
                return False
        if progress.failures and not progress.has_failed_alone:
            self._blame.recover(self._clock.monotonic())
        if not progress.is_over:
            await self._conclude(progress)
        return True

    async def _send(self, progress: Progress, *, is_overtaking: bool = False) -> bool:
        """Make requests until each record has been taken or refused, or a setting is suspected.

        Returns False when the batch has to be given back.

        :param is_overtaking: whether some is withheld, which perhaps may be sent after a failure.
        """
        while progress.has_untried:
            if self._is_to_blame(progress):
                return await self._isolate(progress, is_overtaking=is_overtaking)
            if self._is_spare(progress):
                await self._keep(progress)
                return False
            if not self._is_stuck(progress):
                await self._send_next(progress)
            elif not await self._go_around(progress):
                if self._isolation.batches:
                    progress.is_suspect = True  # they take turns
                else:
                    await self._send_next(progress)
            if progress.refused and self._is_suspicious():
                break
            if is_overtaking and self._is_stuck(progress):
                break
        return True

    async def _send_next(self, progress: Progress) -> None:
        if (piece := self._next(progress)) is None:
            return
        outcome = await self._request(progress, piece)
        if isinstance(outcome, Split) and len(piece) > 1:
            await self._sift(progress, piece)
        elif outcome is None or isinstance(outcome, RetryLater | Paused):
            progress.put_back(piece)
            if outcome is not None:
                # It may be long until the rest goes on: what is done must not be done again.
                await self._keep(progress)
        self._account(progress)

    def _next(self, progress: Progress) -> Piece | None:
        if not self._channel.breaker.is_closed():
            return progress.take(PROBE_RECORDS)
        if not self._is_proven():
            return progress.take(max(1, PROBE_RECORDS - self._in_flight))
        return progress.take()

    async def _request(
        self, progress: Progress, piece: Piece, *, is_apart: bool = False
    ) -> Outcome | None:
        """Make one request and take note of what it says."""
        is_clear = self._channel.is_clear()
        began_s = self._clock.monotonic()
        is_apart = is_apart or (is_clear and self._blame.tolerates(began_s))
        self._in_flight += len(piece)
        try:
            outcome = await self._channel.request(progress.batch, piece, is_apart=is_apart)
        finally:
            self._in_flight -= len(piece)
        self._news.set()  # the way may be clear now, or the limit higher
        if isinstance(outcome, Delivered | Partial | Split):
            self._judge(progress, outcome, progress.apply(piece, outcome))
        elif is_failure(outcome):
            now = self._clock.monotonic()
            progress.fail(now)
            if is_apart:
                progress.is_suspect = True
                after_s = outcome.after_s if isinstance(outcome, RetryLater) else None
                self._blame.fail(began_s, now, after_s)
            elif isinstance(outcome, Paused) and self._has_more():
                self._channel.breaker.hasten()  # others find out whether it is these records
        return outcome

    # Which records fail while others pass

    async def _go_around(self, progress: Progress) -> bool:
        """Wait until somebody may try the way, and try it with other records.

        Returns False where there are none.
        """
        await self._channel.breaker.due()
        if self._channel.breaker.is_closed() or self._is_spare(progress):
            return True
        async with self._outlet.taking:
            failures = self._channel.breaker.failures
            chosen = await self._detour.choose(progress, list(self._under_way), failures)
            if chosen is None:
                return False
            other, piece = chosen
            self._tried = other
            other.prefer(piece)
            if (part := other.take()) is None:
                return False
            outcome = await self._request(other, part)
            if not isinstance(outcome, Delivered | Partial):
                other.put_back(part)
            other.in_order()
            await self._keep(other)
            self._tried = None  # no budget counts it
        return True

    def _is_stuck(self, progress: Progress) -> bool:
        """Whether a batch failed again and again, and perhaps because of what is in it."""
        return progress.failures >= MIN_FAILURES and not self._channel.breaker.is_closed()

    def _is_to_blame(self, progress: Progress) -> bool:
        """Whether a batch is to be tried apart from others."""
        if progress.is_suspect:
            return True
        progress.is_suspect = (
            self._blame.is_on_records(progress.failures, progress.failed_s) and self._is_clear()
        )
        return progress.is_suspect

    async def _isolate(self, progress: Progress, *, is_overtaking: bool) -> bool:
        """Try a batch apart from others; False when it has to be given back.

        :param is_overtaking: whether to return after some of it was tried.
        """
        self._aside.add(progress)
        subjects = await self._subjects(progress) if self._endpoint.is_ordered else None
        if not await self._isolation.run(progress, subjects, is_overtaking=is_overtaking):
            return False
        if not is_overtaking:
            self._isolation.forget(progress)
            progress.is_suspect = False
        return True

    # Which records of a refused request are to blame

    async def _sift(self, progress: Progress, piece: Piece) -> None:
        """Find the bad records of a piece that was refused as a whole.

        Others go on meanwhile: what is sifted does not count among the batches that are sent.
        """
        subjects = await self._subjects(progress) if self._endpoint.is_ordered else None
        parts = halves(piece, subjects)
        if not self._is_proven():  # then one after the other, until something is accepted
            progress.put_back(parts.first, parts.second)
            return
        self._aside.add(progress)
        self._news.set()
        await self._sieve.sift(progress, parts, subjects)
        if subjects is not None:
            await self._keep(progress)  # others may be sent only after what a crash cannot repeat

    async def _subjects(self, progress: Progress) -> Sequence[Hashable]:
        """Return what each record of a batch is about."""
        found = self._known_subjects.get(progress)
        if found is None:
            batch, subject_of = progress.batch, self._endpoint.subject_of
            found = await self._in_thread(lambda: [subject_of(line) for line in batch.lines])
            self._known_subjects[progress] = found
        return found

    async def _overtake(self, progress: Progress) -> bool:
        """Send what need not wait for the batches before this one, which are being sifted.

        Returns False when the batch has to be given back, as one before it was.
        """
        withheld: list[int] = []
        while True:
            async with self._outlet.taking:
                pass  # what is being taken may come before this one
            if self._outlet.has_before(progress.batch.lease):
                await self._keep(progress)
                return False
            if not (earlier := self._before(progress)):
                progress.put_back(withheld)
                return True
            self._aside.add(progress)
            subjects = await self._subjects(progress)
            held: set[Hashable] = set()
            for other in earlier:
                theirs = await self._subjects(other)
                held.update([theirs[index] for index in other.unsettled])
            progress.put_back(withheld)
            withheld = [index for index in progress.untried if subjects[index] in held]
            progress.withhold(withheld)
            if progress.has_untried:
                self._held.discard(progress)
                if not await self._send(progress, is_overtaking=True):
                    return False
                await self._keep(progress)
            if not (withheld or progress.has_untried):
                return True
            if not await self._await_others(progress):
                await self._keep(progress)
                return False

    async def _await_others(self, progress: Progress) -> bool:
        """Wait a moment for the batches before this one; False when it has to be given back."""
        if not (before := self._before(progress)):
            return True
        if progress.has_untried or set(before) - self._isolation.batches - self._held:
            if self._is_spare(progress):
                return False
            await self._await_any(before, _OVERTAKE_S)
            return True
        self._held.add(progress)
        self._news.set()
        left = [other.left for other in before]
        while left == [other.left for other in self._before(progress)]:
            if self._is_finishing or progress.is_lost:
                return False
            await self._await_any(before, _HELD_S)
        return True

    async def _await_any(self, before: Sequence[Progress], seconds: float) -> None:
        """Wait until one of these batches is done, or for so long."""
        tasks = [self._workers[other] for other in before]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _before(self, progress: Progress) -> list[Progress]:
        """Return the batches under way that come before this one."""
        return [other for other in self._under_way if other.batch.is_before(progress.batch)]

    # Whether the records or a setting is to blame

    def _judge(self, progress: Progress, outcome: Outcome, verdict: RequestTally) -> None:
        """Take note of what one request said about the settings."""
        now = self._clock.monotonic()
        self._blame.answer(now)
        is_foreign = isinstance(outcome, Split) and outcome.is_foreign
        if is_foreign and progress.blocked_s is None:
            progress.blocked_s = now
        if verdict.accepted:
            self._blame.accept(now)
            self._suspicion.accept(now)
            if not self._is_suspicious():
                self._inquiry.breaker.reset()
        if verdict.refused and not is_foreign:
            self._suspicion.refuse(verdict.refused)
        elif verdict.refused and not self._suspicion.has_accepted_since(progress.blocked_s or now):
            self._suspicion.doubt()

    def _is_proven(self) -> bool:
        return self._suspicion.is_proven(self._clock.monotonic())

    def _is_suspicious(self) -> bool:
        return self._suspicion.is_on(self._clock.monotonic())

    async def _find_out(self, progress: Progress) -> bool:
        """Wait until anything is accepted, which clears the settings of suspicion.

        Returns False when the batch has to be given back: that of another worker waits already.
        """
        await self._keep(progress)
        if self._endpoint.is_ordered and (later := self._workers.keys() - {progress}):
            await asyncio.wait([self._workers[other] for other in later])  # they are spare
        trial = Trial(
            progress,
            self._backlog,
            subject_of=self._endpoint.subject_of if self._endpoint.is_ordered else None,
            names_refused=self._endpoint.names_refused,
            threads=self._threads,
            rng=self._rng,
            begin=self._begin,
        )
        return await self._inquiry.run(progress, trial)

    def _note_tried(self, progress: Progress) -> None:
        self._tried = progress

    # What becomes of a batch

    def _begin(self, batch: Batch) -> Progress:
        return Progress(
            batch, max_records=self._config.batch_records, max_bytes=self._config.batch_bytes
        )

    async def _conclude(self, progress: Progress) -> None:
        if progress.refused:  # which becomes text again, and may take its time
            settlement = await self._in_thread(progress.conclude)
        else:
            settlement = progress.conclude()
        await self._settle(progress, settlement)

    async def _keep(self, progress: Progress) -> None:
        if (settlement := await self._in_thread(progress.keep)) is not None:
            await self._settle(progress, settlement)

    async def _settle(self, progress: Progress, settlement: Settlement) -> None:
        async def settle() -> None:
            await self._backlog.settle(progress.batch, settlement)
            progress.settled(settlement)
            self._disagreements = 0

        # Shielded, so that stopping never leaves in doubt whether it was applied.
        task = asyncio.create_task(settle())
        self._settling[task] = progress
        task.add_done_callback(self._settling.pop)
        await asyncio.shield(task)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
