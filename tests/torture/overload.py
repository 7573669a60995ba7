"""More requests than the gateway can answer: what it gets done, what it refuses, what it takes."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.load.fleet import Fleet, Load, Seen
from benchmarks.load.traffic import Prepared, save
from tests.support.processes import GatewayProcess, wait_for
from tests.torture import Figures
from tests.torture.traffic import event_bytes, port_of, request_bytes

__all__ = ["LOADS", "run"]

_NOWHERE = "http://127.0.0.1:9"  # the destination; nothing listens there
_MIB = 1024 * 1024
_CONNECTION_BYTES = 16 * 1024
_ANSWER = b'{"success":true}'


class _Kind(NamedTuple):
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
    "events": _Kind(1, 100, 64 * _MIB, refusals=False),
    "batches": _Kind(100, 1000, 64 * _MIB, refusals=True),
    "batches, little room": _Kind(100, 1000, 8 * _MIB, refusals=True),
}


async def run(
    *,
    connections: int = 64,
    factor: int = 10,
    seconds: float = 8.0,
    rounds: int = 5,
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
        kind = LOADS[name]
        many = connections * factor
        phases = await _measure(kind, connections, many, seconds, rounds)
        results = [result for seen in phases.all() for result in seen.results]
        statuses = sum((Counter(each.statuses) for each in results), Counter[int]())
        peak, closed, opened = (
            round(median(map(_goodput, phase)), 1)
            for phase in (phases.peaks, phases.closed, phases.open)
        )
        # The spool's queue has a bound of its own, as large as the default of requests.
        bound = kind.max_bytes_in_flight + 64 * _MIB + many * _CONNECTION_BYTES
        figures |= {
            f"{name}: peak, requests/s": peak,
            f"{name}: share of it, {many} connections": round(closed / peak, 3),
            f"{name}: share of it, {factor} times its rate": round(opened / peak, 3),
            f"{name}: p99 ms, peak / {many} connections": " / ".join(
                f"{1000 * median(seen.latencies().percentile(99) for seen in phase):.0f}"
                for phase in (phases.peaks, phases.closed)
            ),
            f"{name}: answered 200 / 503": f"{statuses[200]} / {statuses[503]}",
            f"{name}: 503 without Retry-After": sum(each.without_retry_after for each in results),
            f"{name}: memory grown by MiB, bound": f"{phases.grown // _MIB}, {bound // _MIB}",
        }
        assert set(statuses) <= {200, 503}, (statuses, figures)
        assert not any(each.wrong for each in results), (results, figures)
        assert not sum(each.without_retry_after for each in results), figures
        assert not sum(each.unanswered for each in results), (results, figures)
        assert statuses[503] or not kind.refusals, ("it was not overloaded", figures)
        assert min(closed, opened) >= least_share * peak, figures
        assert phases.grown <= bound, figures
    return figures


@dataclass
class _Phases:
    """What clients saw in each round, and by how much memory grew.

    :param grown: in bytes, at most, beyond what it takes to serve the peak.
    """

    peaks: list[Seen] = field(default_factory=list)
    closed: list[Seen] = field(default_factory=list)
    open: list[Seen] = field(default_factory=list)
    grown: int = 0

    def all(self) -> list[Seen]:
        """Return what was seen in all of them."""
        return [*self.peaks, *self.closed, *self.open]


def _goodput(seen: Seen) -> float:
    """Return the requests a second that were answered 200."""
    return seen.requests / seen.seconds


async def _measure(
    kind: _Kind, connections: int, many: int, seconds: float, rounds: int
) -> _Phases:
    phases = _Phases()
    server = {
        "max_bytes_in_flight": kind.max_bytes_in_flight,
        "max_body_bytes": min(_MIB, kind.max_bytes_in_flight // 4),
    }
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        requests = directory / "requests"
        request = request_bytes(event_bytes(kind.events, kind.padding))
        save([Prepared(request, kind.events, kind.events)], requests)
        async with GatewayProcess(directory, _NOWHERE, server=server) as gateway:
            address = ("127.0.0.1", port_of(gateway.url))

            async def send(connections: int, rate: float | None = None) -> Seen:
                clients = Fleet(
                    *(requests, 1),
                    processes=1,
                    connections=connections,
                    directory=directory,
                    body=_ANSWER,
                    seed=1,
                )
                load = Load(seconds=seconds, rate=rate, grace_s=0.0)
                return await asyncio.to_thread(clients.run, address, load)

            await send(connections)  # warm-up
            idle = gateway.running.memory()["VmRSS"]
            for _ in range(rounds):
                phases.peaks.append(await send(connections))
                phases.closed.append(await send(many))
                rate = many / connections * _goodput(phases.peaks[-1])
                phases.open.append(await send(many, rate))
            phases.grown = gateway.running.memory()["VmHWM"] - idle
            await wait_for(lambda: _gave_back(gateway))
    return phases


async def _gave_back(gateway: GatewayProcess) -> bool:
    held: int = (await gateway.statusz())["ingest"]["bytes_in_flight"]
    return held == 0
