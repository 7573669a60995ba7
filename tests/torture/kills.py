"""SIGKILL at any moment, with a bad network on both sides: nothing acknowledged is lost.

The gateway is killed under load, while it starts, while it drains, and while it is stopped; the
sandboxes are stopped for a while, too.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Literal

from tests.support.chaos import ChaosProxy
from tests.torture import Figures
from tests.torture.stage import Stage, staged

__all__ = ["run"]

Moment = Literal["load", "start", "drain", "stopped", "paused", "sink paused"]

_SHARES: dict[Moment, int] = {
    "load": 60,
    "start": 12,
    "drain": 12,
    "stopped": 5,
    "paused": 5,
    "sink paused": 6,
}
"""When to kill: under load; while it starts; after SIGTERM; while it is stopped (SIGSTOP); when it
goes on after that; while the sandboxes are stopped."""

_START_S = 0.6  # somewhat longer than a start takes


async def run(
    directory: Path,
    *,
    seed: int = 1,
    kills: int = 200,
    events_per_s: float = 2500.0,
    program: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Kill it that often; return figures.

    :param program: another gateway, for the proof that this finds a bad one.
    :raises AssertionError: a promise is broken, or the run was too tame to prove anything.
    """
    rng = Random(seed)
    loop = asyncio.get_running_loop()
    moments: Counter[str] = Counter()
    hits = cut_off = 0
    starts: list[float] = []
    async with staged(
        directory, seed=seed, events_per_s=events_per_s, chaos=0.3, program=program
    ) as stage:
        async with stage.sending():
            async with _weather(stage.networks, rng):
                plan = _moments(rng)
                while moments.total() < kills:
                    moment = next(plan)
                    await asyncio.sleep(rng.uniform(0.2, 1.2))
                    in_flight, killed = await _kill(stage, moment, rng)
                    moments[moment] += killed
                    hits += in_flight > 0
                    cut_off += in_flight
                    began = loop.time()
                    await stage.gateway.restart()
                    starts.append(loop.time() - began)
                    await stage.check_ledger()
                    progress(f"{moments.total()} kills of {kills}, {stage.events()} events")
            await stage.calm()
            await stage.gateway.kill()
            await stage.gateway.restart()
        progress("delivering what is left")
        verdict = await stage.settle(directory)
        verdict.assert_holds()
        assert hits >= kills / 4, f"only {hits} of {kills} kills hit requests under way"
        assert verdict.repeated > 0, "no kill or cut hit a delivery under way"
        assert stage.struck() > 0, "the networks did nothing"
        return {
            "kills": moments.total(),
            **{f"kills, {moment}": number for moment, number in sorted(moments.items())},
            "kills that hit requests": hits,
            "requests cut off by kills": cut_off,
            "network faults": stage.struck(),
            "events sent": stage.events(),
            "acknowledged records": verdict.due,
            "missing": verdict.missing,
            "invented": verdict.invented,
            "corrupted": verdict.corrupted,
            "duplicates of events": verdict.duplicates,
            "duplicates before deduplication": verdict.repeated,
            "slowest start, s": round(max(starts), 2),
        }


def _moments(rng: Random) -> Iterator[Moment]:
    """Return when to kill, without end: at first each kind once."""
    kinds = list(_SHARES)
    yield from rng.sample(kinds, len(kinds))
    while True:
        yield from rng.choices(kinds, list(_SHARES.values()))


async def _kill(stage: Stage, moment: Moment, rng: Random) -> tuple[int, int]:
    """Kill the gateway; return how many requests were under way, and how often it was killed."""
    gateway = stage.gateway
    killed = 1
    match moment:
        case "start":
            await gateway.kill()
            await gateway.launch()
            await asyncio.sleep(rng.uniform(0, _START_S))
            killed = 2
        case "drain":
            gateway.send_signal(signal.SIGTERM)
            await asyncio.sleep(rng.uniform(0, 0.2))
        case "stopped":
            gateway.send_signal_to_all(signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(0.1, 1))
        case "paused":
            gateway.send_signal_to_all(signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(0.1, 1))
            gateway.send_signal_to_all(signal.SIGCONT)
            await asyncio.sleep(rng.uniform(0, 0.1))
        case "sink paused":
            stage.sink.send_signal(signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(0.1, 1))
        case "load":
            pass
    in_flight = stage.in_flight()
    code = await gateway.end(signal.SIGKILL)
    assert code == -signal.SIGKILL or (moment == "drain" and code == 0), f"exit code {code}"
    stage.sink.send_signal(signal.SIGCONT)
    return in_flight, killed if code else 0


@asynccontextmanager
async def _weather(networks: Sequence[ChaosProxy], rng: Random) -> AsyncIterator[None]:
    """Let one project after the other be unreachable for a moment."""

    async def change() -> None:
        while True:
            await asyncio.sleep(rng.uniform(0.5, 3))
            network = rng.choice(networks)
            await network.refuse()
            await asyncio.sleep(rng.uniform(0.1, 0.6))
            await network.accept()

    task = asyncio.create_task(change())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
