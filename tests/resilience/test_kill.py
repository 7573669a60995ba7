"""SIGKILL at any moment: what was answered 200 arrives, and as it was sent."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.store import Kept
from tests.support.oracle import expected
from tests.support.oracle_client import Client
from tests.support.oracle_events import Event, mixed_events
from tests.support.oracle_judge import judge, records_of
from tests.support.oracle_sdk import completed, send_with
from tests.support.paths import TESTS
from tests.support.processes import TOKEN, GatewayProcess, wait_for

SDK = (sys.executable, str(TESTS / "sdks/python/send.py"), "segment")
LIBRARY = {"name": "analytics-python", "version": "2.4.0"}

MISBEHAVIOUR = (
    Fault(action="status", status=500, share=0.1),
    Fault(action="reset", after=True, share=0.05),
)


@asynccontextmanager
async def sandbox_with(faults: Sequence[Fault] = ()) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN, keep=1_000_000, faults=faults)
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()


def assert_balanced(ledger: dict[str, int], *, at_least: int) -> None:
    """Fail unless nothing has vanished and all that was acknowledged is in the ledger."""
    assert ledger["gap"] == 0, ledger
    assert ledger["dead_lettered"] == 0, ledger
    assert ledger["accepted"] >= at_least, ledger


@pytest.mark.parametrize("faults", [(), MISBEHAVIOUR], ids=["sandbox well", "sandbox misbehaves"])
async def test_killed_five_times_nothing_acknowledged_is_missing(
    tmp_path: Path, faults: Sequence[Fault]
) -> None:
    rng = Random(20)
    async with (
        sandbox_with(faults) as sandbox,
        GatewayProcess(tmp_path, sandbox.url, batch_records=50) as gateway,
    ):
        async with Client(gateway.url) as client:
            for kills_left in reversed(range(5)):
                enough = client.answered + rng.randint(20, 80)
                await wait_for(partial(client.has_answers, enough))
                await asyncio.sleep(rng.uniform(0.0, 0.02))  # any moment
                await gateway.kill()
                acknowledged = records_of(client.acknowledged).total()
                if not kills_left:
                    sandbox.faults.replace([])
                await gateway.restart()
                assert_balanced(await gateway.ledger(), at_least=acknowledged)
        assert_balanced(await gateway.drained(), at_least=0)
    counts = sandbox.store.counts.values()
    assert bool(faults) == any(each.misbehaved for each in counts)
    assert sum(each.rejected for each in counts) == 0
    arrived = sandbox.store.records()
    verdict = judge(arrived, acknowledged=client.acknowledged, sent=client.sent)
    verdict.assert_nothing_lost()


async def test_killed_while_sdk_sends_every_event_arrives(tmp_path: Path) -> None:
    rng = Random(21)
    events = list(islice(mixed_events(seed=1), 1000))
    began = datetime.now(UTC)
    async with (
        sandbox_with(MISBEHAVIOUR) as sandbox,
        GatewayProcess(tmp_path, sandbox.url, batch_records=50) as gateway,
    ):
        async with asyncio.TaskGroup() as tasks:
            sdk = tasks.create_task(send_with(SDK, events, gateway=gateway.url, pause_ms=2))
            for enough, faults in (
                (rng.randrange(100, 300), MISBEHAVIOUR),
                (rng.randrange(400, 700), ()),
            ):
                await wait_for(partial(gateway.has_accepted, enough))
                assert not sdk.done(), "nothing was under way"
                await gateway.kill()
                sandbox.faults.replace(faults)
                await gateway.restart()
                assert_balanced(await gateway.ledger(), at_least=enough)
        assert sdk.result().given_up == [], "the SDK goes on until each event is answered 200"
        ledger = await gateway.drained()
    arrived = sandbox.store.records()
    sent = completed(events, arrived, context={"library": LIBRARY}, began=began)
    assert_balanced(ledger, at_least=records_of(sent).total())
    judge(arrived, acknowledged=sent, sent=sent).assert_nothing_lost()


# The tests above are worth what the judge is.


def arrived_from(events: Sequence[Event]) -> list[Kept]:
    return [
        Kept(
            endpoint=item.endpoint,
            received_ms=0,
            duplicate=False,
            event=None,
            record=json.dumps(item.record).encode(),
        )
        for event in events
        for item in expected(event, TOKEN)
    ]


def some_events() -> list[Event]:
    stamp = {"messageId": "made-by-sdk", "timestamp": "2026-03-01T12:00:00.000+00:00"}
    return [
        {**stamp, **event, "context": {"library": LIBRARY}}
        for event in islice(mixed_events(), 1, 20, 2)
    ]


def test_judge_of_what_was_sent_finds_nothing() -> None:
    events = some_events()
    verdict = judge(arrived_from(events), acknowledged=events, sent=events)
    verdict.assert_exactly_once()


def test_judge_of_missing_record_tells_it() -> None:
    events = some_events()
    arrived = arrived_from(events)
    lost = arrived.pop(3)
    verdict = judge(arrived, acknowledged=events, sent=events)
    insert_id = json.loads(lost.record)["properties"]["$insert_id"]
    with pytest.raises(AssertionError, match=f"1 missing(?s:.*){insert_id}"):
        verdict.assert_nothing_lost()


def test_judge_of_missing_record_that_was_not_acknowledged_finds_nothing() -> None:
    events = some_events()
    verdict = judge(arrived_from(events[1:]), acknowledged=events[1:], sent=events)
    verdict.assert_exactly_once()


def test_judge_of_damaged_record_tells_both_sides() -> None:
    events = some_events()
    arrived = arrived_from(events)
    arrived[0] = arrived[0]._replace(record=arrived[0].record.replace(b'"time": ', b'"time": 1'))
    verdict = judge(arrived, acknowledged=events, sent=events)
    assert (len(verdict.missing), len(verdict.foreign)) == (1, 1)


def test_judge_of_record_that_counts_twice_tells_its_id() -> None:
    events = some_events()
    arrived = arrived_from(events)
    verdict = judge([*arrived, arrived[0]], acknowledged=events, sent=events)
    assert len(verdict.repeated) == 1
    repeated = arrived[0]._replace(duplicate=True)
    judge([*arrived, repeated], acknowledged=events, sent=events).assert_nothing_lost()
