"""``gateway pending`` on a running gateway, and on the spool of one that is stopped."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from tests.support.processes import Finished, gateway, wait_for
from tests.system.test_dead_letters import ADMIN_TOKEN, Gateway, arrived, lines, running, track

REFUSED = Fault(action="status", status=401)
BROKEN = Fault(action="status", status=503, retry_after_s=600)


async def pending(process: Gateway, *arguments: str, stdin: str = "") -> Finished:
    return await process.command(*arguments, stdin=stdin, group="pending")


async def groups(process: Gateway, *arguments: str) -> list[dict[str, Any]]:
    listed = await pending(process, "list", "--json", *arguments)
    assert listed.code == 0, listed
    found: list[dict[str, Any]] = json.loads(listed.stdout)["groups"]
    return found


async def stuck(process: Gateway, sandbox: Sandbox, fault: Fault, state: str) -> None:
    """Have ten events wait, of which every other one is called Bad."""
    sandbox.faults.replace([fault])
    await process.send(*(track(n, event="Bad" if n % 2 else "Good") for n in range(10)))

    async def is_waiting() -> bool:
        status = (await process.statusz())["destinations"]["mixpanel"]["endpoints"]["import"]
        return bool(status["state"] == state)

    await wait_for(is_waiting)


async def test_what_waits_is_listed(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, sandbox):
        await stuck(process, sandbox, BROKEN, "retrying")
        (group,) = await groups(process)
        assert (group["destination"], group["endpoint"]) == ("mixpanel", "import")
        assert (group["records"], group["state"]) == (10, "retrying")
        assert "503" in group["detail"]
        assert 0 <= group["oldest_age_s"] < 300
        assert group["next_attempt_in_s"] > 0
        table = (await pending(process, "list")).stdout
        assert "retrying" in table
        assert "next attempt in" in table
        each = lines((await pending(process, "list", "--each", "--json")).stdout)
        assert [record["payload"]["event"] for record in each] == ["Good", "Bad"] * 5
        plain = await pending(process, "list", "--each", "--limit", "3")
        assert len(plain.stdout.splitlines()) == 4
        assert "the first 3" in plain.stderr
        nothing = await pending(process, "list", "--event", "Ugly")
        assert "no pending records" in nothing.stderr
        assert "--source" not in nothing.stderr
        nothing = await pending(process, "list", "--each", "--source", "web")
        assert "no pending records" in nothing.stderr
        assert "sourceName" in nothing.stderr
        mistyped = await pending(process, "retry", "--destination", "mixpnel")
        assert (mistyped.code, "there are: mixpanel" in mistyped.stderr) == (1, True)


@pytest.mark.parametrize(("fault", "state"), [(REFUSED, "paused"), (BROKEN, "retrying")])
async def test_what_waits_is_set_aside_and_the_rest_is_sent_now(
    tmp_path: Path, fault: Fault, state: str
) -> None:
    async with running(tmp_path) as (process, sandbox):
        await stuck(process, sandbox, fault, state)
        done = await pending(process, "set-aside", "--yes", "--json", "--event", "Bad")
        assert json.loads(done.stdout)["set_aside"] == 5, done
        ledger = await process.ledger()
        assert (ledger["dead_lettered"], ledger["pending"], ledger["gap"]) == (5, 5, 0)
        sandbox.faults.replace([])
        retried = await pending(process, "retry", "--endpoint", "import")
        assert "mixpanel/import: 5 records are tried now" in retried.stderr
        assert f"it was {state}" in retried.stderr
        assert (await process.drained(10.0))["delivered"] == 5
        assert {each["event"] for each in arrived(sandbox)} == {"Good"}
        idle = await pending(process, "retry")
        assert (idle.code, "no endpoint" in idle.stderr) == (0, True)
        # They are dead letters as any other.
        replayed = await process.command("replay", "--yes", "--reason", "set_aside")
        assert "5 dead letters became 5 pending records" in replayed.stderr
        ledger = await process.drained(10.0)
        assert (ledger["delivered"], ledger["dead_lettered"], ledger["gap"]) == (10, 0, 0)
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_nothing_is_done_unless_somebody_agrees(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, sandbox):
        await stuck(process, sandbox, BROKEN, "retrying")
        dry = await pending(process, "set-aside", "--event", "Bad", "--dry-run")
        assert "5 pending records would be set aside" in dry.stderr
        for answer in ("n\n", ""):
            no = await pending(process, "set-aside", "--event", "Bad", stdin=answer)
            assert (no.code, "nothing was done" in no.stderr) == (1, True)
        assert (await process.ledger())["pending"] == 10
        (first, second, *_) = lines((await pending(process, "list", "--each", "--json")).stdout)
        one = ("--id", first["id"])
        assert (await pending(process, "set-aside", *one, stdin="y\n")).code == 0
        assert (await process.ledger())["pending"] == 9
        left = lines((await pending(process, "list", "--each", "--json")).stdout)
        assert left[0] == second


async def test_stopped_gateway_leaves_what_waits_to_the_commands(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, sandbox):
        await stuck(process, sandbox, REFUSED, "paused")
        assert await process.terminate() == 0
        (group,) = await groups(process)
        assert (group["records"], group["state"]) == (10, "stopped")
        retry = await pending(process, "retry")
        assert (retry.code, "start it" in retry.stderr) == (1, True)
        dry = await pending(process, "set-aside", "--event", "Good", "--dry-run", "--json")
        assert json.loads(dry.stdout)["set_aside"] == 5
        limited = await pending(process, "set-aside", "--yes", "--event", "Bad", "--limit", "3")
        assert "3 pending records set aside" in limited.stderr
        assert (await groups(process))[0]["records"] == 7
        sandbox.faults.replace([])
        await process.restart()
        ledger = await process.drained()
        assert (ledger["delivered"], ledger["dead_lettered"], ledger["gap"]) == (7, 3, 0)


async def test_commands_see_what_waits_in_all_workers_as_one(tmp_path: Path) -> None:
    async with running(tmp_path, workers=2) as (process, sandbox):
        sandbox.faults.replace([REFUSED])
        for n in range(40):  # each on a connection of its own, so both workers get some
            await process.send(track(n, event="Bad" if n % 4 == 0 else "Good"))
        (group,) = await groups(process)
        assert group["records"] == 40
        each = lines((await pending(process, "list", "--each", "--json")).stdout)
        assert {int(record["id"].partition(".")[0]) // 10**12 for record in each} == {0, 1}
        assert len(each) == 40
        first = lines((await pending(process, "list", "--each", "--json", "--limit", "25")).stdout)
        assert first == each[:25]
        (bad,) = await groups(process, "--event", "Bad")
        assert bad["records"] == 10
        done = await pending(process, "set-aside", "--yes", "--event", "Bad")
        assert "10 pending records set aside" in done.stderr, done
        rest = lines((await pending(process, "list", "--each", "--json")).stdout)
        last = await pending(process, "set-aside", "--yes", "--id", rest[-1]["id"])
        assert "1 pending record set aside" in last.stderr, last
        ledger = await process.ledger()
        assert (ledger["dead_lettered"], ledger["pending"], ledger["gap"]) == (11, 29, 0)
        sandbox.faults.replace([])
        retried = json.loads((await pending(process, "retry", "--json")).stdout)["retried"]
        assert [each["records"] for each in retried] == [29]
        ledger = await process.drained(20.0)
        assert (ledger["delivered"], ledger["dead_lettered"], ledger["gap"]) == (29, 11, 0)


async def test_what_is_in_a_request_is_left_and_the_command_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, sandbox):
        sandbox.faults.replace([Fault(action="stall", stall_s=8, count=1)])
        await process.send(*(track(n) for n in range(5)))

        async def is_sending() -> bool:
            status = (await process.statusz())["destinations"]["mixpanel"]["endpoints"]["import"]
            return bool(status["in_flight"] == 1)

        await wait_for(is_sending)
        done = await pending(process, "set-aside", "--yes", "--all")
        assert "0 pending records set aside" in done.stderr, done
        assert "5 were in requests and are left" in done.stderr
        ledger = await process.drained()
        assert (ledger["delivered"], ledger["dead_lettered"], ledger["gap"]) == (5, 0, 0)


async def test_killed_while_setting_aside_each_record_is_in_one_place(tmp_path: Path) -> None:
    records, kills = 6000, 5
    rng = Random(31)
    async with running(tmp_path) as (process, sandbox):
        sandbox.faults.replace([BROKEN])
        for first in range(0, records, 500):
            names = ("Good", "Bad")
            await process.send(*(track(n, event=names[n % 2]) for n in range(first, first + 500)))
        interrupted = 0
        for _ in range(kills):
            before = (await process.ledger())["dead_lettered"]
            command = asyncio.create_task(
                pending(process, "set-aside", "--yes", "--event", "Bad", "--limit", "400")
            )

            async def is_under_way(before: int = before) -> bool:
                return (await process.ledger())["dead_lettered"] > before

            await wait_for(is_under_way)
            await asyncio.sleep(rng.uniform(0.0, 0.01))  # any moment
            await process.kill()
            done = await command
            interrupted += done.code != 0
            await process.restart()
            status = await process.statusz()
            ledger, letters = status["ledger"], status["dead_letters"]
            assert (ledger["gap"], letters["gap"]) == (0, 0)
            assert ledger["accepted"] == ledger["pending"] + letters["kept"] == records
        assert (await pending(process, "set-aside", "--yes", "--event", "Bad")).code == 0
        letters = lines((await process.command("export")).stdout)
        sandbox.faults.replace([])
        await pending(process, "retry")
        ledger = await process.drained()
        assert (ledger["delivered"], ledger["dead_lettered"]) == (records // 2, records // 2)
        numbers = [each["properties"]["n"] for each in arrived(sandbox)]
        numbers += [each["payload"]["properties"]["n"] for each in letters]
        assert Counter(numbers) == Counter(range(records))
        assert {each["event"] for each in arrived(sandbox)} == {"Good"}


async def test_setting_aside_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Requests come, are delivered and are set aside at once; each record ends in one place."""
    async with running(tmp_path) as (process, sandbox):
        sending = asyncio.create_task(_send(process, 3000))
        while not sending.done():
            done = await pending(process, "set-aside", "--yes", "--event", "Bad")
            assert done.code == 0, done
        await sending
        ledger = await process.drained()
        assert (ledger["accepted"], ledger["gap"]) == (3000, 0)
        letters = lines((await process.command("export")).stdout)
        numbers = [each["properties"]["n"] for each in arrived(sandbox)]
        numbers += [each["payload"]["properties"]["n"] for each in letters]
        assert Counter(numbers) == Counter(range(3000))
        assert len(letters) == ledger["dead_lettered"]


