"""Whatever happens in whatever order, each record ends where it belongs.

Poison records, outages, flaky services, stops, kills and operators, drawn at random; time passes
faster, for waiting and for the clock alike.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.delivery import Delivery, linger
from gateway.errors import SpoolUnavailable
from gateway.model import Entry, Queue
from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.faults import EndpointPath
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.commands import Settle
from gateway.telemetry import Telemetry
from tests.support.delivering import CLOCK, TOKEN, destination, until
from tests.torture.order import is_in_order

POISON = "p0ison"
FASTER = 300.0  # times
ENDPOINTS: tuple[EndpointPath, ...] = ("/import", "/engage", "/groups")

WAYS: tuple[dict[str, Any], ...] = (
    {"action": "status", "status": 500},
    {"action": "status", "status": 503, "retry_after_s": 7},
    {"action": "stall", "stall_s": 60},
    {"action": "reset"},
)

OUTAGES: tuple[dict[str, Any], ...] = (
    *WAYS,
    {"action": "status", "status": 429, "retry_after_s": 5},
    {"action": "status", "status": 401},
    {"action": "reset", "after": True},
)


class FastClock:
    """As the system's, but for how fast it goes."""

    def now_ms(self) -> int:
        return CLOCK.now_ms()

    def monotonic(self) -> float:
        return time.monotonic() * FASTER


class MortalSpool(SqliteSpool):
    """Takes note of nothing more once its process has been killed."""

    is_killed = False

    async def settle(self, settlement: Settle) -> None:
        if self.is_killed:
            raise SpoolUnavailable("killed")
        await super().settle(settlement)


class Drive:
    """One run: what was sent, what goes wrong, and the gateway of the moment."""

    def __init__(self, seed: int, directory: Path, sandbox: Sandbox) -> None:
        self.rng = Random(seed)
        self.directory = directory
        self.sandbox = sandbox
        self.numbers = iter(range(10**9))
        self.good: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.bad: dict[str, set[int]] = defaultdict(set)
        self.way = Fault(holding=POISON, **self.rng.choice(WAYS))
        shares = (0.0, 0.002, 0.02) if self.way.action == "stall" else (0.0, 0.002, 0.02, 0.1)
        self.poisoned = self.rng.choice(shares)
        self.repeats = False
        self.accepted = 0
        self.config = destination(
            sandbox,
            request_timeout_s=0.25,
            batch_records=self.rng.choice((5, 20, 2000)),
            connections=self.rng.choice((1, 4, 10)),
            records_per_second=1e6,
        )

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        telemetry = Telemetry()
        self.spool = MortalSpool(
            self.directory, clock=CLOCK, telemetry=telemetry, max_bytes=2**30, min_free_bytes=0
        )
        await self.spool.open()
        self.delivery = Delivery(
            [self.config],
            self.spool,
            FastClock(),
            telemetry,
            rng=Random(self.rng.random()),
            sleep=lambda seconds: asyncio.sleep(seconds / FASTER),
        )
        await self.delivery.start()
        try:
            yield
        finally:
            self.repeats = True  # what is cut off may have been taken
            match self.rng.randrange(4):
                case 0:
                    self.spool.is_killed = True
                    await self.delivery.stop(0)
                case 1:
                    await self.delivery.hand_over(0.1)
                case _:
                    await self.delivery.stop(self.rng.choice((0, 0.1)))
            await self.spool.close()

    async def send(
        self, endpoint: EndpointPath, most: int, poisoned: float, profiles: str = "u"
    ) -> None:
        lines = []
        for _ in range(self.rng.randint(1, most)):
            number, profile = next(self.numbers), f"{profiles}{self.rng.randrange(30)}"
            text = ""
            if self.rng.random() < poisoned:
                text = POISON
                self.bad[endpoint].add(number)
            else:
                self.good[endpoint][profile].append(number)
            lines.append(record(endpoint, profile, number, text) + b"\n")
        entry = Entry(Queue("main", endpoint[1:]), b"".join(lines), len(lines))
        await self.spool.append([entry])
        self.accepted += len(lines)

    async def step(self) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0:
                self.sandbox.faults.replace([self.way])
            case 1:
                outage = rng.choice(OUTAGES)
                share = rng.choice((0.2, 0.5, 0.9, 1.0, 1.0, 1.0))
                self.repeats = self.repeats or "after" in outage
                endpoints = rng.choice(((), ENDPOINTS[:1], ENDPOINTS[1:2]))
                fault = Fault(share=share, endpoints=endpoints, **outage)
                self.sandbox.faults.replace([self.way, fault])
                await asyncio.sleep(rng.choice((0, 0.05, 0.3)))
                if rng.random() < 0.8:
                    self.sandbox.faults.replace([self.way])
            case 2:
                queue = Queue("main", rng.choice(ENDPOINTS)[1:])
                async with self.spool.outlet(queue).withheld():
                    await asyncio.sleep(rng.choice((0, 0.02)))
                self.delivery.hurry(queue)
            case _:
                await self.send(rng.choice(ENDPOINTS), rng.choice((3, 30)), self.poisoned)
        await asyncio.sleep(rng.choice((0, 0, 0.01, 0.03)))

    def arrived(self, endpoint: EndpointPath) -> list[tuple[str, int]]:
        return [identity(endpoint, kept.record) for kept in self.store(endpoint)]

    def store(self, endpoint: EndpointPath) -> list[Any]:
        return list(self.sandbox.store.records(endpoint=endpoint))

    def has_all_good(self) -> bool:
        return all(
            {number for numbers in self.good[endpoint].values() for number in numbers}
            <= {number for _, number in self.arrived(endpoint)}
            for endpoint in ENDPOINTS
        )

    def has_gap(self) -> bool:
        ledger = self.spool.ledger().get("main")
        return ledger is not None and ledger.gap != 0

    async def dead(self) -> dict[EndpointPath, set[int]]:
        found: dict[EndpointPath, set[int]] = {endpoint: set() for endpoint in ENDPOINTS}
        after = ""
        while letters := await self.spool.dead_letters.page(Filter(), after=after):
            for stored in letters:
                assert stored.letter.reason == "unanswered"
                after = stored.id
                for endpoint in ENDPOINTS:
                    if stored.letter.queue.endpoint == endpoint[1:]:
                        found[endpoint].add(identity(endpoint, stored.letter.payload)[1])
        return found


