"""Whatever a service answers and whenever the spool fails, each record ends where it belongs.

The sender and its decisions are the real ones; the service and the spool are models that are
strict about every call.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.config import DeliveryConfig
from gateway.delivery.batch import Body
from gateway.delivery.circuit_breaker import DestinationPause
from gateway.delivery.memory_budget import MemoryBudget
from gateway.delivery.mixpanel.response import interpret
from gateway.delivery.outcome import Outcome, RetryLater
from gateway.delivery.rate_limit import ProjectLimiter
from gateway.delivery.sender import Sender
from gateway.delivery.suspicion import MIN_REFUSED
from gateway.model import Queue
from gateway.telemetry import Telemetry
from tests.support.partitioned_outlet import PartitionedOutlet
from tests.torture.order import is_in_order

LARGE = 400  # bytes of a record that is too large on its own
MOODS = ("500", "429", "reset", "reset after", "200 page", "401", "halves", "names", "cut off")
SPOOL_MOODS = ("well", "well", "fails", "fails after")


class Model:
    """What both models share: which records there are, and which of them are bad."""

    def __init__(self, sizes: Sequence[int], bad: Iterable[int], large: Iterable[int]) -> None:
        self.bad = frozenset(bad)
        self.large = frozenset(large)
        numbers = iter(range(sum(sizes)))
        self.chunks = [[self._line(next(numbers)) for _ in range(size)] for size in sizes]
        self.all = set(range(sum(sizes)))
        self.hopeless = self.bad | self.large

    def _line(self, number: int) -> bytes:
        padding = "x" * (LARGE if number in self.large else number % 7)
        return json.dumps({"n": number, "p": padding}).encode() + b"\n"


def numbers_in(lines: bytes) -> list[int]:
    return [json.loads(line)["n"] for line in lines.splitlines()]


class Service:
    """An endpoint that answers in one mood after another, and is well at last."""

    sends_plain = True

    def __init__(self, name: str, model: Model, moods: Sequence[str], max_bytes: int) -> None:
        self.name = name
        self.is_ordered = name == "engage"
        self.names_refused = name == "import"
        self.taken: list[int] = []
        self.requests = 0
        self._model = model
        self._moods = iter(moods)
        self._max_bytes = max_bytes

    def is_quick(self, body: Body) -> bool:
        return body.records % 2 == 1  # so that both ways are gone

    def prepare(self, body: Body) -> bytes:
        return body.plain()

    async def send(self, request: bytes) -> Outcome:
        self.requests += 1
        mood = next(self._moods, "names")
        await asyncio.sleep(0)
        numbers = numbers_in(request)
        if mood == "reset":
            return RetryLater(None, "ConnectionResetError")
        status, answer = self._answer(mood, numbers, len(request))
        if mood == "reset after":
            return RetryLater(None, "ConnectionResetError")
        return interpret(self.name, status, {}, answer, len(numbers))

    def _answer(self, mood: str, numbers: list[int], size: int) -> tuple[int, bytes]:
        if mood in ("500", "429", "401"):
            return int(mood), b"{}"
        if mood == "page":
            return 403, b"<html>a firewall's</html>"
        if mood == "200 page":
            return 200, b"<html>a proxy's</html>"
        if size > self._max_bytes:
            return 413, b""
        bad = [index for index, number in enumerate(numbers) if number in self._model.bad]
        if bad and (self.name == "engage" or mood == "halves"):
            if self.name == "engage":
                return 200, b'{"status": 0, "error": "no"}'
            return 400, b"no"
        self.taken += [number for number in numbers if number not in self._model.bad]
        if not bad:
            return 200, b'{"status": 1, "error": null}'
        failed = [{"index": index, "message": "no"} for index in bad]
        answer = json.dumps({"failed_records": failed, "num_records_imported": len(numbers)})
        # An answer that is cut off says nothing, although the good records have been taken.
        return 400, answer.encode()[: 20 if mood == "cut off" else None]

    def subject_of(self, record: bytes) -> int:
        return numbers_in(record)[0] % 3

    async def close(self) -> None:
        pass


class AtOnce(Executor):
    """No threads, so that a run can be repeated."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Run:
    """What has come of everything."""

    service: Service
    outlet: PartitionedOutlet
    state: str
    threads: AtOnce

    @property
    def dead(self) -> dict[int, str]:
        """The reasons of the dead letters, by record."""
        found = {json.loads(each.payload)["n"]: each.reason for each in self.outlet.dead}
        assert len(found) == len(self.outlet.dead), "the same dead letter twice"
        return found


async def deliver(
    model: Model,
    *,
    endpoint: str = "import",
    moods: Sequence[str] = (),
    spool_moods: Sequence[str] = (),
    batch_records: int = 20,
    max_bytes: int = LARGE,
    requests: int | None = None,
    lanes: int = 1,
) -> Run:
    """Deliver until nothing is left, or until so many requests have been made."""
    queue = Queue("main", endpoint)
    service = Service(endpoint, model, moods, max_bytes)
    outlet = PartitionedOutlet(queue, lanes=lanes, moods=iter(spool_moods))
    for lines in model.chunks:
        for lane in range(lanes):
            if own := [line for line in lines if numbers_in(line)[0] % lanes == lane]:
                outlet.add(lane, own)
    stopped = asyncio.Event()
    threads = AtOnce()

    async def sleep(_: float) -> None:
        if requests is not None and service.requests >= requests:
            stopped.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    sender = Sender(
        queue,
        service,
        config=DeliveryConfig(batch_records=batch_records, batch_bytes=1024, connections=3),
        outlet=outlet,
        limiter=ProjectLimiter(records_per_second=1e9, bytes_per_minute=1e12),
        hold=DestinationPause(SystemClock()),
        memory=MemoryBudget(64 * 1024**2),
        threads=threads,
        clock=SystemClock(),
        telemetry=Telemetry(),
        rng=Random(1),
        sleep=sleep,
    )
    sender.start()
    try:
        async with asyncio.timeout(20):
            await (outlet.empty if requests is None else stopped).wait()
            if requests is None:
                await sender.drained()
        return Run(service, outlet, sender.status()["state"], threads)
    finally:
        await sender.stop()


