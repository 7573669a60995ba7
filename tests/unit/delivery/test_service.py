"""Delivery as a whole: the real spool on one side, the Mixpanel stand-in on the other."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.delivery import linger
from gateway.delivery.adaptive_concurrency import START
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import Queue
from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.faults import EndpointPath
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.spool import SqliteSpool
from tests.support.delivering import (
    SECRET,
    TOKEN,
    delivering,
    destination,
    event,
    events,
    group_update,
    ids,
    numbers,
    until,
    update,
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN, api_secret=SECRET)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


async def test_each_endpoint_gets_its_records(tmp_path: Path, sandbox: Sandbox) -> None:
    async with delivering(tmp_path, destination(sandbox, secret=SECRET)) as rig:
        await rig.append("import", *events(0, 3))
        await rig.append("track", *events(3, 5))
        await rig.append("engage", update(0), update(1))
        await rig.append("groups", group_update(0))
        await rig.delivered()
        assert rig.counts() == (8, 0, 0)
        assert {e: c.unique for e, c in sandbox.store.counts.items()} == {
            "/import": 3,
            "/track": 2,
            "/engage": 2,
            "/groups": 1,
        }
        assert rig.waits() == []
        status = rig.status()
        assert (status["state"], status["consecutive_failures"]) == ("ok", 0)
        assert status["last_success_ms"] is not None
        metrics = rig.telemetry.render().decode()
    assert (
        'gateway_delivery_requests_total{destination="main",endpoint="import",outcome="Delivered"}'
        in metrics
    )


async def test_a_single_event_is_delivered_at_once(tmp_path: Path, sandbox: Sandbox) -> None:
    async with delivering(tmp_path, destination(sandbox)) as rig:
        for number in range(3):
            await rig.append("import", event(number))
            await asyncio.wait_for(rig.delivered(), 1.0)
        assert rig.slept == []


async def test_small_chunks_are_merged_into_few_requests(tmp_path: Path, sandbox: Sandbox) -> None:
    async with delivering(tmp_path, destination(sandbox, connections=1)) as rig:
        stall = Fault(action="stall", stall_s=0.3, count=1)
        sandbox.faults.replace([stall])
        for number in range(100):
            await rig.append("import", event(number))
        await rig.delivered()
        assert rig.counts() == (100, 0, 0)
        assert ids(sandbox) == [f"id-{number}" for number in range(100)]
        assert sandbox.store.counts["/import"].requests <= 30


async def test_what_does_not_fill_a_batch_waits_for_more(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linger, "LINGER_S", 0.5)
    async with delivering(tmp_path, destination(sandbox)) as rig:
        for requests in (1, 2):
            began = time.monotonic()
            for number in range(20):
                await rig.append("import", event(20 * requests + number))
            await rig.delivered()
            assert 0.45 < time.monotonic() - began < 5
            assert sandbox.store.counts["/import"].requests == requests
        assert ids(sandbox) == [f"id-{number}" for number in range(20, 60)]


@pytest.fixture
def for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fill a batch would wait longer than any test."""
    monkeypatch.setattr(linger, "LINGER_S", 3600.0)


@pytest.mark.usefixtures("for_ever")
async def test_a_full_batch_does_not_wait_for_more(tmp_path: Path, sandbox: Sandbox) -> None:
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        await rig.append("import", *events(0, 9))
        await asyncio.sleep(0.1)
        assert rig.counts() == (0, 0, 9)
        await rig.append("import", *events(9, 10))
        await rig.delivered()
        assert sandbox.store.counts["/import"].requests == 1
        # What comes next waits again, until it is full as well.
        await rig.append("import", *events(10, 13))
        await asyncio.sleep(0.1)
        assert rig.counts() == (10, 0, 3)
        await rig.append("import", *events(13, 23))
        await rig.delivered()


@pytest.mark.usefixtures("for_ever")
async def test_what_an_earlier_process_left_does_not_wait_for_more(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *events(0, 9))
    assert rig.counts() == (0, 0, 9)
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.delivered()
    assert sandbox.store.counts["/import"].requests == 1