async def _send(process: Gateway, count: int) -> None:
    for first in range(0, count, 10):
        names = ("Good", "Bad")
        await process.send(*(track(n, event=names[n % 2]) for n in range(first, first + 10)))


async def test_token_is_wanted(tmp_path: Path) -> None:
    async with running(tmp_path, admin=f'token = "{ADMIN_TOKEN}"') as (process, _):
        url = ("--admin", process.admin_url)
        refused = await gateway("pending", "list", *url)
        assert (refused.code, "GATEWAY_ADMIN_TOKEN" in refused.stderr) == (1, True)
        assert (await gateway("pending", "list", *url, "--token", ADMIN_TOKEN)).code == 0
        assert (await pending(process, "list")).code == 0
        for method, path in (
            ("GET", "/pending"),
            ("GET", "/pending/summary"),
            ("POST", "/pending/set-aside"),
            ("POST", "/pending/retry"),
        ):
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"{process.admin_url}{path}", json={}) as response,
            ):
                assert response.status == 401


PAGES = [
    ("GET", "/pending?ids=x", None, 400, "not an id of a pending record"),
    ("GET", "/pending?limit=0", None, 400, "limit"),
    ("GET", "/pending?reason=x", None, 400, "reason"),
    ("GET", "/pending/summary?after=-1", None, 400, "after"),
    ("POST", "/pending/set-aside", {"filter": {"ids": ["1-2"]}}, 400, "not an id"),
    ("POST", "/pending/set-aside", {"limit": 5000}, 400, "2000"),
    ("POST", "/pending/set-aside", {"filter": {"since_ms": -1}}, 400, ""),
    ("POST", "/pending/retry", {"event": "x"}, 400, "event"),
    ("GET", "/pending/set-aside", None, 405, "POST"),
]


