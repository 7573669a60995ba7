"""One destination of ten goes wrong: the other nine, and the SDKs, must not notice.

A whole gateway delivers the same events to ten Mixpanel stand-ins.  First all are well, then one
is dead, hangs, throttles or refuses the credentials, and the nine are compared with themselves.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import App
from gateway.config import (
    AdminConfig,
    Config,
    DestinationConfig,
    DestinationSettings,
    Secret,
    ServerConfig,
    SourceConfig,
    SpoolConfig,
)
from gateway.sandbox import Fault, Sandbox
from tests.support.processes import wait_for

__all__ = ["KINDS", "run"]

KINDS: Mapping[str, Fault | None] = {
    "dead": None,  # nobody listens
    "hangs": Fault(action="stall", stall_s=3600),
    "slow": Fault(action="stall", stall_s=2),
    "throttles": Fault(action="status", status=429),
    "misconfigured": Fault(action="status", status=401),
}
"""What is wrong with the tenth destination."""

_KEY = "key-of-the-test"
_VICTIM = "mixpanel-0"
_GOOD = [f"mixpanel-{number}" for number in range(1, 10)]
_BATCH = 100
_ROUND_S = 60.0


@dataclass
class _Pace:
    """How long things took."""

    rounds_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)


async def run(
    seed: int = 1,
    *,
    kinds: Iterable[str] = KINDS,
    rounds: int = 5,
    events: int = 2000,
    slower: float = 2.0,
) -> dict[str, object]:
    """Compare the nine with and without a bad tenth; return figures.

    :param seed: of the dice of the sandboxes.
    :param rounds: how often to send ``events`` and to wait until the nine have them.
    :param slower: times, that the median round and the median answer may be.
    :raises AssertionError: they were slower, or records are missing.
    """
    figures: dict[str, object] = {}
    for kind in kinds:
        well, ill = await _compare(kind, seed, rounds, events)
        delivery = statistics.median(ill.rounds_s) / statistics.median(well.rounds_s)
        answers = statistics.median(ill.answers_s) / statistics.median(well.answers_s)
        assert delivery <= slower, f"one that {kind}: the others took {delivery:.2f} times as long"
        assert answers <= slower, f"one that {kind}: answers took {answers:.2f} times as long"
        figures[f"{kind}: delivery of the others, times as long"] = round(delivery, 2)
        figures[f"{kind}: answers to SDKs, times as long"] = round(answers, 2)
    return figures


async def _compare(kind: str, seed: int, rounds: int, events: int) -> tuple[_Pace, _Pace]:
    well, ill = _Pace(), _Pace()
    async with AsyncExitStack() as stack:
        sandboxes = [await stack.enter_async_context(_sandbox(seed)) for _ in range(10)]
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        app = await stack.enter_async_context(_gateway(directory, sandboxes))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"X-Write-Key": _KEY})
        )
        await _round(app, session, events, [_VICTIM, *_GOOD], _Pace())  # connections are open now
        for _ in range(rounds):
            await _round(app, session, events, [_VICTIM, *_GOOD], well)
        fault = KINDS[kind]
        if fault is None:
            await sandboxes[0].stop()
        else:
            sandboxes[0].faults.replace([fault])
        for _ in range(rounds):
            await _round(app, session, events, _GOOD, ill)
        ledger = app.spool.ledger()
        total = (2 * rounds + 1) * events
        for name in _GOOD:
            assert ledger[name].delivered == total
        for sandbox in sandboxes[1:]:
            assert sandbox.store.counts["/import"].received == total
        assert ledger[_VICTIM].accepted == total
        assert kind == "slow" or ledger[_VICTIM].pending == rounds * events
        assert all(one.gap == 0 and one.dead_lettered == 0 for one in ledger.values())
    return well, ill


@asynccontextmanager
async def _sandbox(seed: int) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(validate=False, seed=seed)
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()


@asynccontextmanager
async def _gateway(directory: Path, sandboxes: Sequence[Sandbox]) -> AsyncIterator[App]:
    destinations = tuple(
        DestinationConfig(
            name=name,
            base_url=sandbox.url,
            settings=DestinationSettings(projectToken=f"token-of-{name}"),
        )
        for name, sandbox in zip((_VICTIM, *_GOOD), sandboxes, strict=True)
    )
    app = App(
        Config(
            sources=(SourceConfig(name="sdk", write_key=Secret(_KEY)),),
            destinations=destinations,
            server=ServerConfig(port=0),
            admin=AdminConfig(port=0),
            spool=SpoolConfig(path=str(directory / "spool"), min_free_bytes=0),
        ),
        sleep=lambda seconds: asyncio.sleep(seconds / 20),  # it tries again as often as it can
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop(deliver=False)


async def _round(
    app: App,
    session: aiohttp.ClientSession,
    events: int,
    waits_for: Sequence[str],
    pace: _Pace,
) -> None:
    """Send events, and wait until these destinations have them."""
    url = f"http://127.0.0.1:{app.ingest.port}/v1/batch"
    body = {"batch": [_event(number) for number in range(_BATCH)]}
    began = time.perf_counter()
    for _ in range(0, events, _BATCH):
        asked = time.perf_counter()
        async with session.post(url, json=body) as response:
            assert response.status == 200, await response.text()
        pace.answers_s.append(time.perf_counter() - asked)
    await wait_for(
        lambda: not any(app.spool.ledger()[name].pending for name in waits_for), _ROUND_S
    )
    pace.rounds_s.append(time.perf_counter() - began)


def _event(number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Viewed",
        "userId": f"user-{number}",
        "properties": {"number": number, "text": "x" * 200},
    }