@pytest.mark.usefixtures("for_ever")
@pytest.mark.parametrize("endpoint", ["/import", "/engage"])
async def test_nothing_waits_for_more_when_stopping(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    make = update if endpoint == "/engage" else event
    sandbox.faults.replace([Fault(action="stall", stall_s=0.3, count=1)])
    async with delivering(tmp_path, destination(sandbox, batch_records=10), stop_s=30) as rig:
        for numbers in (range(10), range(10, 19)):  # the second waits for more
            await rig.append(endpoint[1:], *map(make, numbers))
        await until(lambda: sandbox.store.counts[endpoint].misbehaved == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert rig.counts() == (19, 0, 0)


@pytest.mark.usefixtures("for_ever")
async def test_what_is_given_back_does_not_wait_for_more(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=60, count=2)])
    limited = destination(sandbox, batch_records=10, request_timeout_s=0.3)
    async with delivering(tmp_path, destination("http://127.0.0.1:1")) as rig:
        for start, stop in ((0, 10), (10, 14)):
            await rig.append("import", *events(start, stop))
    async with delivering(tmp_path, limited) as rig:
        rig.may_wake.clear()
        # The first one waits for its next attempt, the second is given back meanwhile.
        await until(lambda: sandbox.store.counts["/import"].misbehaved == 2)
        await until(lambda: rig.status()["in_flight"] == 1)
        await rig.append("import", event(14))
        rig.may_wake.set()
        await until(lambda: rig.counts()[0] >= 14)


async def test_a_chunk_above_the_batch_limit_is_cut(tmp_path: Path, sandbox: Sandbox) -> None:
    async with delivering(tmp_path, destination(sandbox, batch_records=40)) as rig:
        await rig.append("import", *events(0, 100))
        await rig.delivered()
        assert rig.counts() == (100, 0, 0)
        assert sandbox.store.counts["/import"].requests == 3


