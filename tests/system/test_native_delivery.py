"""Mixpanel's own SDKs through a real gateway process to a sandbox: what Mixpanel would store."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.store import Kept
from tests.support.processes import TOKEN, GatewayProcess, wait_for

DAY_S = 86_400


def event(number: int, **properties: Any) -> dict[str, Any]:
    """Return an event as a phone sends it: without an id of its own, and a month old."""
    return {
        "event": "E",
        "properties": {
            "token": TOKEN,
            "time": 1_789_000_000_000 - 30 * DAY_S * 1000 + number,
            "distinct_id": f"$device:{number % 7}",
            "number": number,
            **properties,
        },
        "$mp_metadata": {"$mp_event_id": f"{number:016x}", "$mp_session_seq_id": number},
    }


def update(number: int) -> dict[str, Any]:
    return {"$token": TOKEN, "$distinct_id": f"u{number % 3}", "$append": {"numbers": number}}


async def post(session: aiohttp.ClientSession, url: str, records: list[dict[str, Any]]) -> bool:
    """Send records as Android does; return whether it may forget them."""
    body = urlencode({"data": json.dumps(records)})
    try:
        async with session.post(url, data=body) as response:
            return response.status == 200 and await response.text() == "1"
    except aiohttp.ClientError:
        return False


async def deliver(url: str, records: list[dict[str, Any]]) -> None:
    """Send records in batches, each again until it is acknowledged, as the SDKs do."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        for start in range(0, len(records), 50):
            await wait_for(partial(post, session, url, records[start : start + 50]), timeout=60)


def unique(kept: list[Kept], endpoint: str) -> list[Any]:
    return [
        json.loads(each.record) for each in kept if each.endpoint == endpoint and not each.duplicate
    ]


async def test_old_events_and_updates_arrive_as_they_were_sent(tmp_path: Path) -> None:
    sandbox = Sandbox(token=TOKEN, faults=(Fault(action="status", status=503, count=2),))
    await sandbox.start()
    try:
        async with GatewayProcess(tmp_path, sandbox.url) as gateway:
            events, updates = [event(n) for n in range(120)], [update(n) for n in range(60)]
            await deliver(f"{gateway.url}/track/?ip=1", events)
            await deliver(f"{gateway.url}/engage/?ip=0", updates)
            groups = [{"$token": TOKEN, "$group_key": "k", "$group_id": "i", "$delete": ""}]
            await deliver(f"{gateway.url}/groups/?ip=0", groups)
            ledger = await gateway.drained()
        kept = sandbox.store.records()
    finally:
        await sandbox.stop()

    assert ledger == {**ledger, "accepted": 181, "delivered": 181, "gap": 0}
    expected = [
        {
            "event": "E",
            "properties": {
                **each["properties"],
                "$insert_id": each["$mp_metadata"]["$mp_event_id"],
                "ip": "127.0.0.1",
            },
        }
        for each in events
    ]
    found = unique(kept, "/import")
    assert sorted(found, key=lambda each: each["properties"]["number"]) == expected
    assert unique(kept, "/engage") == updates
    assert unique(kept, "/groups") == groups


async def test_killed_twice_every_event_arrives_once(tmp_path: Path) -> None:
    """An SDK without an answer sends the same bytes again, and Mixpanel finds the duplicates."""
    sandbox = Sandbox(token=TOKEN)
    await sandbox.start()
    try:
        async with GatewayProcess(tmp_path, sandbox.url, batch_records=50) as gateway:
            sending = asyncio.create_task(
                deliver(f"{gateway.url}/track/?ip=0", [event(n) for n in range(4000)])
            )
            for accepted in (500, 2000):
                await wait_for(partial(gateway.has_accepted, accepted))
                await gateway.kill()
                await gateway.restart()
            await sending
            ledger = await gateway.drained()
        kept = sandbox.store.records()
    finally:
        await sandbox.stop()

    assert ledger["gap"] == ledger["dead_lettered"] == 0
    numbers = [each["properties"]["number"] for each in unique(kept, "/import")]
    assert sorted(numbers) == list(range(4000))
