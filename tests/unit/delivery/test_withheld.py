"""Leaving a queue to an operator for a moment, and making it try again now."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.model import Queue
from gateway.sandbox import Fault, Sandbox
from gateway.spool.sqlite.commands import Settle
from tests.support.delivering import TOKEN, Rig, delivering, destination, event, events, ids, until

IMPORT = Queue("main", "import")
BROKEN = Fault(action="status", status=503)
REFUSED = Fault(action="status", status=401)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


async def waiting(rig: Rig, state: str) -> None:
    """Wait until the sender does, with a batch in its hands and for as long as the test wants."""
    await until(lambda: rig.status()["state"] == state and rig.status()["in_flight"] == 1)
    await asyncio.sleep(0.02)


@pytest.mark.parametrize(("fault", "state"), [(BROKEN, "retrying"), (REFUSED, "paused")])
async def test_what_only_waits_is_the_callers(
    tmp_path: Path, sandbox: Sandbox, fault: Fault, state: str
) -> None:
    sandbox.faults.replace([fault])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        rig.may_wake.clear()
        await rig.append("import", *events(0, 5))
        await waiting(rig, state)
        async with rig.spool.outlet(IMPORT).withheld() as sent:
            assert sent == frozenset()
            assert rig.status()["in_flight"] == 0
            assert rig.memory() == 0
            await rig.append("import", *events(5, 8))
            (first, second) = await rig.spool.read(IMPORT)
            await rig.spool.settle(Settle(queue=IMPORT, chunk_ids=(first.id,), delivered=5))
            await asyncio.sleep(0.05)
            assert rig.status()["in_flight"] == 0, "it takes nothing meanwhile"
        sandbox.faults.replace([])
        await until(lambda: rig.status()["in_flight"] == 1)
        rig.may_wake.set()
        await rig.delivered()
        assert ids(sandbox) == ["id-5", "id-6", "id-7"]
        assert second.records == 3
        assert rig.status()["state"] == "ok"


async def test_what_is_in_a_request_stays_with_the_sender(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=0.5, count=1)])
    async with delivering(tmp_path, destination(sandbox, connections=1)) as rig:
        await rig.append("import", *events(0, 5))
        await until(lambda: rig.status()["in_flight"] == 1)
        await asyncio.sleep(0.1)
        await rig.append("import", *events(5, 8))
        async with rig.spool.outlet(IMPORT).withheld() as sent:
            first, second = await rig.spool.read(IMPORT)
            assert sent == {first.id}
            await rig.spool.settle(Settle(queue=IMPORT, chunk_ids=(second.id,), delivered=3))
            await until(lambda: rig.counts() == (8, 0, 0))  # its answer is taken note of as ever
        await rig.append("import", *events(8, 9))
        await rig.delivered()
        assert ids(sandbox) == [f"id-{n}" for n in (0, 1, 2, 3, 4, 8)]


async def test_what_was_delivered_of_a_batch_that_waits_is_settled(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """Three requests of one chunk; the limiter lets the second one wait for long."""
    one = destination(sandbox, batch_records=10, records_per_second=10)
    async with delivering(tmp_path, one) as rig:
        await rig.append("import", *events(0, 30))
        await until(lambda: len(ids(sandbox)) == 10)
        await asyncio.sleep(0.05)
        async with rig.spool.outlet(IMPORT).withheld() as sent:
            assert sent == frozenset()
            assert rig.counts() == (10, 0, 20)
        await rig.delivered()
        assert rig.counts() == (30, 0, 0)
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_a_queue_without_a_sender_is_nobodys(tmp_path: Path, sandbox: Sandbox) -> None:
    async with (
        delivering(tmp_path, destination(sandbox)) as rig,
        rig.spool.outlet(Queue("gone", "import")).withheld() as sent,
    ):
        assert sent == frozenset()


async def test_withholding_again_and_again_under_load_loses_and_doubles_nothing(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:

        async def send() -> None:
            for number in range(200):
                await rig.append("import", event(2 * number), event(2 * number + 1))
                await asyncio.sleep(0.002)

        sending = asyncio.create_task(send())
        while not sending.done():
            async with rig.spool.outlet(IMPORT).withheld():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.003)
        await sending
        await rig.delivered()
        assert rig.counts() == (400, 0, 0)
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(400))
        assert sandbox.store.counts["/import"].duplicates == 0


@pytest.mark.parametrize(("fault", "state"), [(BROKEN, "retrying"), (REFUSED, "paused")])
async def test_hurried_queue_tries_at_once(
    tmp_path: Path, sandbox: Sandbox, fault: Fault, state: str
) -> None:
    sandbox.faults.replace([fault])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        rig.may_wake.clear()
        await rig.append("import", *events(0, 5))
        await waiting(rig, state)
        sandbox.faults.replace([])
        rig.delivery.hurry(IMPORT)
        async with asyncio.timeout(5):
            await rig.delivered()
        assert rig.status()["state"] == "ok"


async def test_hurried_queue_that_waits_for_another_endpoint_makes_that_one_try(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=401, endpoints=("/import",))])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        rig.may_wake.clear()
        await rig.append("import", *events(0, 5))
        await waiting(rig, "paused")
        await rig.append("track", event(6))
        await until(lambda: rig.status("track")["in_flight"] == 1)
        sandbox.faults.replace([])
        rig.delivery.hurry(Queue("main", "track"))
        async with asyncio.timeout(5):
            await rig.delivered()


def refused(*indexes: int) -> Fault:
    """Refuse these records of a request, as Mixpanel does."""
    failed = [{"index": index, "message": "unknown project"} for index in indexes]
    body = json.dumps({"code": 400, "failed_records": failed})
    return Fault(action="status", status=400, body=body, endpoints=("/import",))


async def test_suspected_setting_leaves_its_queue_to_the_caller_and_is_tried_at_once(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([refused(*range(2000))])
    async with delivering(tmp_path, destination(sandbox, batch_records=20)) as rig:
        rig.may_wake.clear()
        for start in range(0, 200, 20):
            await rig.append("import", *events(start, start + 20))
        await waiting(rig, "paused")
        async with asyncio.timeout(5), rig.spool.outlet(IMPORT).withheld() as sent:
            assert sent == frozenset()
            chunks = await rig.spool.read(IMPORT, max_records=100)
            assert len(chunks) == 5
            await rig.spool.settle(
                Settle(queue=IMPORT, chunk_ids=tuple(c.id for c in chunks), delivered=100)
            )
        await until(lambda: rig.status()["in_flight"] == 1)
        sandbox.faults.replace([])
        rig.delivery.hurry(IMPORT)
        async with asyncio.timeout(10):
            await rig.delivered()
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(100, 200))
        assert rig.counts() == (200, 0, 0)
        assert rig.status()["state"] == "ok"


async def test_withholding_while_a_setting_is_suspected_loses_and_doubles_nothing(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """Probes are cut off at any moment: what was taken of them is not sent again."""
    async with delivering(tmp_path, destination(sandbox, batch_records=20)) as rig:
        for start in range(0, 400, 20):
            bad = {"time": "never"} if start < 300 else {}
            await rig.append("import", *(event(n, **bad) for n in range(start, start + 20)))
        for _ in range(60):
            async with asyncio.timeout(10), rig.spool.outlet(IMPORT).withheld():
                pass
            await asyncio.sleep(0.002)
        await rig.delivered()
        assert rig.counts() == (100, 300, 0)
        assert rig.status()["state"] == "ok"
        assert sandbox.store.counts["/import"].duplicates == 0
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(300, 400))