async def test_pages_refuse_what_cannot_be_read(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, _), aiohttp.ClientSession() as session:
        for method, path, body, status, text in PAGES:
            async with session.request(method, f"{process.admin_url}{path}", json=body) as response:
                answer = await response.json()
                assert (response.status, text in answer["message"]) == (status, True), answer
        async with session.post(
            f"{process.admin_url}/pending/set-aside",
            json={},
            headers={"Origin": "https://evil.example"},
        ) as response:
            assert response.status == 403


MISTAKES = [
    (("list", "--since", "yesterday"), 2, "--since: not a time"),
    (("list", "--id", "x"), 2, "--id: not an id of a pending record"),
    (("set-aside", "--limit", "0"), 2, ""),
    (("set-aside", "--yes"), 2, "--all"),
    (("set-aside", "--yes", "--dry-run", "--limit", "3"), 2, "--all"),
    (("set-aside", "--yes", "--all", "--event", "x"), 2, "only one of them"),
    (("retry", "--event", "x"), 2, ""),
    (("list",), 1, "no gateway answers"),
    (("retry", "--admin", "http://127.0.0.1:1"), 1, "no gateway answers"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), MISTAKES)
async def test_mistake_is_told(
    tmp_path: Path, arguments: Sequence[str], code: int, text: str
) -> None:
    done = await gateway("pending", *arguments, cwd=tmp_path, env={"GATEWAY_ADMIN_PORT": "1"})
    assert done.code == code, done
    assert text in done.stderr
    assert "Traceback" not in done.stderr