async def test_records_that_cannot_be_read_do_not_keep_the_others_back(
    tmp_path: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Memory may have been wrong when they were compressed: the checksum is right."""
    async with delivering(tmp_path, destination(sandbox, batch_records=400)) as rig:
        with monkeypatch.context() as patch:
            patch.setattr("gateway.spool.chunks.igzip.compress", lambda data, *_, **__: data[:9])
            await rig.append("import", *events(0, 1000))
        await rig.append("import", *events(1000, 1010))
        await until(lambda: rig.counts()[0] == 10)
        await rig.append("import", *events(1010, 1020))
        await until(lambda: rig.counts()[0] == 20)
        assert rig.counts() == (20, 0, 1000)
        assert ids(sandbox) == [f"id-{number}" for number in range(1000, 1020)]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "main/import: 1000 records cannot be read, of chunks 1 to 1; they are kept" in told[0]


async def test_server_errors_are_retried_until_it_works(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.delivery")
    sandbox.faults.replace([Fault(action="status", status=500, count=3)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *events(0, 10))
        await rig.delivered()
        assert rig.counts() == (10, 0, 0)
        assert sandbox.store.counts["/import"].requests == 4
        waits = zip((2, 4, 8), rig.waits(), strict=True)
        assert all(base + 0.9 < wait < base + 5 for base, wait in waits)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_too_many_requests_wait_as_long_as_asked(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="status", status=429, retry_after_s=90, count=1)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *events(0, 10))
        await rig.delivered()
        assert rig.counts() == (10, 0, 0)
        assert len(rig.waits()) == 1
        assert 89 < rig.waits()[0] <= 90


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("action", ["reset", "status"])
async def test_trouble_after_the_commit_duplicates_but_never_loses(
    tmp_path: Path, sandbox: Sandbox, action: Any, after: bool
) -> None:
    sandbox.faults.replace([Fault(action=action, status=502, after=after, count=2)])
    async with delivering(tmp_path, destination(sandbox, connections=2)) as rig:
        for start in range(0, 100, 10):
            await rig.append("import", *events(start, start + 10))
        await rig.delivered()
        assert rig.counts() == (100, 0, 0)
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(100))
        assert (sandbox.store.counts["/import"].duplicates > 0) is after


async def test_no_answer_in_time_is_retried(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=60, count=1)])
    async with delivering(tmp_path, destination(sandbox, request_timeout_s=0.2)) as rig:
        rig.may_wake.clear()
        await rig.append("import", *events(0, 10))
        await until(lambda: rig.status()["detail"] == "no answer in time")
        rig.may_wake.set()
        await rig.delivered()
        assert rig.counts() == (10, 0, 0)


async def test_no_server_at_all_is_retried_without_showing_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    nowhere = destination("http://127.0.0.1:1", secret=SECRET)
    async with delivering(tmp_path, nowhere) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: rig.status()["consecutive_failures"] > 2)
        status = rig.status()
        assert status["state"] == "retrying"
        assert "127.0.0.1:1" in status["detail"]
        assert status["in_flight"] == 1
        assert rig.counts() == (0, 0, 10)
    assert SECRET not in caplog.text + repr(status)


async def test_failed_records_become_dead_letters_and_the_rest_is_delivered(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    bad = event(7, time="yesterday"), event(8, distinct_id="null")
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *events(0, 3), bad[0], *events(3, 6), bad[1])
        await rig.delivered()
        assert rig.counts() == (6, 2, 0)
        assert sandbox.store.counts["/import"].requests == 1
        stored = [kept.letter for kept in await rig.spool.dead_letters.page(Filter())]
        assert [(d.queue, d.kind, d.reason, d.payload) for d in stored] == [
            (Queue("main", "import"), "record", "refused", record) for record in bad
        ]
        assert "properties.time" in stored[0].detail
        assert "properties.distinct_id" in stored[1].detail


async def test_first_dead_letter_of_a_kind_is_told(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(tmp_path, destination(sandbox)) as rig:
        for number in range(3):
            bad = event(2 * number, time="yesterday")
            await rig.append("import", bad, event(2 * number + 1))
            await rig.delivered()
        assert rig.counts() == (3, 3, 0)
    lines = [line for line in caplog.messages if "dead letter" in line]
    assert lines == [
        "delivery to main/import: a record became a dead letter, refused; "
        "see gateway dead-letters list"
    ]


@pytest.mark.parametrize("endpoint", ["/import", "/track", "/engage"])
async def test_a_refusal_without_failed_records_isolates_the_bad_record(
    tmp_path: Path, sandbox: Sandbox, endpoint: EndpointPath
) -> None:
    make = update if endpoint == "/engage" else event
    bad = b'{"event": not json}'
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append(endpoint[1:], *map(make, range(37)), bad, *map(make, range(37, 64)))
        await rig.delivered()
        assert rig.counts() == (64, 1, 0)
        (kept,) = await rig.spool.dead_letters.page(Filter())
        assert (kept.letter.reason, kept.letter.payload) == ("refused", bad)
        counts = sandbox.store.counts[endpoint]
        assert (counts.unique, counts.duplicates) == (64, 0)
        assert counts.requests <= 15


@pytest.mark.parametrize("member", ["num_records_imported", "num_good_events"])
async def test_a_count_below_what_was_sent_has_the_records_sent_again(
    tmp_path: Path, sandbox: Sandbox, member: str
) -> None:
    body = f'{{"code": 200, "{member}": "0", "status": "OK"}}'
    sandbox.faults.replace([Fault(action="status", status=200, body=body, count=1)])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", event(0), event(1), event(2))
        await rig.delivered()
        assert rig.counts() == (3, 0, 0)
    assert sandbox.store.counts["/import"].unique == 3


async def test_413_splits_until_the_record_that_is_too_large_is_alone(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(sandbox, batch_bytes=8 * 2**20)) as rig:
        sandbox.faults.replace([Fault(action="status", status=503, count=1)])
        await rig.append("import", event(0, text="x" * 500_000), event(1, text="x" * 2_200_000))
        await rig.append("import", *(event(n, text="x" * 500_000) for n in range(2, 7)))
        await rig.delivered()
        assert rig.counts() == (6, 1, 0)
        (kept,) = await rig.spool.dead_letters.page(Filter())
        assert kept.letter.reason == "too_large"
        assert "2097152 bytes" in kept.letter.detail
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_refused_credentials_pause_the_destination_until_they_work(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.delivery")
    sandbox.faults.replace([Fault(action="status", status=401, endpoints=("/import",))])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: rig.status()["consecutive_failures"] >= 2)
        await rig.append("engage", update(0))
        await until(lambda: rig.status()["consecutive_failures"] >= 6)
        for endpoint in ("import", "track", "engage", "groups"):
            assert rig.status(endpoint)["state"] == "paused"
            assert "credentials refused (401)" in rig.status(endpoint)["detail"]
        assert rig.counts() == (0, 0, 11)
        assert sandbox.store.counts["/engage"].requests == 0
        # The wait is computed from a clock that runs on: a little less than what was decided.
        assert [round(wait) for wait in rig.waits()[:5]] == [60, 120, 240, 480, 600]
        sandbox.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (11, 0, 0)
        assert rig.status("engage")["state"] == "ok"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_wrong_address_pauses_and_keeps_the_records(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(f"{sandbox.url}/nothing/here/")) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: rig.status()["state"] == "paused")
        assert "base_url" in rig.status()["detail"]
        assert rig.counts() == (0, 0, 10)


BAD_WAYS: dict[EndpointPath, Any] = {
    "/import": lambda number: event(number, time="never"),
    "/track": lambda number: event(number, time="never"),
    "/engage": lambda number: update_of(f"bad-{number % 3}", {"$add": {"n": "text"}}),
    "/groups": lambda number: group_update_of(f"bad-{number % 3}", {"$add": {"n": "text"}}),
}
GOOD_WAYS: dict[EndpointPath, Any] = {
    "/import": event,
    "/track": event,
    "/engage": update,
    "/groups": group_update,
}


def update_of(profile: str, operation: dict[str, object]) -> bytes:
    return json.dumps({"$token": TOKEN, "$distinct_id": profile, **operation}).encode()


def group_update_of(group: str, operation: dict[str, object]) -> bytes:
    record = {"$token": TOKEN, "$group_key": "k", "$group_id": group, **operation}
    return json.dumps(record).encode()


@pytest.fixture
async def pedant() -> AsyncIterator[Sandbox]:
    """Refuses a request to any endpoint if any record in it is bad."""
    sandbox = Sandbox(token=TOKEN, atomic=True)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


@pytest.mark.parametrize("endpoint", BAD_WAYS)
@pytest.mark.parametrize(
    "order",
    [
        ["bad", 12, "good", 5],
        ["good", 5, "bad", 300],
        ["bad", 150, "good", 1, "bad", 150],
        ["bad", 1000, "good", 700],
    ],
)
async def test_bad_records_never_pause_what_others_sent(
    tmp_path: Path, pedant: Sandbox, endpoint: EndpointPath, order: list[Any]
) -> None:
    numbers = iter(range(10_000))
    good = bad = 0
    async with delivering(tmp_path, destination("http://127.0.0.1:1")) as rig:
        for kind, count in zip(order[::2], order[1::2], strict=True):
            make = GOOD_WAYS[endpoint] if kind == "good" else BAD_WAYS[endpoint]
            await rig.append(endpoint[1:], *(make(next(numbers)) for _ in range(count)))
            good, bad = (good + count, bad) if kind == "good" else (good, bad + count)
    async with delivering(tmp_path, destination(pedant)) as rig:
        await rig.delivered()
        assert rig.counts() == (good, bad, 0)
        if order[0] != "bad" or order[1] < 150 or order[3] > 1:
            assert rig.waits() == []
        elif endpoint == "/import":  # one in three hundred is not in the first few
            assert len(rig.waits()) <= 1
        assert rig.status(endpoint[1:])["state"] == "ok"
    assert pedant.store.counts[endpoint].unique == good


@pytest.mark.parametrize("endpoint", BAD_WAYS)
async def test_what_comes_later_heals_a_queue_that_only_got_garbage(
    tmp_path: Path, pedant: Sandbox, endpoint: EndpointPath
) -> None:
    async with delivering(tmp_path, destination(pedant)) as rig:
        rig.may_wake.clear()
        await rig.append(endpoint[1:], *map(BAD_WAYS[endpoint], range(30)))
        await until(lambda: rig.status(endpoint[1:])["state"] == "paused")
        assert rig.counts() == (0, 0, 30)
        assert "looks like a wrong setting" in rig.status(endpoint[1:])["detail"]
        await rig.append(endpoint[1:], GOOD_WAYS[endpoint](100))
        await until(lambda: rig.slept[-1] <= 1.0)  # a new record does not wait for a minute
        rig.may_wake.set()
        await rig.delivered()
        assert rig.counts() == (1, 30, 0)
        assert rig.status(endpoint[1:])["state"] == "ok"


@pytest.mark.parametrize("endpoint", BAD_WAYS)
async def test_only_refusals_pause_within_a_hundred_records_and_keep_them(
    tmp_path: Path, pedant: Sandbox, endpoint: EndpointPath
) -> None:
    async with delivering(tmp_path, destination("http://127.0.0.1:1")) as rig:
        for start in range(0, 6000, 500):
            bad = map(BAD_WAYS[endpoint], range(start, start + 500))
            await rig.append(endpoint[1:], *bad)
    for _ in range(2):  # a restart changes nothing
        pedant.store.clear()
        async with delivering(tmp_path, destination(pedant)) as rig:
            rig.may_wake.clear()
            await until(lambda: rig.status(endpoint[1:])["state"] == "paused")
            assert rig.counts() == (0, 0, 6000)
            await until(lambda: [round(wait) for wait in rig.waits()] == [60])
    if endpoint == "/import":  # the others have to be asked again and again
        assert pedant.store.counts[endpoint].rejected <= 100


@pytest.mark.parametrize("endpoint", ["/track", "/engage", "/groups"])
async def test_others_go_on_while_bad_records_are_looked_for(
    tmp_path: Path, pedant: Sandbox, endpoint: EndpointPath
) -> None:
    name = endpoint[1:]
    async with delivering(tmp_path, destination(pedant)) as rig:
        await rig.append(name, GOOD_WAYS[endpoint](0))
        await rig.delivered()
        pedant.faults.replace([Fault(action="stall", stall_s=0.1)])
        await rig.append(name, *map(BAD_WAYS[endpoint], range(100, 400)))
        await until(lambda: pedant.store.counts[endpoint].misbehaved >= 3)
        for number in range(1, 6):
            began = time.monotonic()
            await rig.append(name, GOOD_WAYS[endpoint](number))
            await until(lambda: pedant.store.counts[endpoint].unique > number)  # noqa: B023
            assert time.monotonic() - began < 2
        assert rig.pending() >= 300
        pedant.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (6, 300, 0)


async def test_updates_of_one_profile_do_not_overtake_those_that_are_looked_through(
    tmp_path: Path, pedant: Sandbox
) -> None:
    async with delivering(tmp_path, destination(pedant)) as rig:
        await rig.append("engage", update(0))
        await rig.delivered()
        pedant.faults.replace([Fault(action="stall", stall_s=0.02)])
        for start in range(1, 61, 6):
            bad = update_of("u1", {"$add": {"n": "text"}})
            await rig.append("engage", *map(update, range(start, start + 3)), bad)
            await rig.append("engage", bad, *map(update, range(start + 3, start + 6)))
            await asyncio.sleep(0.05)
        await rig.delivered()
        assert rig.counts() == (61, 20, 0)
        assert numbers(pedant, "/engage") == list(range(61))


async def test_a_firewall_that_blocks_one_record_costs_no_other(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    """It answers 403 with a page to whatever holds a certain word."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if b"attack" in body:
            return web.Response(status=403, text="<html>Request blocked</html>")
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{sandbox.url}{request.path_qs}",
                data=body,
                headers={
                    "Authorization": request.headers["Authorization"],
                    "Content-Type": "application/x-ndjson",
                },
            ) as response,
        ):
            return web.Response(status=response.status, body=await response.read())

    app = web.Application()
    app.router.add_post("/import", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with delivering(tmp_path, destination(url)) as rig:
            await rig.append("import", event(0, text="attack"))
            await until(lambda: rig.status()["state"] == "paused")
            assert "credentials" not in rig.status()["detail"]
            assert "firewall" in rig.status()["detail"]
            await rig.append("import", *events(1, 50), event(50, text="attack"), *events(51, 60))
            await rig.delivered()
            assert rig.counts() == (58, 2, 0)
            assert rig.status()["state"] == "ok"
            letters = [kept.letter for kept in await rig.spool.dead_letters.page(Filter())]
            assert all("403" in letter.detail for letter in letters)
    finally:
        await runner.cleanup()


async def test_an_endpoint_with_a_wrong_address_holds_up_no_other(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=404, endpoints=("/groups",))])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("groups", group_update(0))
        await until(lambda: rig.status("groups")["state"] == "paused")
        await rig.append("import", event(0))
        await until(lambda: rig.counts() == (1, 0, 1))
        assert rig.status("import")["state"] == "ok"
        metrics = rig.telemetry.render().decode()
    labels = 'destination="main",endpoint="groups",state='
    assert f'gateway_delivery_state{{{labels}"paused"}} 1.0' in metrics
    assert f'gateway_delivery_state{{{labels}"ok"}} 0.0' in metrics