def record(endpoint: EndpointPath, profile: str, number: int, text: str) -> bytes:
    if endpoint == "/import":
        properties = {"token": TOKEN, "time": CLOCK.now_ms(), "distinct_id": profile, "t": text}
        properties |= {"$insert_id": f"id-{number}", "n": number}
        return json.dumps({"event": "Test", "properties": properties}).encode()
    whom = (
        {"$distinct_id": profile}
        if endpoint == "/engage"
        else {"$group_key": "k", "$group_id": profile}
    )
    return json.dumps({"$token": TOKEN, **whom, "$set": {"n": number, "t": text}}).encode()


def identity(endpoint: EndpointPath, record: bytes) -> tuple[str, int]:
    found = json.loads(record)
    if endpoint == "/import":
        return found["properties"]["distinct_id"], found["properties"]["n"]
    return found.get("$distinct_id") or found["$group_id"], found["$set"]["n"]


async def drive(seed: int, directory: Path, steps: int) -> str:
    """Run one schedule, check what has come of it, and return a line about it."""
    sandbox = Sandbox(token=TOKEN, keep=10**6)
    await sandbox.start()
    try:
        run = Drive(seed, directory, sandbox)
        sandbox.faults.replace([run.way])
        left = steps
        while left:
            async with run.gateway():
                for _ in range(min(left, run.rng.choice((3, 20, 100, steps)))):
                    await run.step()
                    assert not run.has_gap()
                    left -= 1
        async with run.gateway():
            sandbox.faults.replace([run.way])
            began = time.monotonic()
            while not run.has_all_good():
                assert time.monotonic() - began < 150, (
                    f"good ones are stuck: {run.delivery.status()}"
                )
                for endpoint in ENDPOINTS:
                    await run.send(endpoint, 1, 0.0, profiles="other")
                await asyncio.sleep(0.1)
            took = time.monotonic() - began
            sandbox.faults.replace([])
            began = time.monotonic()
            await until(lambda: run.spool.ledger()["main"].pending == 0)
            healed = time.monotonic() - began
            assert not run.has_gap()
            ledger = run.spool.ledger()["main"]
            dead = await run.dead()
        delivered = 0
        for endpoint in ENDPOINTS:
            arrived = run.arrived(endpoint)
            numbers = {number for _, number in arrived}
            all_good = {n for numbers in run.good[endpoint].values() for n in numbers}
            assert dead[endpoint] <= run.bad[endpoint], "a good record is a dead letter"
            assert numbers | dead[endpoint] == all_good | run.bad[endpoint]
            assert not numbers & dead[endpoint]
            delivered += len(numbers)
            if not run.repeats:
                assert len(arrived) == len(numbers), "something was sent twice"
            if endpoint != "/import":
                check_order(arrived)
        assert ledger.accepted == run.accepted
        assert ledger.delivered == delivered
        poison = sum(len(bad) for bad in run.bad.values())
        return (
            f"seed {seed}: {run.accepted} records, {poison} poison, {run.way.action}, "
            f"{ledger.dead_lettered} dead, {took:.1f} s until all good ones, {healed:.1f} s more"
        )
    finally:
        await sandbox.stop()


def check_order(arrived: list[tuple[str, int]]) -> None:
    of: dict[str, list[int]] = defaultdict(list)
    for profile, number in arrived:
        of[profile].append(number)
    for profile, numbers in of.items():
        assert is_in_order(numbers), profile


@pytest.mark.parametrize("seed", range(4))
async def test_any_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(linger, "LINGER_S", 0.005)
    await drive(seed, tmp_path, 120)
