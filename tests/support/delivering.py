"""Delivery between a real spool and the Mixpanel stand-in, with waiting that takes no time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from gateway.clock import SystemClock
from gateway.config import DeliveryConfig, DestinationConfig, DestinationSettings, Secret
from gateway.delivery import Delivery, EndpointStatus
from gateway.model import Entry, Queue
from gateway.sandbox import Sandbox
from gateway.spool.sqlite.spool import SqliteSpool
from gateway.telemetry import Telemetry

__all__ = [
    "CLOCK",
    "SECRET",
    "TOKEN",
    "Rig",
    "delivering",
    "destination",
    "event",
    "events",
    "group_update",
    "ids",
    "numbers",
    "until",
    "update",
]

TOKEN = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6"
SECRET = "canary-secret-value"
CLOCK = SystemClock()


class Rig:
    """One spool, one delivery, and what was slept."""

    def __init__(
        self,
        directory: Path,
        destinations: Sequence[DestinationConfig],
        spool_type: type[SqliteSpool],
        max_memory_bytes: int,
    ) -> None:
        self.telemetry = Telemetry()
        self.spool = spool_type(
            directory, clock=CLOCK, telemetry=self.telemetry, max_bytes=2**30, min_free_bytes=0
        )
        self.slept: list[float] = []
        self.may_wake = asyncio.Event()
        self.may_wake.set()
        self.delivery = Delivery(
            destinations,
            self.spool,
            CLOCK,
            self.telemetry,
            max_memory_bytes=max_memory_bytes,
            rng=Random(1),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.002)
        await self.may_wake.wait()

    async def append(self, endpoint: str, *records: bytes, destination: str = "main") -> None:
        lines = b"".join(record + b"\n" for record in records)
        await self.spool.append([Entry(Queue(destination, endpoint), lines, len(records))])

    def counts(self, destination: str = "main") -> tuple[int, int, int]:
        ledger = self.spool.ledger()[destination]
        assert ledger.gap == 0
        return ledger.delivered, ledger.dead_lettered, self.pending(destination)

    def pending(self, destination: str = "main") -> int:
        queues = self.spool.queues().items()
        return sum(state.pending for queue, state in queues if queue.destination == destination)

    async def delivered(self, destination: str = "main") -> None:
        await until(lambda: self.pending(destination) == 0)

    def status(self, endpoint: str = "import", destination: str = "main") -> EndpointStatus:
        return self.delivery.status()[destination][endpoint]

    def memory(self) -> float:
        """The bytes that all senders together say they hold."""
        value = self.telemetry.registry.get_sample_value("gateway_delivery_memory_bytes")
        assert value is not None
        return value

    def waits(self) -> list[float]:
        """All sleeping."""
        return list(self.slept)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def delivering(
    directory: Path,
    *destinations: DestinationConfig,
    stop_s: float = 0.0,
    spool_type: type[SqliteSpool] = SqliteSpool,
    max_memory_bytes: int = 64 * 2**20,
) -> AsyncIterator[Rig]:
    rig = Rig(directory, destinations, spool_type, max_memory_bytes)
    await rig.spool.open()
    try:
        await rig.delivery.start()
        try:
            yield rig
        finally:
            await rig.delivery.stop(stop_s)
    finally:
        await rig.spool.close()


def destination(
    sandbox: Sandbox | str,
    name: str = "main",
    *,
    token: str = TOKEN,
    secret: str | None = None,
    **limits: Any,
) -> DestinationConfig:
    return DestinationConfig(
        name=name,
        base_url=sandbox if isinstance(sandbox, str) else sandbox.url,
        settings=DestinationSettings(
            projectToken=token, apiSecret=None if secret is None else Secret(secret)
        ),
        delivery=DeliveryConfig(**limits),
    )


def event(number: int, **properties: object) -> bytes:
    properties = {
        "token": TOKEN,
        "time": CLOCK.now_ms(),
        "distinct_id": "u1",
        "$insert_id": f"id-{number}",
    } | properties
    return json.dumps({"event": "Test", "properties": properties}).encode()


def update(number: int) -> bytes:
    return json.dumps({"$token": TOKEN, "$distinct_id": "u1", "$set": {"n": number}}).encode()


def group_update(number: int) -> bytes:
    record = {"$token": TOKEN, "$group_key": "k", "$group_id": "g", "$set": {"n": number}}
    return json.dumps(record).encode()


def events(start: int, stop: int) -> list[bytes]:
    return [event(number) for number in range(start, stop)]


def ids(sandbox: Sandbox) -> list[str]:
    return [
        json.loads(kept.record)["properties"]["$insert_id"]
        for kept in sandbox.store.records(endpoint="/import")
        if not kept.duplicate
    ]


def numbers(sandbox: Sandbox, endpoint: str) -> list[int]:
    return [
        json.loads(kept.record)["$set"]["n"] for kept in sandbox.store.records(endpoint=endpoint)
    ]
