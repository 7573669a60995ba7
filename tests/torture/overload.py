"""More requests than the gateway can answer: what it gets done, what it refuses, what it takes."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.support.processes import GatewayProcess, wait_for
from tests.torture import Figures
from tests.torture.traffic import traffic

__all__ = ["LOADS", "run"]

_NOWHERE = "http://127.0.0.1:9"  # the destination; nothing listens there
_MIB = 1024 * 1024
_CONNECTION_BYTES = 16 * 1024

_FIRST_BYTES = 128 * 1024
"""What may come at once with the headers of a request, before there is a request to refuse."""


class _Load(NamedTuple):
    """What is sent.

    :param events: in each request, with about ``padding`` bytes of properties each.
    :param max_bytes_in_flight: what the gateway may hold.
    :param refusals: whether it cannot hold ten times the peak, and has to refuse.
    """

    events: int
    padding: int
    max_bytes_in_flight: int
    refusals: bool


LOADS = {
    # The answers wait for the disk together: ten times as many fit into the same commits.
    "events": _Load(1, 100, 64 * _MIB, refusals=False),
    "batches": _Load(100, 1000, 64 * _MIB, refusals=True),
    "batches, little room": _Load(100, 1000, 8 * _MIB, refusals=True),
}


async def run(
    *,
    connections: int = 64,
    factor: int = 10,
    seconds: float = 8.0,
    rounds: int = 3,
    loads: Sequence[str] = tuple(LOADS),
    least_share: float = 0.9,
) -> Figures:
    """Compare the peak with ``factor`` times its connections, and with that times its rate.

    The clients send again at once, whatever they are told.

    :param connections: those of the peak.
    :param seconds: of each measurement.
    :param rounds: how often each is repeated, in turns; the medians are compared.
    :param least_share: of the peak that has to get done under overload.
    """
    figures: Figures = {}
    for name in loads:
        load = LOADS[name]
        many = connections * factor
        seen = await _measure(load, connections, many, seconds, rounds)
        every = [*seen.peaks, *seen.closed, *seen.open]
        statuses = sum((Counter(each["statuses"]) for each in every), Counter[str]())
        peak, closed, opened = (
            median(each["goodput"] for each in phase)
            for phase in (seen.peaks, seen.closed, seen.open)
        )
        # The spool's queue has a bound of its own, as large as the default of requests.
        bound = load.max_bytes_in_flight + 64 * _MIB + many * (_CONNECTION_BYTES + _FIRST_BYTES)
        figures |= {
            f"{name}: peak, requests/s": peak,
            f"{name}: share of it, {many} connections": round(closed / peak, 3),
            f"{name}: share of it, {factor} times its rate": round(opened / peak, 3),
            f"{name}: p99 ms, peak / connections / rate": " / ".join(
                f"{1000 * median(each['p99_s'] for each in phase):.0f}"
                for phase in (seen.peaks, seen.closed, seen.open)
            ),
            f"{name}: answered 200 / 503": f"{statuses['200']} / {statuses['503']}",
            f"{name}: 503 without Retry-After": sum(each["without_retry_after"] for each in every),
            f"{name}: memory grown by MiB, bound": f"{seen.grown // _MIB}, {bound // _MIB}",
        }
        assert set(statuses) <= {"200", "503"}, (statuses, figures)
        assert not sum(each["without_retry_after"] for each in every), figures
        assert not sum(each["broken"] for each in every), (every, figures)
        assert statuses["503"] or not load.refusals, ("it was not overloaded", figures)
        assert min(closed, opened) >= least_share * peak, figures
        assert seen.grown <= bound, figures
    return figures


class _Seen(NamedTuple):
    """What clients saw in each round, and by how much memory grew.

    :param grown: in bytes, at most, beyond what it takes to serve the peak.
    """

    peaks: list[dict[str, Any]]
    closed: list[dict[str, Any]]
    open: list[dict[str, Any]]
    grown: int


async def _measure(load: _Load, connections: int, many: int, seconds: float, rounds: int) -> _Seen:
    seen = _Seen([], [], [], 0)
    sent = {"events": load.events, "padding": load.padding, "seconds": seconds}
    server = {
        "max_bytes_in_flight": load.max_bytes_in_flight,
        "max_body_bytes": min(_MIB, load.max_bytes_in_flight // 4),
    }
    with tempfile.TemporaryDirectory() as directory:
        async with GatewayProcess(Path(directory), _NOWHERE, server=server) as gateway:
            url = gateway.url
            await traffic("Closed", url, connections=connections, **sent)  # warm-up
            idle = gateway.running.memory()["VmRSS"]
            for _ in range(rounds):
                seen.peaks.append(await traffic("Closed", url, connections=connections, **sent))
                seen.closed.append(await traffic("Closed", url, connections=many, **sent))
                rate = many / connections * seen.peaks[-1]["goodput"]
                seen.open.append(await traffic("Open", url, connections=many, rate=rate, **sent))
            grown = gateway.running.memory()["VmHWM"] - idle
            await wait_for(lambda: _gave_back(gateway))
    return seen._replace(grown=grown)


async def _gave_back(gateway: GatewayProcess) -> bool:
    held: int = (await gateway.statusz())["ingest"]["bytes_in_flight"]
    return held == 0
