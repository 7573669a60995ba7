"""What is measured stays right when the clock of the machine is set back."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.admin import AdminServer
from gateway.config import AdminConfig
from gateway.dead_letters import DeadLetters
from gateway.mapping import Remap
from gateway.model import Entry, Queue
from gateway.pending import Pending
from gateway.sandbox import Sandbox
from gateway.spool.dead_letters import LetterLimits
from gateway.spool.sqlite.dead_letters import table
from tests.support.delivering import TOKEN, delivering, destination, event
from tests.support.letters import IMPORT, ManualClock, record_letter, spool_in, stored

DAY_MS = 86_400_000


class Clock(ManualClock):
    """A clock whose two hands are moved apart."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def set_back(self) -> None:
        """Move on by ten seconds in a machine whose clock is set back by a day."""
        self.ms -= DAY_MS
        self.seconds += 10


async def test_uptime_and_ages_are_not_negative(tmp_path: Path) -> None:
    clock = Clock()
    async with spool_in(tmp_path, clock) as spool, aiohttp.ClientSession() as session:
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        admin = AdminServer(
            AdminConfig(port=0),
            spool=spool,
            dead_letters=DeadLetters(spool.dead_letters, Remap([]), destinations=[]),
            pending=Pending(spool.pending, clock),
            delivery_status=dict,
            ingest_status=dict,
            clock=clock,
            telemetry=spool.telemetry,
        )
        spool.telemetry.watch(
            ledger=spool.ledger,
            queues=spool.queues,
            kept=spool.dead_letters.kept,
            usage=spool.usage,
            dropped_fields=dict,
            lost_lines=int,
            now_ms=clock.now_ms,
        )
        await admin.start()
        clock.set_back()
        try:
            async with session.get(f"http://127.0.0.1:{admin.port}/statusz") as response:
                status: dict[str, Any] = json.loads(await response.read())
            async with session.get(f"http://127.0.0.1:{admin.port}/pending/summary") as response:
                (waiting,) = json.loads(await response.read())["groups"]
            async with session.get(f"http://127.0.0.1:{admin.port}/metrics") as response:
                metrics = await response.text()
        finally:
            await admin.stop()
    assert status["uptime_seconds"] == 10
    assert status["destinations"]["mixpanel"]["endpoints"]["import"]["oldest_age_seconds"] == 0
    assert waiting["oldest_age_s"] == 0
    assert "} -" not in metrics


async def test_limits_of_dead_letters_are_looked_at_as_often_as_ever(tmp_path: Path) -> None:
    clock = Clock()
    async with spool_in(tmp_path, clock, LetterLimits(max_age_ms=1000)) as spool:
        await spool.append([Entry(IMPORT, b"{}\n", 1)])  # which looks, and finds nothing
        clock.set_back()
        await spool.append([], [record_letter()])
        clock.ms += 2000
        clock.seconds += table.LOOK_EVERY_S
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        assert await stored(spool) == []


async def test_lag_of_a_delivery_is_not_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox(token=TOKEN)
    await sandbox.start()
    try:
        async with delivering(tmp_path, destination(sandbox)) as rig:
            clock = Clock()
            clock.ms = 1000  # in 1970, and everything was accepted later
            monkeypatch.setattr(
                rig.delivery._senders[Queue("main", "import")]._channel, "_clock", clock
            )
            await rig.append("import", event(1))
            await rig.delivered()
            metrics = rig.telemetry.render().decode()
    finally:
        await sandbox.stop()
    (total,) = [
        line for line in metrics.splitlines() if line.startswith("gateway_delivery_lag_seconds_sum")
    ]
    assert float(total.rpartition(" ")[2]) == 0
