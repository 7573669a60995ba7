"""Records that the service never answers, while it takes all others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.faults import EndpointPath
from gateway.spool.dead_letters import Filter
from tests.support.delivering import (
    TOKEN,
    Rig,
    delivering,
    destination,
    event,
    events,
    ids,
    numbers,
    until,
)

POISON = "p0ison"

WAYS: dict[str, dict[str, Any]] = {
    "500": {"action": "status", "status": 500},
    "503": {"action": "status", "status": 503, "retry_after_s": 7},
    "timeout": {"action": "stall", "stall_s": 60},
    "reset": {"action": "reset"},
    # As a firewall may answer that looks into what is sent.
    **{str(each): {"action": "status", "status": each} for each in (204, 302, 401, 404, 405)},
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


def of_profile(profile: str, number: int, **more: object) -> bytes:
    record = {"$token": TOKEN, "$distinct_id": profile, "$set": {"n": number, **more}}
    return json.dumps(record).encode()


def make(endpoint: EndpointPath, number: int, *, poison: bool = False) -> bytes:
    """A record; on an ordered endpoint, each of four profiles gets each fourth one."""
    if endpoint == "/import":
        return event(number, **({"text": POISON} if poison else {}))
    profile = "bad" if poison else f"u{number % 4}"
    return of_profile(profile, number, **({"text": POISON} if poison else {}))


async def keep_sending(
    rig: Rig, endpoint: EndpointPath, sent: list[int], enough: Callable[[], bool]
) -> None:
    while not enough():
        await rig.append(endpoint[1:], make(endpoint, sent[-1] + 1))
        sent.append(sent[-1] + 1)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_what_is_never_answered_stops_nobody(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath, way: str
) -> None:
    """It is first in the queue, others are with it in its batch, and more come later."""
    sandbox.faults.replace([Fault(holding=POISON, **WAYS[way])])
    async with delivering(tmp_path, destination(sandbox, request_timeout_s=0.2)) as rig:
        await rig.append(
            endpoint[1:],
            make(endpoint, 1, poison=True),
            *(make(endpoint, number) for number in range(10, 40)),
        )
        await until(lambda: sandbox.store.counts[endpoint].misbehaved >= 2)
        sent = [100]
        await rig.append(endpoint[1:], make(endpoint, 100))
        await until(lambda: sandbox.store.counts[endpoint].unique >= 31)
        async with asyncio.timeout(60):
            await keep_sending(rig, endpoint, sent, lambda: rig.counts()[1] == 1)
        await rig.delivered()
        (kept,) = await rig.spool.dead_letters.page(Filter())
        assert POISON.encode() in kept.letter.payload
        assert kept.letter.reason == "unanswered"
        assert kept.letter.detail
        assert rig.counts() == (30 + len(sent), 1, 0)
        assert sandbox.store.counts[endpoint].duplicates == 0
        assert rig.status(endpoint[1:])["state"] == "ok"
        if endpoint == "/engage":
            got = numbers(sandbox, endpoint)
            for remainder in range(4):
                mine = [number for number in got if number % 4 == remainder]
                assert mine == sorted(mine)


@pytest.mark.parametrize("status", [401, 404])
@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_nothing_becomes_a_dead_letter_by_a_wrong_setting(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath, status: int
) -> None:
    """However much waits, soon there is no more than one probe a minute."""
    sandbox.faults.replace([Fault(action="status", status=status)])
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        for start in range(0, 100, 10):
            await rig.append(
                endpoint[1:], *(make(endpoint, number) for number in range(start, start + 10))
            )
        await until(lambda: len(rig.slept) > 60)
        assert (rig.status(endpoint[1:])["state"], rig.counts()) == ("paused", (0, 0, 100))
        assert sandbox.store.counts[endpoint].requests <= len(rig.slept) + 4
        assert all(wait >= 59 for wait in rig.slept[20:])
        sandbox.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (100, 0, 0)
        assert sandbox.store.counts[endpoint].duplicates == 0


@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_nothing_becomes_a_dead_letter_in_an_outage(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    """One request at a time, with as long a pause as ever."""
    sandbox.faults.replace([Fault(action="status", status=503)])
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        for start in range(0, 100, 10):
            await rig.append(
                endpoint[1:], *(make(endpoint, number) for number in range(start, start + 10))
            )
        await until(lambda: len(rig.slept) > 60)
        status = rig.status(endpoint[1:])
        assert (status["state"], rig.counts()) == ("retrying", (0, 0, 100))
        assert sandbox.store.counts[endpoint].requests <= len(rig.slept) + 4
        assert all(55 < wait <= 65 for wait in rig.slept[6:])
        sandbox.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (100, 0, 0)
        assert sandbox.store.counts[endpoint].duplicates == 0
        if endpoint == "/engage":
            got = numbers(sandbox, endpoint)
            for remainder in range(4):
                mine = [number for number in got if number % 4 == remainder]
                assert mine == sorted(mine)


async def test_alone_in_the_queue_it_is_tried_for_ever(tmp_path: Path, sandbox: Sandbox) -> None:
    """Nothing shows that it is to blame, even where others passed before."""
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", event(0, text=POISON), *events(1, 9))
        await until(lambda: sandbox.store.counts["/import"].unique == 8)
        await until(lambda: sandbox.store.counts["/import"].misbehaved > 40)
        assert rig.counts() == (8, 0, 1)
        sandbox.faults.replace([])
        await rig.delivered()
        assert sorted(ids(sandbox)) == [f"id-{number}" for number in range(9)]
        assert rig.counts() == (9, 0, 0)


async def test_only_the_profile_of_what_is_not_answered_waits_for_it(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append(
            "engage",
            of_profile("bad", 1),
            of_profile("bad", 2, text=POISON),
            of_profile("bad", 3),
            *(of_profile("good", number) for number in range(10, 15)),
        )
        await rig.append("engage", of_profile("bad", 4), of_profile("good", 15))
        await until(lambda: sandbox.store.counts["/engage"].unique >= 7)
        await rig.append("engage", of_profile("bad", 5), of_profile("good", 16))
        await until(lambda: sandbox.store.counts["/engage"].unique >= 8)
        assert sorted(numbers(sandbox, "/engage")) == [1, *range(10, 17)]
        sandbox.faults.replace([])
        await rig.delivered()
        got = numbers(sandbox, "/engage")
        assert [number for number in got if number < 10] == [1, 2, 3, 4, 5]
        assert [number for number in got if number >= 10] == list(range(10, 17))


@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_a_restart_meanwhile_loses_and_doubles_nothing(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination("http://127.0.0.1:1")) as rig:
        for start in range(0, 60, 20):
            records = [make(endpoint, number) for number in range(start, start + 20)]
            records.insert(7, make(endpoint, 1000 + start, poison=True))
            await rig.append(endpoint[1:], *records)
    async with delivering(tmp_path, destination(sandbox, batch_records=21)) as rig:
        await until(lambda: sandbox.store.counts[endpoint].unique == 60)
        await asyncio.sleep(0.1)
        assert rig.counts()[1] == 0
    assert rig.counts() == (60, 0, 3)
    sandbox.faults.replace([])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.delivered()
        assert rig.counts() == (63, 0, 0)
        assert sandbox.store.counts[endpoint].unique == 63
        assert sandbox.store.counts[endpoint].duplicates == 0


@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_many_batches_with_poison_cost_little_waiting(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    """Once it is known that there is poison, a failed request is no reason for others to wait."""
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination("http://127.0.0.1:1")) as rig:
        for start in range(0, 3000, 100):
            records = [make(endpoint, number) for number in range(start, start + 100)]
            records.insert(start % 101, make(endpoint, 10000 + start, poison=True))
            await rig.append(endpoint[1:], *records)
    async with delivering(tmp_path, destination(sandbox, batch_records=101)) as rig:
        await until(lambda: sandbox.store.counts[endpoint].unique == 3000)
        waits = [wait for wait in rig.slept if wait > 1.0]
        assert sum(waits) < 200, "seconds in which nothing was sent"


@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_nothing_but_poison_looks_like_an_outage_until_others_come(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        for start in range(0, 100, 10):
            numbers = range(start, start + 10)
            await rig.append(endpoint[1:], *(make(endpoint, n, poison=True) for n in numbers))
        await until(lambda: sandbox.store.counts[endpoint].misbehaved > 60)
        assert rig.counts() == (0, 0, 100)
        assert rig.status(endpoint[1:])["state"] == "retrying"
        sent = [1000]
        await rig.append(endpoint[1:], make(endpoint, 1000))
        async with asyncio.timeout(60):
            await keep_sending(rig, endpoint, sent, lambda: rig.counts()[1] > 3)
        sandbox.faults.replace([])
        await rig.delivered()
        delivered, dead, _ = rig.counts()
        assert delivered + dead == 100 + len(sent)
        assert sandbox.store.counts[endpoint].unique == delivered


@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
@pytest.mark.parametrize("outage", [{"status": 500}, {"status": 429}, {"status": 401}])
async def test_an_outage_meanwhile_counts_against_nothing(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath, outage: dict[str, Any]
) -> None:
    poison = Fault(action="status", status=500, holding=POISON)
    sandbox.faults.replace([poison])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append(
            endpoint[1:],
            *(make(endpoint, number) for number in range(20)),
            make(endpoint, 20, poison=True),
        )
        await rig.append(endpoint[1:], make(endpoint, 100))
        await until(lambda: sandbox.store.counts[endpoint].unique == 21)
        sandbox.faults.replace([Fault(action="status", **outage)])
        before = sandbox.store.counts[endpoint].misbehaved
        await rig.append(endpoint[1:], *(make(endpoint, number) for number in range(101, 120)))
        await until(lambda: sandbox.store.counts[endpoint].misbehaved > before + 40)
        assert rig.counts()[1] == 0
        assert rig.status(endpoint[1:])["state"] != "ok"
        sandbox.faults.replace([poison])
        await until(lambda: sandbox.store.counts[endpoint].unique == 40)
        sandbox.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (41, 0, 0)
        assert sandbox.store.counts[endpoint].duplicates == 0


async def test_a_service_that_fails_now_and_then_costs_no_record(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """Each request fails nine times of ten, whatever is in it."""
    sandbox.faults.replace([Fault(action="status", status=500, share=0.9)])
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        for start in range(0, 200, 5):
            await rig.append("import", *events(start, start + 5))
        await until(lambda: rig.pending() == 0)
        assert rig.counts() == (200, 0, 0)
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_operators_see_what_is_tried_apart(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", event(0, text=POISON), *events(1, 9))
        await until(lambda: rig.status()["isolated"] == 1)
        labels = {"destination": "main", "endpoint": "import"}
        registry = rig.telemetry.registry
        assert registry.get_sample_value("gateway_delivery_isolated_records", labels) == 1
        sandbox.faults.replace([])
        await rig.delivered()
        await until(lambda: rig.status()["isolated"] == 0)
    (line,) = (line for line in caplog.messages if "failed alone" in line)
    assert line.startswith("delivery to main/import: ")


async def test_stopping_does_not_wait_for_what_only_waits_for_its_next_round(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=500, holding=POISON)])
    async with delivering(tmp_path, destination(sandbox), stop_s=30) as rig:
        await rig.append("import", event(0, text=POISON), *events(1, 9))
        await until(lambda: rig.status()["isolated"] == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert rig.counts() == (8, 0, 1)