async def test_a_corrected_setting_costs_no_record_and_no_order(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=200, body="0")])
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("engage", *map(update, range(200)))
        await until(lambda: rig.status("engage")["consecutive_failures"] >= 3)
        assert rig.counts() == (0, 0, 200)
        sandbox.faults.replace([])
        await rig.delivered()
        assert rig.counts() == (200, 0, 0)
        assert numbers(sandbox, "/engage") == list(range(200))


async def test_nine_bad_events_alone_are_just_dead_letters(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", *(event(number, time="never") for number in range(9)))
        await rig.delivered()
        assert rig.counts() == (0, 9, 0)
        assert rig.status()["state"] == "ok"


async def test_profile_updates_keep_their_order_across_retries(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace(
        [
            Fault(action="status", status=503, share=0.2),
            Fault(action="reset", share=0.2),
            Fault(action="status", status=413, share=0.2),
        ]
    )
    async with delivering(tmp_path, destination(sandbox, batch_records=7)) as rig:
        for start in range(0, 200, 5):
            await rig.append("engage", *map(update, range(start, start + 5)))
            await rig.append("groups", group_update(start))
        await rig.delivered()
        delivered, dead, _ = rig.counts()
        assert delivered + dead == 240
        for endpoint in ("/engage", "/groups"):
            got = numbers(sandbox, endpoint)
            assert got == sorted(got)
            assert len(got) == len(set(got))


async def test_the_endpoints_of_a_destination_share_its_rate(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    limited = destination(sandbox, records_per_second=200, batch_records=20)
    async with delivering(tmp_path, limited) as rig:
        started = time.monotonic()
        await rig.append("import", *events(0, 160))
        await rig.append("engage", *map(update, range(140)))
        await rig.delivered()
        # 200 pass at once, the other 100 take half a second.
        assert 0.45 < time.monotonic() - started < 3
        assert rig.counts() == (300, 0, 0)


@pytest.mark.parametrize(("tokens", "least_s"), [(("same", "same"), 1.0), (("one", "two"), 0.0)])
async def test_destinations_of_one_project_share_its_rate(
    tmp_path: Path, tokens: tuple[str, str], least_s: float
) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        first = destination(sandbox, "first", token=tokens[0], records_per_second=10)
        # The lower of two limits counts, and the case of a host name does not.
        url = sandbox.url.replace("http", "HTTP")
        second = destination(url, "second", token=tokens[1], records_per_second=11)
        async with delivering(tmp_path, first, second) as rig:
            started = time.monotonic()
            await rig.append("import", *events(0, 10), destination="first")
            await rig.append("engage", *map(update, range(10)), destination="second")
            await asyncio.gather(rig.delivered("first"), rig.delivered("second"))
            took = time.monotonic() - started
            assert took >= 0.95 * least_s
            assert least_s or took < 0.9
    finally:
        await sandbox.stop()


async def test_the_rate_counts_uncompressed_bytes(tmp_path: Path, sandbox: Sandbox) -> None:
    limited = destination(sandbox, bytes_per_minute=60 * 100_000)
    async with delivering(tmp_path, limited) as rig:
        started = time.monotonic()
        await rig.append("import", *(event(n, text="x" * 30_000) for n in range(5)))
        await rig.delivered()
        # 150 kB of a single letter; 100 kB pass at once.
        assert 0.45 < time.monotonic() - started < 5
        assert rig.counts() == (5, 0, 0)


async def test_a_dead_destination_does_not_slow_another(tmp_path: Path, sandbox: Sandbox) -> None:
    stalling = Sandbox(token=TOKEN, faults=[Fault(action="stall", stall_s=3600)])
    await stalling.start()
    try:
        good, bad = destination(sandbox, "good"), destination(stalling, "bad", batch_records=50)
        async with delivering(tmp_path, good, bad) as rig:
            for start in range(0, 300, 10):
                await rig.append("import", *events(start, start + 10), destination="bad")
                await rig.append("import", *events(start, start + 10), destination="good")
            await rig.delivered("good")
            assert rig.counts("good") == (300, 0, 0)
            assert rig.counts("bad") == (0, 0, 300)
            assert rig.status(destination="bad")["in_flight"] == START
    finally:
        await stalling.stop()


def seed_that_lets_two_pass() -> int:
    """The sandbox's dice for a fault with share 0.5 that strikes the third request."""

    def lets_two_pass(seed: int) -> bool:
        dice = Random(seed)
        return [dice.random() < 0.5 for _ in range(3)] == [False, False, True]

    return next(filter(lets_two_pass, range(1000)))


@asynccontextmanager
async def failing_halfway(fault: Fault) -> AsyncIterator[Sandbox]:
    """A sandbox that fails the second half of a batch with a bad record in it."""
    sandbox = Sandbox(token=TOKEN, seed=seed_that_lets_two_pass(), faults=[fault])
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()


HALVES = [*events(0, 20), b"not json", *events(20, 39)]


async def test_what_is_done_is_settled_while_the_rest_waits(tmp_path: Path) -> None:
    fault = Fault(action="status", status=503, share=0.5, count=1)
    async with (
        failing_halfway(fault) as sandbox,
        delivering(tmp_path, destination(sandbox)) as rig,
    ):
        rig.may_wake.clear()
        await rig.append("import", *HALVES)
        await until(lambda: rig.counts() == (20, 0, 20))
        assert rig.status()["state"] == "retrying"
        rig.may_wake.set()
        await rig.delivered()
        assert rig.counts() == (39, 1, 0)
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_a_restart_in_the_middle_loses_nothing_and_sends_nothing_done_again(
    tmp_path: Path,
) -> None:
    async with failing_halfway(Fault(action="stall", stall_s=3600, share=0.5)) as sandbox:
        async with delivering(tmp_path, destination(sandbox)) as rig:
            await rig.append("import", *HALVES)
            await until(lambda: sandbox.store.counts["/import"].misbehaved == 1)
        assert rig.counts() == (20, 0, 20)
        sandbox.faults.replace([])
        async with delivering(tmp_path, destination(sandbox)) as rig:
            await rig.delivered()
            assert rig.counts() == (39, 1, 0)
            assert sorted(ids(sandbox)) == sorted(f"id-{number}" for number in range(39))
            assert sandbox.store.counts["/import"].duplicates == 0


async def test_stopping_delivers_what_is_waiting(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=0.2, share=0.5)])
    async with delivering(tmp_path, destination(sandbox, batch_records=20), stop_s=10) as rig:
        for start in range(0, 200, 10):
            await rig.append("import", *events(start, start + 10))
    assert sandbox.store.counts["/import"].unique == 200
    assert rig.counts() == (200, 0, 0)


async def test_stopping_ends_in_time_and_keeps_what_is_not_delivered(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=3600)])
    async with delivering(tmp_path, destination(sandbox), stop_s=0.2) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: sandbox.store.counts["/import"].misbehaved == 1)
        started = time.monotonic()
    assert 0.2 <= time.monotonic() - started < 2
    assert rig.pending() == 10


