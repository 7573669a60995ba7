"""Unmodified SDKs send through a gateway into a sandbox, in good times and in bad ones."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.sdks.catalogue import SDKS, Hardship, Sdk
from tests.sdks.stage import Stage, as_sent, send, stage_for, verdict
from tests.support.faultfs import Operation
from tests.support.oracle_events import Event
from tests.support.oracle_judge import records_of
from tests.support.oracle_sdk import Report, key_of
from tests.support.processes import wait_for

OUTAGE_S = 2.0
PATIENCE_S = 40.0

each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)


@each_sdk
async def test_everything_arrives_exactly_once(tmp_path: Path, sdk: Sdk) -> None:
    events = sdk.events(100)
    async with stage_for(sdk, tmp_path) as stage:
        assert (await send(stage, sdk, events)).given_up == []
        ledger = await stage.gateway.drained()
    sent = as_sent(stage, sdk, events)
    verdict(stage, sdk, sent).assert_exactly_once()
    records = records_of(sent, sdk.oracle).total()
    assert ledger["accepted"] == ledger["delivered"] == records


@each_sdk
async def test_poison_event_costs_no_other(tmp_path: Path, sdk: Sdk) -> None:
    events = sdk.events(20)
    async with stage_for(sdk, tmp_path) as stage:
        poison = {**sdk.poison, "context": {}}
        report = await send(stage, sdk, [*events[:10], poison, *events[10:]])
        assert bool(report.given_up) == sdk.tells_poison, report.given_up
        ledger = await stage.gateway.drained()
        letters = (await stage.gateway.statusz())["dead_letters"]
    sent = as_sent(stage, sdk, events)
    verdict(stage, sdk, sent).assert_exactly_once()
    assert ledger["delivered"] == records_of(sent, sdk.oracle).total()
    assert letters["kept"] == 1


@each_sdk
async def test_gateway_that_cannot_store_loses_nothing(tmp_path: Path, sdk: Sdk) -> None:
    events = sdk.events(60)
    async with stage_for(sdk, tmp_path, has_faulty_disk=True) as stage:
        stage.disk.set(Operation.WRITE, errno.ENOSPC)
        sending = asyncio.create_task(send(stage, sdk, events, pause_ms=50))
        await under_way(sending, partial(has_refused, stage))
        await asyncio.sleep(OUTAGE_S)
        stage.disk.clear()
        report = await sending
        await assert_nothing_lost(stage, sdk, events, report, "outage")


async def under_way(sending: asyncio.Task[Report], is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is true while the SDK is sending."""

    async def is_true_now() -> bool:
        assert not sending.done(), f"it ended too early, {sending.result()}"
        return await is_true()

    await wait_for(is_true_now, PATIENCE_S)


async def has_refused(stage: Stage) -> bool:
    """Whether a client has been answered 503."""
    metrics = await stage.gateway.metrics()
    return any("503" in name for name in metrics if name.startswith("gateway_http_requests"))


@each_sdk
async def test_gateway_that_is_killed_loses_nothing(tmp_path: Path, sdk: Sdk) -> None:
    events = sdk.events(80 if sdk.is_session else 150)
    async with stage_for(sdk, tmp_path) as stage:
        sending = asyncio.create_task(send(stage, sdk, events, pause_ms=5))
        await under_way(sending, partial(stage.gateway.has_accepted, 20))
        await stage.gateway.kill()
        await stage.gateway.restart()
        report = await sending
        await assert_nothing_lost(stage, sdk, events, report, "crash")


async def assert_nothing_lost(
    stage: Stage, sdk: Sdk, events: Sequence[Event], report: Report, hardship: Hardship
) -> None:
    """Fail unless everything has arrived that the SDK did not give up, and it did as it does."""
    ledger = await stage.gateway.drained()
    assert (ledger["gap"], ledger["dead_lettered"]) == (0, 0)
    if hardship not in sdk.may_give_up:
        assert bool(report.given_up) == (hardship in sdk.gives_up), report.given_up
    sent = as_sent(stage, sdk, events)
    kept = [event for event in sent if key_of(event) not in report.given_up]
    verdict(stage, sdk, sent, acknowledged=kept).assert_nothing_lost()
