"""Ten projects behind one gateway, one in trouble of every kind: the others do not notice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.sandbox import Fault
from tests.support.chaos import PASS, Behaviour, ChaosProxy
from tests.support.flood import Flood, Measured, is_complete
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.sink import Sink
from tests.torture import Figures

__all__ = ["run"]

_KEY = "key-flood"
_ENDPOINTS = ("import", "engage")
_UPDATES = 5  # one of so many events updates a profile
_SLOW_BYTES_PER_S = 10_000
_WARM_UP_S = 1.5
_DRAIN_S = 120.0

Trouble = str

_TROUBLES: tuple[Trouble, ...] = ("refused", "blackholed", "slow", "throttling (429)", "401")


@dataclass(frozen=True, slots=True)
class _Pace:
    """How the projects that are well were served for a while.

    :param share: records delivered for each one accepted; of the worst project.
    :param lag_s: mean age of a batch's oldest record at delivery; of the worst project.
    """

    share: float
    lag_s: float
    ingest: Measured


@dataclass(frozen=True, slots=True)
class _Scene:
    gateway: ConfiguredGateway
    network: ChaosProxy
    sink: Sink
    flood: Flood
    victim: str
    others: tuple[str, ...]


async def run(
    directory: Path,
    *,
    projects: int = 10,
    events_per_s: float = 300.0,
    phase_s: float = 10.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Let the first of the projects be in trouble, in one way after the other; return figures.

    :param events_per_s: each goes to all projects.
    :raises AssertionError: a promise is broken.
    """
    async with _scene(directory, projects) as scene:
        await scene.flood.pace(events_per_s)
        await asyncio.sleep(_WARM_UP_S)
        progress("all are well")
        well = await _measure(scene, phase_s)
        paces: dict[Trouble, _Pace] = {}
        for trouble in _TROUBLES:
            progress(f"one is in trouble: {trouble}")
            await _afflict(scene, trouble)
            waiting = (await scene.gateway.ledgers())[scene.victim]["pending"]
            paces[trouble] = await _measure(scene, phase_s)
            grown = (await scene.gateway.ledgers())[scene.victim]["pending"] - waiting
            assert grown > 0, f"{trouble}: it was in no trouble"
        sent = await scene.flood.stop()

        progress("all have to arrive, those of the one in trouble too")
        await _heal(scene)
        await scene.gateway.terminate()  # a new process tries at once what had been paused
        await scene.gateway.restart()
        await scene.gateway.drained(_DRAIN_S)
        for number in range(projects):
            arrivals = await scene.sink.arrivals(number, directory)
            assert is_complete(arrivals, sent), f"project {number}: not what was sent"
        for name, ledger in (await scene.gateway.ledgers()).items():
            assert ledger["accepted"] == ledger["delivered"] == sent, (name, ledger)

        figures: Figures = {"projects": projects, "events": sent}
        for name, pace in {"all well": well, **paces}.items():
            figures[f"{name}: others, delivered of accepted"] = f"{pace.share:.3f}"
            figures[f"{name}: others, lag ms"] = round(pace.lag_s * 1000)
            figures[f"{name}: ingest p50 / p99 ms"] = (
                f"{pace.ingest.p50_ms:.1f} / {pace.ingest.p99_ms:.1f}"
            )
        progress(str(figures))
        for name, pace in paces.items():
            _assert_untouched(name, pace, well)
        return figures


def _assert_untouched(trouble: Trouble, pace: _Pace, well: _Pace) -> None:
    # Beyond 1 is what had been accepted before it was measured, by chance of the moment.
    assert pace.share >= 0.9 * min(1.0, well.share), (trouble, pace, well)
    assert pace.lag_s <= 2 * well.lag_s + 0.2, (trouble, pace, well)
    pace.ingest.assert_as_good_as(well.ingest, trouble)


async def _measure(scene: _Scene, seconds: float) -> _Pace:
    ledgers, metrics = await scene.gateway.ledgers(), await scene.gateway.metrics()
    ingest = await scene.flood.measure(seconds)
    ledgers_now, metrics_now = await scene.gateway.ledgers(), await scene.gateway.metrics()
    return _Pace(
        share=min(_share(ledgers[name], ledgers_now[name]) for name in scene.others),
        lag_s=max(_lag(name, metrics, metrics_now) for name in scene.others),
        ingest=ingest,
    )


def _share(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    accepted = now["accepted"] - before["accepted"]
    return (now["delivered"] - before["delivered"]) / max(1, accepted)


def _lag(name: str, before: Mapping[str, float], now: Mapping[str, float]) -> float:
    return max(_lag_of(name, endpoint, before, now) for endpoint in _ENDPOINTS)


def _lag_of(
    name: str, endpoint: str, before: Mapping[str, float], now: Mapping[str, float]
) -> float:
    labels = f'{{destination="{name}",endpoint="{endpoint}"}}'
    batches, seconds = (
        now.get(key, 0.0) - before.get(key, 0.0)
        for key in (
            f"gateway_delivery_lag_seconds_count{labels}",
            f"gateway_delivery_lag_seconds_sum{labels}",
        )
    )
    return seconds / max(1, batches)


async def _afflict(scene: _Scene, trouble: Trouble) -> None:
    await _heal(scene)
    # A paused or waiting sender would not notice: each trouble begins with a new process.
    await scene.gateway.terminate()
    await scene.gateway.restart()
    match trouble:
        case "refused":
            await scene.network.refuse()
        case "blackholed":
            scene.network.behave(Behaviour(action="blackhole"))
        case "slow":
            scene.network.behave(Behaviour(bytes_per_s=_SLOW_BYTES_PER_S))
        case "401":
            await scene.sink.misbehave(0, Fault(action="status", status=401))
        case _:
            await scene.sink.misbehave(0, Fault(action="status", status=429, retry_after_s=1))
    await asyncio.sleep(_WARM_UP_S)


async def _heal(scene: _Scene) -> None:
    await scene.sink.misbehave(0)
    scene.network.behave(PASS)
    await scene.network.accept()


@asynccontextmanager
async def _scene(directory: Path, projects: int) -> AsyncIterator[_Scene]:
    names = tuple(f"project-{number}" for number in range(projects))
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(
            Sink([f"token-{name}" for name in names], remember="numbers")
        )
        network = await stack.enter_async_context(ChaosProxy(sink.urls[0]))
        urls = (network.url, *sink.urls[1:])
        gateway = ConfiguredGateway(
            directory,
            [Project(name, f"token-{name}", url) for name, url in zip(names, urls, strict=True)],
            [Source(_KEY, names)],
            sections={"server": {"shutdown_timeout_s": 1.0}},
        )
        await stack.enter_async_context(gateway)
        flood = await stack.enter_async_context(
            Flood(gateway.url, _KEY, connections=8, batch=10, updates=_UPDATES)
        )
        yield _Scene(gateway, network, sink, flood, names[0], names[1:])
