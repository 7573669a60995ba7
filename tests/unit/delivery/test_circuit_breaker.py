"""Circuit breakers, pauses and rate limits: who waits for what, and for how long."""

import asyncio
import logging
import time
from random import Random

import pytest

from gateway.clock import SystemClock
from gateway.delivery.circuit_breaker import CircuitBreaker, DestinationPause
from gateway.delivery.rate_limit import ProjectLimiter


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def breaker(clock: Time) -> CircuitBreaker:
    return CircuitBreaker("the service", clock=clock, rng=Random(1), sleep=clock.sleep)


async def test_an_open_gate_lets_all_pass_at_once(breaker: CircuitBreaker, clock: Time) -> None:
    async with breaker.turn(), breaker.turn():
        pass
    assert clock.slept == []


async def test_a_closed_gate_lets_one_try_after_the_wait(
    breaker: CircuitBreaker, clock: Time
) -> None:
    async with breaker.turn() as turn:
        breaker.back_off(turn, None, "status 500")
    order = []

    async def visit(name: str) -> None:
        async with breaker.turn() as turn:
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")
            if name == "a":
                breaker.back_off(turn, None, "status 500")
            else:
                breaker.close(turn)

    await asyncio.gather(visit("a"), visit("b"), visit("c"), visit("d"))
    # One at a time, until one of them finds it working.
    assert order[:4] == ["a in", "a out", "b in", "b out"]
    assert len(clock.slept) == 2
    assert 3 <= clock.slept[0] <= 7
    assert 5 <= clock.slept[1] <= 9
    assert (breaker.state, breaker.failures) == ("ok", 0)


async def test_requests_that_fail_together_are_one_failure(breaker: CircuitBreaker) -> None:
    async with breaker.turn() as first, breaker.turn() as second, breaker.turn() as third:
        breaker.back_off(first, None, "status 500")
        breaker.back_off(second, None, "status 500")
        breaker.close(third)
    assert (breaker.state, breaker.failures) == ("retrying", 1)


async def test_retry_after_is_waited_for(breaker: CircuitBreaker, clock: Time) -> None:
    async with breaker.turn() as turn:
        breaker.back_off(turn, 300.0, "status 429")
    assert breaker.wait_s() == 300
    assert breaker.since_ms == 1_000_000
    async with breaker.turn():
        assert clock.slept == [300]


async def test_paused_is_probed_slowly_and_stays_paused_through_an_outage(
    breaker: CircuitBreaker, clock: Time
) -> None:
    for _ in range(6):
        async with breaker.turn() as turn:
            breaker.pause(turn, "credentials refused")
    assert clock.slept == [60, 120, 240, 480, 600]
    assert breaker.since_ms == 1_000_000
    async with breaker.turn() as turn:
        breaker.back_off(turn, None, "status 503")
    assert (breaker.state, breaker.detail) == ("paused", "status 503")
    async with breaker.turn() as turn:
        breaker.close(turn)
    assert (breaker.state, breaker.detail) == ("ok", "")
    assert breaker.since_ms == clock.now_ms() > 1_000_000


async def test_a_change_is_logged_once(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(5):
        async with breaker.turn() as turn:
            breaker.back_off(turn, None, "status 500")
    for _ in range(5):
        async with breaker.turn() as turn:
            breaker.pause(turn, "credentials refused")
    for _ in range(2):
        async with breaker.turn() as turn:
            breaker.close(turn)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
    assert "the service: retrying, next attempt in" in caplog.messages[0]
    assert "credentials refused" in caplog.messages[1]


async def test_a_cancelled_visitor_leaves_the_line(breaker: CircuitBreaker) -> None:
    async with breaker.turn() as turn:
        breaker.back_off(turn, None, "status 500")
    started = asyncio.Event()

    async def probe() -> None:
        async with breaker.turn():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(probe())
    await started.wait()
    task.cancel()
    async with asyncio.timeout(1), breaker.turn() as turn:
        breaker.close(turn)
    assert breaker.is_closed()


async def test_a_hold_stops_the_others_until_its_own_endpoint_lifts_it() -> None:
    hold = DestinationPause(SystemClock())
    await hold.wait("engage")
    hold.update("import", "credentials refused")
    hold.update("engage", None)  # a success elsewhere proves nothing about /import
    assert hold.reason_for("engage") == "/import: credentials refused"
    assert hold.reason_for("import") is None
    await hold.wait("import")
    waiting = asyncio.create_task(hold.wait("engage"))
    await asyncio.sleep(0)
    assert not waiting.done()
    hold.update("import", None)
    await asyncio.wait_for(waiting, 1)


async def test_two_endpoints_that_hold_each_wait_for_nobody() -> None:
    hold = DestinationPause(SystemClock())
    hold.update("import", "refused")
    hold.update("engage", "refused")
    await asyncio.wait_for(asyncio.gather(hold.wait("import"), hold.wait("engage")), 1)
    hold.update("import", None)
    assert hold.reason_for("track") == "/engage: refused"


@pytest.mark.parametrize(
    ("records", "size", "least_s"),
    [
        (1000, 1, 0.0),  # one second's worth passes at once
        (1100, 1, 0.1),
        (1, 1200, 0.2),  # 1000 bytes a second
        (1250, 1100, 0.25),
    ],
)
async def test_any_request_passes_at_the_rate_of_the_project(
    records: int, size: int, least_s: float
) -> None:
    limiter = ProjectLimiter(records_per_second=1000, bytes_per_minute=60_000)
    started = time.monotonic()
    await limiter.acquire(records, size)
    assert least_s * 0.9 <= time.monotonic() - started < least_s + 0.5


async def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    limiter = ProjectLimiter(records_per_second=1000, bytes_per_minute=1e12)
    order = []

    async def send(records: int) -> None:
        await limiter.acquire(records, 0)
        order.append(records)

    await asyncio.gather(send(1000), send(100), send(1), send(2))
    assert order == [1000, 100, 1, 2]


async def test_a_hurried_gate_lets_the_one_that_waits_try_at_once() -> None:
    breaker = CircuitBreaker("the service", clock=SystemClock(), rng=Random(1), sleep=asyncio.sleep)
    async with breaker.turn() as turn:
        breaker.pause(turn, "credentials refused")

    async def visit() -> None:
        async with breaker.turn() as turn:
            breaker.pause(turn, "still refused")

    visiting = asyncio.create_task(visit())
    await asyncio.sleep(0.01)
    assert not visiting.done()
    breaker.hurry()
    async with asyncio.timeout(1):
        await visiting
    # It was one attempt: what it found is waited for as ever.
    assert (breaker.state, breaker.detail, breaker.failures) == ("paused", "still refused", 2)
    assert breaker.wait_s() > 100


async def test_a_hurried_gate_without_visitors_lets_the_next_one_try_at_once() -> None:
    breaker = CircuitBreaker("the service", clock=SystemClock(), rng=Random(1), sleep=asyncio.sleep)
    async with breaker.turn() as turn:
        breaker.pause(turn, "credentials refused")
    breaker.hurry()
    async with asyncio.timeout(1), breaker.turn() as turn:
        breaker.close(turn)
    assert breaker.is_closed()
