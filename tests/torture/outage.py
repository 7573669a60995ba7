"""Mixpanel is away for long at full load: memory, latency, and the way back.

Ten minutes are compressed: the spool is filled as fast as it takes events.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.sandbox import Fault
from tests.support.chaos import PASS, Behaviour, ChaosProxy
from tests.support.flood import Flood, Measured, is_complete
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.processes import wait_for
from tests.support.sink import Sink
from tests.torture import Figures

__all__ = ["run"]

_KEY, _TOKEN = "key-flood", "token-flood"
_MB = 1e6
_MEMORY_BYTES = 300 * _MB
_READY_S = 5.0
_WARM_UP_S = 1.5


@dataclass(frozen=True, slots=True)
class _Scene:
    gateway: ConfiguredGateway
    network: ChaosProxy
    sink: Sink
    flood: Flood

    async def oldest_s(self) -> float:
        """Return the age of the oldest record that waits."""
        status = await self.gateway.statusz()
        endpoints = status["destinations"]["mixpanel"]["endpoints"]
        return max(float(each.get("oldest_age_seconds", 0)) for each in endpoints.values())


async def run(
    directory: Path,
    *,
    backlog: int = 3_000_000,
    events_per_s: float = 3000.0,
    phase_s: float = 10.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Let Mixpanel go away until ``backlog`` events wait, and come back; return figures.

    :param events_per_s: the load whose latency is compared.
    :raises AssertionError: a promise is broken.
    """
    async with _scene(directory) as scene:
        gateway, flood = scene.gateway, scene.flood
        await flood.pace(events_per_s)
        await asyncio.sleep(_WARM_UP_S)
        progress("before the outage")
        before = await flood.measure(phase_s)
        outage: dict[str, Measured] = {}
        for kind in ("refused", "hanging", "status 500"):
            progress(f"outage: {kind}")
            await _break(scene, kind)
            outage[kind] = await flood.measure(phase_s)
        filled = await _fill(scene, backlog, progress)
        await flood.pace(events_per_s)
        progress("with the backlog")
        outage["with the backlog"] = await flood.measure(phase_s)
        await flood.pace(0)
        peak_bytes, oldest_s = gateway.spool_bytes(), await scene.oldest_s()
        memory = gateway.peak_memory()

        progress("cold start")
        await gateway.kill()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await gateway.restart()
        ready_s = loop.time() - began
        pending = (await gateway.ledger())["pending"]
        assert pending >= backlog, "the backlog is gone"

        progress("the way back")
        began = loop.time()
        await _mend(scene)
        await flood.pace(events_per_s)
        back = await flood.measure(phase_s)
        sent = await flood.stop()
        ledger = await gateway.drained(120 + pending / 5000)
        drained_s = loop.time() - began
        memory_back = gateway.peak_memory()
        left_bytes = gateway.spool_bytes()

        arrivals = await scene.sink.arrivals(0, directory)
        repeated = sum(each[2] - 1 for each in arrivals.records)
        figures: Figures = {
            "backlog, records": pending,
            "fill, events/s": round(filled.events_per_s),
            "spool at its peak, MB": round(peak_bytes / _MB, 1),
            "spool afterwards, MB": round(left_bytes / _MB, 1),
            "oldest record at the peak, s": round(oldest_s, 1),
            "oldest record afterwards, s": await scene.oldest_s(),
            "memory in the outage, MB": round(memory / _MB),
            "memory after a cold start, MB": round(memory_back / _MB),
            "cold start, s": round(ready_s, 2),
            "drained, records/s": round(pending / drained_s),
            "refused requests": sum(each.refused for each in (*outage.values(), filled)),
            "records repeated": repeated,
        }
        for name, each in {"before": before, **outage, "draining": back}.items():
            figures[f"latency {name}, p50 / p99 ms"] = f"{each.p50_ms:.1f} / {each.p99_ms:.1f}"
        progress(str(figures))
        assert is_complete(arrivals, sent), "what arrived is not what was sent"
        assert ledger["gap"] == ledger["dead_lettered"] == 0, ledger
        # A request that the kill cut off was sent again, and may have been accepted before.
        assert ledger["accepted"] == ledger["delivered"], ledger
        assert sent <= ledger["accepted"] <= sent + repeated, (ledger, sent, repeated)
        assert figures["refused requests"] == 0
        assert max(memory, memory_back) < _MEMORY_BYTES, figures
        assert ready_s < _READY_S, figures
        assert oldest_s >= 3 * phase_s, "the age of the oldest record did not rise"
        assert figures["oldest record afterwards, s"] == 0
        assert left_bytes < max(peak_bytes / 10, 64 * _MB), figures
        for name, each in {**outage, "draining": back}.items():
            each.assert_as_good_as(before, name)
        return figures


async def _break(scene: _Scene, kind: str) -> None:
    await _mend(scene)
    match kind:
        case "refused":
            await scene.network.refuse()
        case "hanging":
            scene.network.behave(Behaviour(action="blackhole"))
        case _:
            await scene.sink.misbehave(0, Fault(action="status", status=500))


async def _mend(scene: _Scene) -> None:
    await scene.sink.misbehave(0)
    scene.network.behave(PASS)
    await scene.network.accept()


async def _fill(scene: _Scene, backlog: int, progress: Callable[[str], None]) -> Measured:
    """Send at full speed until that many events wait."""
    await scene.flood.pace(None)

    async def full() -> bool:
        pending = (await scene.gateway.ledger())["pending"]
        progress(f"{pending} of {backlog} records wait")
        await asyncio.sleep(0.5)
        return pending >= backlog

    await scene.flood.measured()
    await wait_for(full, timeout=120 + backlog / 5000)
    return await scene.flood.measured()


@asynccontextmanager
async def _scene(directory: Path) -> AsyncIterator[_Scene]:
    async with Sink([_TOKEN], remember="numbers") as sink, ChaosProxy(sink.urls[0]) as network:
        gateway = ConfiguredGateway(
            directory,
            [Project("mixpanel", _TOKEN, network.url)],
            [Source(_KEY, ("mixpanel",))],
        )
        async with gateway, Flood(gateway.url, _KEY) as flood:
            yield _Scene(gateway, network, sink, flood)
