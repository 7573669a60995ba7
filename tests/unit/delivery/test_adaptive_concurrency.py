"""Concurrency that adapts: by table, by property, and against models of links."""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.adaptive_concurrency import START, Concurrency, Result, Ticket

SIZE = 2**21


def window(control: Concurrency, now: float, took: float = 0.1, *, wanted: bool = True) -> float:
    """Let one window pass: as many successes as it takes, never more than the limit at once."""
    for _ in range(-(-max(control.limit, START) // control.limit)):
        tickets = [control.begin(now, SIZE) for _ in range(control.limit)]
        if wanted:
            control.want()
        now += took
        for ticket in tickets:
            control.end(ticket, now, "ok")
    return now


def grown(windows: int, most: int = 100) -> tuple[Concurrency, float]:
    """Return a limit after so many good windows."""
    control, now = Concurrency(most), 0.0
    for _ in range(windows):
        now = window(control, now)
    return control, now


def burst(control: Concurrency, now: float, results: Sequence[Result], took: float = 0.1) -> None:
    """Send as many requests at once as there are results."""
    tickets = [control.begin(now, SIZE) for _ in results]
    for ticket, result in zip(tickets, results, strict=True):
        control.end(ticket, now + took, result)


@pytest.mark.parametrize(("most", "start"), [(1, 1), (2, 2), (4, 4), (10, 4), (100, 4)])
def test_it_starts_at_four_or_fewer(most: int, start: int) -> None:
    assert Concurrency(most).limit == start


def test_it_doubles_until_the_most() -> None:
    control, now = Concurrency(50), 0.0
    limits = []
    for _ in range(6):
        now = window(control, now)
        limits.append(control.limit)
    assert limits == [8, 16, 32, 50, 50, 50]


@pytest.mark.parametrize(
    ("result", "after"), [("throttled", 16), ("failed", 16), ("unknown", 32), ("ok", 32)]
)
def test_a_failure_halves_it_at_once(result: Result, after: int) -> None:
    control, now = grown(3)
    assert control.limit == 32
    burst(control, now, ["ok", result])
    assert control.limit == after


def test_requests_that_fail_together_are_one_decrease() -> None:
    control, now = grown(3)
    burst(control, now, ["failed"] * 32)
    assert control.limit == 16


def test_after_a_failure_it_grows_by_one_a_window() -> None:
    control, now = grown(3)
    burst(control, now, ["ok", "failed"])
    limits = []
    for _ in range(4):
        now = window(control, now + 1)
        limits.append(control.limit)
    assert limits == [17, 18, 19, 20]


def test_it_never_goes_below_one() -> None:
    control = Concurrency(10)
    for now in range(20):
        burst(control, now, ["failed", "throttled"])
    assert control.limit == 1


def test_a_request_that_fails_alone_says_nothing_about_the_load() -> None:
    control, now = grown(3)
    for _ in range(20):  # the probes of an outage
        burst(control, now, ["failed"])
        now += 60
    assert control.limit == 32


def test_a_limit_that_was_throttled_is_not_tried_again_for_a_while() -> None:
    control, now = grown(2)
    burst(control, now, ["ok", "throttled"])
    while now < 200:
        now = window(control, now)
    assert control.limit == 15
    while now < 400:
        now = window(control, now)
    assert control.limit > 16


def test_a_limit_that_nobody_needs_does_not_grow() -> None:
    control, now = Concurrency(10), 0.0
    for _ in range(20):
        now = window(control, now, wanted=False)
    assert control.limit == 4


@pytest.mark.parametrize(
    ("times", "after"), [(0.2, [64, 100]), (1.4, [64, 100]), (1.7, [32, 33]), (3.0, [28, 29])]
)
def test_growth_depends_on_the_latency(times: float, after: list[int]) -> None:
    control, now = grown(3)
    now = window(control, now, 0.1 * times)
    assert control.limit == after[0]
    window(control, now, 0.1)
    assert control.limit == after[1]


def test_what_is_fast_anyway_may_vary() -> None:
    control, now = Concurrency(100), 0.0
    for took in (0.001, 0.002, 0.02, 0.06):
        now = window(control, now, took)
    assert control.limit == 64


def test_large_requests_are_not_compared_with_small_ones() -> None:
    control, now = Concurrency(64), 0.0
    for took, size in ((0.1, 1000), (2.0, 2**21)) * 20:
        tickets = [control.begin(now, size) for _ in range(control.limit)]
        control.want()
        now += took
        for ticket in tickets:
            control.end(ticket, now, "ok")
    assert control.limit == 64


def test_a_service_that_became_slower_for_good_gets_as_much_as_before() -> None:
    control, now = grown(5, most=20)
    limits = []
    for _ in range(60):
        now = window(control, now, 0.5)
        limits.append(control.limit)
    assert min(limits) >= START - 2
    assert limits[-1] == 20


results = st.sampled_from(("ok", "ok", "ok", "throttled", "failed", "unknown"))


@given(
    most=st.integers(1, 100),
    steps=st.lists(st.tuples(st.booleans(), results, st.floats(0, 100)), max_size=300),
)
def test_whatever_happens_it_stays_within_its_limits(
    most: int, steps: list[tuple[bool, Result, float]]
) -> None:
    control, now = Concurrency(most), 0.0
    under_way: list[Ticket] = []
    decreases: Counter[int] = Counter()
    for begins, result, took in steps:
        control.want()
        if begins and len(under_way) < control.limit:
            under_way.append(control.begin(now, SIZE))
        elif under_way:
            now += took
            ticket, before = under_way.pop(0), control.limit
            control.end(ticket, now, result)
            assert 1 <= control.limit <= most
            assert control.limit >= before // 2
            if control.limit > before:
                assert result == "ok"
            if control.limit < before:
                decreases[ticket.window] += 1
    assert all(count == 1 for count in decreases.values())


# -- models of links ---------------------------------------------------------------------------

Link = Callable[[int, Random], tuple[float, Result]]
"""From how many are under way, with this one, to how long it takes and what comes of it."""

PAUSE_S = 5.0  # what a 429 costs: the breaker's first wait, with its jitter


def fixed(capacity: int) -> Link:
    """A server that works on so many at once, and has a queue for the others."""
    return lambda load, rng: (0.2 * max(1.0, load / capacity) * rng.uniform(0.8, 1.25), "ok")


def throttling(above: int) -> Link:
    """A server that refuses more than so many at once."""
    return lambda load, rng: (0.2 * rng.uniform(0.8, 1.25), "ok" if load <= above else "throttled")


def congested(load: int, rng: Random) -> tuple[float, Result]:
    """A server that gets slower with every request, and fails when it is far too many."""
    return 0.1 * (1 + (load / 20) ** 2) * rng.uniform(0.8, 1.25), "ok" if load < 60 else "failed"


@dataclass
class Run:
    """What came of a simulation."""

    limits: list[tuple[float, int]] = field(default_factory=list)
    counts: Counter[Result] = field(default_factory=Counter)

    def late(self) -> list[int]:
        """Return the limits of the second half."""
        half = self.limits[-1][0] / 2
        return [limit for at, limit in self.limits if at > half]


def simulate(link: Link, most: int, seconds: float, seed: int = 1) -> Run:
    """Send as much as the limit allows, with the pause and the single probe of a closed breaker."""
    control, run, rng = Concurrency(most), Run(), Random(seed)
    now, closed_until, probing = 0.0, 0.0, False
    under_way: list[tuple[float, int, Ticket, Result]] = []
    number = 0
    while now < seconds:
        allowed = 1 if probing else control.limit
        while now >= closed_until and len(under_way) < allowed:
            took, result = link(len(under_way) + 1, rng)
            number += 1
            ticket = control.begin(now, SIZE)
            heapq.heappush(under_way, (now + took, number, ticket, result))
        if len(under_way) >= control.limit:
            control.want()
        if not under_way:
            now = closed_until
            continue
        now, _, ticket, result = heapq.heappop(under_way)
        control.end(ticket, now, result)
        run.counts[result] += 1
        run.limits.append((now, control.limit))
        if result != "ok":
            closed_until, probing = max(closed_until, now + PAUSE_S), True
        elif now >= closed_until:
            probing = False
    return run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("capacity", [4, 10, 25])
def test_it_finds_the_capacity_of_a_server_and_stays_there(capacity: int, seed: int) -> None:
    run = simulate(fixed(capacity), 100, 600, seed)
    assert capacity * 0.8 <= min(run.late())
    assert max(run.late()) <= capacity * 2.5
    # As much as the server can do, in less than a tenth more time.
    assert run.counts["ok"] >= 0.9 * capacity / 0.2 * 600 / 1.025


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("above", [6, 10, 30])
def test_it_stays_just_below_what_is_throttled(above: int, seed: int) -> None:
    run = simulate(throttling(above), 100, 3600, seed)
    assert run.counts["throttled"] / run.counts.total() < 0.005
    assert run.counts["ok"] >= 0.85 * above / 0.2 * 3600 / 1.025


@pytest.mark.parametrize("seed", range(3))
def test_it_settles_where_latency_begins_to_rise(seed: int) -> None:
    run = simulate(congested, 100, 600, seed)
    assert min(run.late()) >= 10
    assert max(run.late()) <= 40
    assert run.counts["failed"] <= 10


@pytest.mark.parametrize(("most", "windows"), [(10, 2), (20, 3), (100, 5)])
def test_it_ramps_up_in_a_bounded_number_of_windows(most: int, windows: int) -> None:
    control, _ = grown(windows, most)
    assert control.limit == most
    run = simulate(lambda _, rng: (0.2 * rng.uniform(0.8, 1.25), "ok"), most, 600)
    reached = next(at for at, limit in run.limits if limit == most)
    assert reached <= 0.25 * 2 * (windows + 1)


def test_a_server_that_dies_and_comes_back_gets_everything_again() -> None:
    requests = 0

    def link(_: int, __: Random) -> tuple[float, Result]:
        nonlocal requests
        requests += 1
        return 0.2, "failed" if 1000 < requests <= 1100 else "ok"

    run = simulate(link, 10, 1000)
    assert min(limit for _, limit in run.limits) < 10
    assert run.limits[-1][1] == 10
