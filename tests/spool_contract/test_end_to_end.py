"""The whole gateway with a spool that has lanes, lags and no counts: nothing depends on a file."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import aiohttp
import pytest

from gateway.app import App
from gateway.config import (
    AdminConfig,
    Config,
    DeliveryConfig,
    DestinationConfig,
    DestinationSettings,
    Secret,
    ServerConfig,
    SourceConfig,
)
from gateway.model import Queue
from gateway.sandbox import Fault, Sandbox
from gateway.spool.dead_letters import Filter
from tests.support.delivering import until
from tests.support.partitioned_spool import PartitionedSpool
from tests.torture.order import is_in_order

KEY = "canary-write-key"
TOKEN = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6"
PROFILES = 12
POISON = "p0ison"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN, keep=10**6)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


@asynccontextmanager
async def gateway(sandbox: Sandbox, spool: PartitionedSpool, **limits: Any) -> AsyncIterator[App]:
    app = App(
        Config(
            sources=(SourceConfig(name="sdk", write_key=Secret(KEY)),),
            destinations=(
                DestinationConfig(
                    name="main",
                    base_url=sandbox.url,
                    settings=DestinationSettings(projectToken=TOKEN),
                    delivery=DeliveryConfig(**limits),
                ),
            ),
            server=ServerConfig(port=0),
            admin=AdminConfig(port=0),
        ),
        spool=spool,
        sleep=lambda seconds: asyncio.sleep(min(seconds / 300, 0.2)),
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop(deliver=False)


class Client:
    """Sends events, and remembers what was acknowledged."""

    def __init__(self, app: App, seed: int) -> None:
        self._url = f"http://127.0.0.1:{app.ingest.port}/v1/batch"
        self._rng = Random(seed)
        self._number = 0
        self.tracks: set[str] = set()
        self.updates: dict[str, list[int]] = defaultdict(list)

    async def send(self, session: aiohttp.ClientSession, bad: Callable[[int], bool]) -> None:
        batch: list[dict[str, Any]] = []
        for _ in range(self._rng.randint(1, 10)):
            self._number += 1
            user = f"user-{self._rng.randrange(PROFILES)}"
            common = {"userId": user, "messageId": f"m-{self._number}"}
            if self._rng.random() < 0.5:
                batch.append({"type": "track", "event": "E", **common})
                self.tracks.add(common["messageId"])
            else:
                traits = {"number": self._number, "x": POISON if bad(self._number) else ""}
                batch.append({"type": "identify", "traits": traits, **common})
                if not bad(self._number):
                    self.updates[user].append(self._number)
        async with session.post(
            self._url, json={"batch": batch}, headers={"X-Write-Key": KEY}
        ) as response:
            assert response.status == 200, await response.text()


def arrived(sandbox: Sandbox) -> tuple[set[str], dict[str, list[int]]]:
    """Return the ids of the events, and the updates of each profile as they came."""
    ids = {
        json.loads(kept.record)["properties"]["$insert_id"]
        for kept in sandbox.store.records(endpoint="/import")
    }
    updates: dict[str, list[int]] = defaultdict(list)
    for kept in sandbox.store.records(endpoint="/engage"):
        update = json.loads(kept.record)
        updates[update["$distinct_id"]].append(update["$set"]["number"])
    return ids, updates


def check(sandbox: Sandbox, client: Client, *, has_copies: bool) -> None:
    """Fail unless all that was acknowledged has come, each profile's updates in order."""
    ids, updates = arrived(sandbox)
    assert len(ids) == len(client.tracks)
    assert updates.keys() == client.updates.keys()
    for user, numbers in client.updates.items():
        came = updates[user]
        if has_copies:
            assert sorted(set(came)) == numbers
            assert is_in_order(came), (user, came)
        else:
            assert came == numbers


def unsure() -> Iterator[str]:
    """Give the moods of a storage that now and then does not answer."""
    rng = Random(1)
    while True:
        yield rng.choice(("well", "well", "fails", "fails after"))


@pytest.mark.parametrize("counts", ["missing", "lagging", "exact"])
@pytest.mark.parametrize("lag_s", [0.0, 0.05])
async def test_everything_arrives_in_order(sandbox: Sandbox, counts: str, lag_s: float) -> None:
    spool = PartitionedSpool(lanes=3, counts=counts, lag_s=lag_s, moods=unsure())
    async with gateway(sandbox, spool, batch_records=7) as app:
        client = Client(app, 1)
        async with aiohttp.ClientSession() as session:
            for _ in range(60):
                await client.send(session, lambda _: False)
        await until(lambda: spool.left() == 0)
        # One that comes when nothing else does: no count says that it is there.
        async with aiohttp.ClientSession() as session:
            await client.send(session, lambda _: False)
        await until(lambda: spool.left() == 0, seconds=5)
        check(sandbox, client, has_copies=False)
        assert app.spool.ledger()["main"].gap == 0
        assert sandbox.store.counts["/engage"].duplicates == 0