async def test_stopping_does_not_wait_for_a_paused_destination(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=403)])
    async with delivering(tmp_path, destination(sandbox), stop_s=30) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: rig.status()["state"] == "paused")
        started = time.monotonic()
    assert time.monotonic() - started < 5


class StubbornSpool(SqliteSpool):
    """Cannot take note of anything at first."""

    refusals = 2

    async def settle(self, settlement: Settle) -> None:
        if self.refusals:
            self.refusals -= 1
            raise SpoolUnavailable("the disk is full")
        await super().settle(settlement)


async def test_what_is_delivered_is_not_sent_again_when_the_spool_cannot_take_note(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    async with delivering(tmp_path, destination(sandbox), spool_type=StubbornSpool) as rig:
        await rig.append("import", *events(0, 10))
        await rig.delivered()
        assert rig.counts() == (10, 0, 0)
        assert sandbox.store.counts["/import"].requests == 1
        assert len(rig.waits()) == 2


class AmbiguousSpool(SqliteSpool):
    """Says of its first commits that they failed; some have happened all the same."""

    failing = 3

    async def settle(self, settlement: Settle) -> None:
        await super().settle(settlement)
        if self.failing:
            self.failing -= 1
            raise SpoolUnavailable("no answer from the disk")


async def test_a_settlement_that_happened_in_spite_of_an_error_counts_as_done(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(tmp_path, destination(sandbox), spool_type=AmbiguousSpool) as rig:
        for start in range(0, 40, 10):
            await rig.append("import", *events(start, start + 10))
            await rig.delivered()
        assert rig.counts() == (40, 0, 0)
        assert sandbox.store.counts["/import"].duplicates == 0
        await until(lambda: rig.status()["in_flight"] == 0)
    assert "read again" not in caplog.text


async def test_a_partial_settlement_that_happened_in_spite_of_an_error_counts_as_done(
    tmp_path: Path,
) -> None:
    fault = Fault(action="status", status=503, share=0.5, count=1)
    async with (
        failing_halfway(fault) as sandbox,
        delivering(tmp_path, destination(sandbox), spool_type=AmbiguousSpool) as rig,
    ):
        await rig.append("import", *HALVES)
        await rig.delivered()
        assert rig.counts() == (39, 1, 0)
        assert sandbox.store.counts["/import"].duplicates == 0


class ForgetfulSpool(SqliteSpool):
    """Disagrees at first about what it holds."""

    disagreements = 2

    async def settle(self, settlement: Settle) -> None:
        if self.disagreements:
            self.disagreements -= 1
            raise SpoolError("settlement names 10 records, on disk are 9")
        await super().settle(settlement)


@pytest.mark.parametrize("endpoint", ["import", "engage"])
async def test_a_batch_that_the_spool_disagrees_about_is_read_again_in_order(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    make = update if endpoint == "engage" else event
    limited = destination(sandbox, batch_records=10)
    async with delivering(tmp_path, limited, spool_type=ForgetfulSpool) as rig:
        for start in range(0, 40, 10):
            await rig.append(endpoint, *map(make, range(start, start + 10)))
        await rig.delivered()
        assert rig.counts() == (40, 0, 0)
    assert caplog.text.count("a batch is read again") == 2
    if endpoint == "engage":
        assert numbers(sandbox, "/engage") == [*[*range(10)] * 2, *range(40)]
    else:
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(40))


async def test_what_finds_out_whether_the_service_works_again_is_a_small_request(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="status", status=503, count=2)])
    async with delivering(tmp_path, destination(sandbox, connections=1)) as rig:
        await rig.append("import", *events(0, 1000))
        await rig.delivered()
        assert rig.counts() == (1000, 0, 0)
        # All of them, a few, the same few, and then the rest.
        assert sandbox.store.counts["/import"].requests == 4
        assert ids(sandbox) == [f"id-{n}" for n in range(1000)]


class SlowSpool(SqliteSpool):
    """Has taken note long before it says so."""

    settling = False

    async def settle(self, settlement: Settle) -> None:
        await super().settle(settlement)
        self.settling = True
        await asyncio.sleep(0.2)


async def test_stopping_while_the_spool_takes_note_waits_for_it(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(tmp_path, destination(sandbox), spool_type=SlowSpool) as rig:
        await rig.append("import", *events(0, 10))
        await until(lambda: isinstance(rig.spool, SlowSpool) and rig.spool.settling)
    assert rig.counts() == (10, 0, 0)
    assert caplog.messages == []


async def test_records_of_an_unknown_destination_stay_and_are_reported(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(tmp_path, destination(sandbox)) as rig:
        await rig.append("import", event(1), destination="gone")
    async with delivering(tmp_path, destination(sandbox)) as rig:
        assert rig.pending("gone") == 1
    assert "1 records wait for gone/import, which is not configured" in caplog.text