async def test_only_what_takes_its_time_is_done_in_a_thread() -> None:
    usual = await deliver(Model([3], [], []))
    assert usual.threads.calls == 0
    to_be_built = await deliver(Model([4], [], []))
    assert to_be_built.threads.calls == 1
    of_several_chunks = await deliver(Model([1, 2], [], []))
    assert of_several_chunks.threads.calls == 1
    refused = await deliver(Model([3], [1], []))
    assert refused.threads.calls == 1  # a dead letter is text
    assert refused.dead == {1: "refused"}


def by_subject(numbers: Sequence[int]) -> list[list[int]]:
    return [[number for number in numbers if number % 3 == subject] for subject in range(3)]


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=8)
few = st.lists(st.integers(0, 100), max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    endpoint=st.sampled_from(("import", "engage")),
    sizes=sizes,
    bad=few,
    large=few,
    moods=st.lists(st.sampled_from(MOODS), max_size=40),
    spool_moods=st.lists(st.sampled_from(SPOOL_MOODS), max_size=20),
    batch_records=st.integers(5, 40),
    max_bytes=st.integers(LARGE // 2, 2000),
    lanes=st.sampled_from((1, 3)),
)
def test_each_record_is_delivered_or_a_dead_letter_and_exactly_the_bad_ones_are_dead(
    endpoint: str,
    sizes: list[int],
    bad: list[int],
    large: list[int],
    moods: list[str],
    spool_moods: list[str],
    batch_records: int,
    max_bytes: int,
    lanes: int,
) -> None:
    total = sum(sizes)
    model = Model(sizes, (n % total for n in bad), (n % total for n in large))
    run = asyncio.run(
        deliver(
            model,
            endpoint=endpoint,
            moods=moods,
            spool_moods=spool_moods,
            batch_records=batch_records,
            max_bytes=min(max_bytes, LARGE),
            lanes=lanes,
        )
    )
    assert set(run.service.taken) == model.all - model.hopeless
    assert set(run.dead) == model.hopeless
    assert {n for n, reason in run.dead.items() if reason == "too_large"} >= (
        model.large - model.bad
    )
    assert run.outlet.delivered == total - len(model.hopeless)
    if endpoint == "engage":
        assert all(is_in_order(numbers) for numbers in by_subject(run.service.taken))
    if not set(moods) & {"reset after", "cut off"} and "fails after" not in spool_moods:
        assert max(Counter(run.service.taken).values(), default=1) == 1


@pytest.mark.parametrize("endpoint", ["import", "engage"])
@pytest.mark.parametrize("trouble", ["429", "500", "reset", "cut off"])
async def test_trouble_while_a_setting_is_suspected_stops_nothing_for_ever(
    endpoint: str, trouble: str
) -> None:
    """A record that was refused by something else than the service is sent again in vain."""
    run = await deliver(Model([1], [0], []), endpoint=endpoint, moods=["page", trouble, trouble])
    assert run.dead == {0: "refused"}


@settings(max_examples=50, deadline=None)
@given(
    endpoint=st.sampled_from(("import", "engage")),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8).filter(lambda s: sum(s) >= 20),
    moods=st.lists(st.sampled_from(MOODS), max_size=10),
)
def test_refusals_of_everything_are_a_wrong_setting_and_cost_few_records(
    endpoint: str, sizes: list[int], moods: list[str]
) -> None:
    model = Model(sizes, range(sum(sizes)), ())
    run = asyncio.run(
        deliver(
            model,
            endpoint=endpoint,
            moods=moods,
            batch_records=100,
            max_bytes=10_000,
            requests=200,
        )
    )
    assert run.state == "paused"
    assert run.service.taken == []
    assert len(run.dead) < MIN_REFUSED
    assert run.outlet.delivered == 0
    assert run.outlet.left() + len(run.dead) == sum(sizes)


@settings(max_examples=50, deadline=None)
@given(
    endpoint=st.sampled_from(("import", "engage")),
    bad=st.integers(10, 60),
    good=st.integers(1, 5),
    rng=st.randoms(use_true_random=False),
    batch_records=st.integers(5, 100),
    lanes=st.sampled_from((1, 3)),
)
def test_whatever_is_accepted_shows_that_the_records_are_to_blame(
    endpoint: str, bad: int, good: int, rng: Random, batch_records: int, lanes: int
) -> None:
    total = bad + good
    model = Model([1] * total, rng.sample(range(total), bad), ())
    run = asyncio.run(deliver(model, endpoint=endpoint, batch_records=batch_records, lanes=lanes))
    assert set(run.dead) == model.bad
    assert set(run.service.taken) == model.all - model.bad
    if endpoint == "engage":
        assert all(is_in_order(numbers) for numbers in by_subject(run.service.taken))