async def test_poison_records_hold_up_no_lane(sandbox: Sandbox) -> None:
    """They fail as in an outage; only those about the same profile wait for them."""
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    spool = PartitionedSpool(lanes=3, counts="missing")
    async with gateway(sandbox, spool, batch_records=20) as app:
        client = Client(app, 2)
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                await client.send(session, lambda number: number % 40 == 13)
            goal = {user: numbers[-1] for user, numbers in client.updates.items()}
            # Others are accepted meanwhile, which speaks against the records.
            for _ in range(400):
                if spool.left() == 0:
                    break
                await client.send(session, lambda _: False)
                await asyncio.sleep(0.05)
        assert goal
        await until(lambda: spool.left() == 0)
        check(sandbox, client, has_copies=False)
        letters = await spool.dead_letters.page(Filter())
        assert {each.letter.reason for each in letters} == {"unanswered"}
        assert app.spool.ledger()["main"].gap == 0


@pytest.mark.parametrize("asks", [True, False])
async def test_lanes_that_go_to_somebody_else_and_come_back_lose_nothing(
    sandbox: Sandbox, asks: bool
) -> None:
    """What was under way may be sent twice, and keeps its order; nothing is settled for others."""
    rng = Random(3)
    spool = PartitionedSpool(lanes=3, counts="missing")
    async with gateway(sandbox, spool, batch_records=5) as app:
        client = Client(app, 3)

        async def rebalance() -> None:
            while True:
                queue = Queue("main", rng.choice(("import", "engage")))
                lane = rng.randrange(3)
                await spool.outlet(queue).give_away(lane, asks=asks)
                await asyncio.sleep(0.01)
                spool.outlet(queue).get_back(lane)
                await asyncio.sleep(0.01)

        rebalancing = asyncio.create_task(rebalance())
        async with aiohttp.ClientSession() as session:
            for number in range(80):
                if number % 10 == 0:
                    fault = Fault(action="status", status=503, share=0.5)
                    sandbox.faults.replace([fault] if number % 20 else [])
                await client.send(session, lambda _: False)
                await asyncio.sleep(0.005)
        sandbox.faults.replace([])
        rebalancing.cancel()
        await asyncio.wait([rebalancing])
        for outlet in spool.outlets.values():
            for lane in range(3):
                outlet.get_back(lane)
        await until(lambda: spool.left() == 0)
        check(sandbox, client, has_copies=True)
        assert app.spool.ledger()["main"].gap == 0


async def test_nothing_of_a_lost_lease_is_sent_again_or_settled(sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="status", status=503)])
    spool = PartitionedSpool(lanes=1, counts="missing")
    async with gateway(sandbox, spool) as app:
        client = Client(app, 4)
        async with aiohttp.ClientSession() as session:
            await client.send(session, lambda _: False)
        requests = sandbox.store.counts
        await until(lambda: requests["/import"].requests > 0 and requests["/engage"].requests > 0)
        for outlet in list(spool.outlets.values()):
            await outlet.give_away(0, asks=False)
        await asyncio.sleep(0.1)
        before = {name: counts.requests for name, counts in requests.items()}
        sandbox.faults.replace([])
        await asyncio.sleep(0.5)
        assert {name: counts.requests for name, counts in requests.items()} == before
        assert spool.ledger()["main"].delivered == 0
        for outlet in spool.outlets.values():
            outlet.get_back(0)
        await until(lambda: spool.left() == 0)
        check(sandbox, client, has_copies=False)


async def test_lease_that_is_lost_in_the_middle_of_a_request_is_let_go(sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=60, endpoints=("/import",))])
    spool = PartitionedSpool(lanes=1, counts="missing")
    async with gateway(sandbox, spool, request_timeout_s=0.3) as app:
        client = Client(app, 4)
        async with aiohttp.ClientSession() as session:
            await client.send(session, lambda _: False)
        status = app.delivery.status
        await until(lambda: sandbox.store.counts["/import"].requests == 1)
        await spool.outlet(Queue("main", "import")).give_away(0, asks=False)
        assert status()["main"]["import"]["in_flight"] == 1, "its answer may still come"
        await until(lambda: status()["main"]["import"]["in_flight"] == 0, seconds=5)
        await asyncio.sleep(0.5)
        assert sandbox.store.counts["/import"].requests == 1
        sandbox.faults.replace([])
        spool.outlet(Queue("main", "import")).get_back(0)
        await until(lambda: spool.left() == 0)
        check(sandbox, client, has_copies=False)
