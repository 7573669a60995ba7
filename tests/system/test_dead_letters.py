"""``gateway dead-letters`` on a running gateway, and on the spool of one that is stopped."""

import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.sandbox import Sandbox
from tests.support.letters import ManualClock, assert_proven, record_letter, records_of, spool_in
from tests.support.processes import (
    TOKEN,
    WRITE_KEY,
    Finished,
    GatewayProcess,
    gateway,
    run,
    wait_for,
)

ADMIN_TOKEN = "the-token-of-the-admin"

REFUSED = '"broken"'
"""What the sandbox refuses, and nobody before it: what can be known is no longer sent."""

WRONG_MAPPING = """
presets = false
[[destinations.subscriptions]]
subscribe = 'type = "track"'
action = "trackEvent"
[destinations.subscriptions.mapping]
event = "$.properties.no_such_member"
"""


class Gateway(GatewayProcess):
    """A gateway whose mapping can be changed while it is down."""

    mapping = ""
    admin = ""

    def config(self) -> Path:
        path = super().config()
        text = path.read_text()
        text = text.replace("[admin]\n", f"[admin]\n{self.admin}\n")
        text = text.replace(
            "[destinations.delivery]", f"{self.mapping}\n[destinations.delivery]", 1
        )
        path.write_text(text)
        return path

    async def send(self, *events: dict[str, Any]) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.url}/v1/batch",
                json={"batch": events},
                headers={"X-Write-Key": WRITE_KEY},
            ) as response,
        ):
            assert response.status == 200

    async def command(
        self, *arguments: str, stdin: str = "", group: str = "dead-letters", **options: Any
    ) -> Finished:
        """Run one of a group of commands, which finds the gateway by its configuration."""
        path = str(self.directory / "gateway.toml")
        return await run(
            *(sys.executable, "-m", "gateway", group, *arguments, "--config", path),
            stdin=stdin,
            cwd=self.directory,
            **options,
        )


@asynccontextmanager
async def running(
    directory: Path, *, workers: int = 1, **attributes: str
) -> AsyncIterator[tuple[Gateway, Sandbox]]:
    sandbox = Sandbox(token=TOKEN, keep=100_000, refuse=REFUSED)
    await sandbox.start()
    try:
        process = Gateway(directory, sandbox.url, server={"workers": workers})
        for name, value in attributes.items():
            setattr(process, name, value)
        async with process:
            process.config()  # now with the ports that it has
            yield process, sandbox
    finally:
        await sandbox.stop()


def track(n: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": f"Event {n}",
        "userId": f"user-{n}",
        "messageId": f"message-{n}",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "properties": {"n": n, "price": 1.10, "text": "é 😀"},
        "odd": {"n": n},
        **more,
    }


def arrived(sandbox: Sandbox) -> list[Any]:
    return sorted((json.loads(each.record) for each in sandbox.store.records()), key=json.dumps)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def mapped_by(process: Gateway, events: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the records that ``gateway map`` makes of events."""
    done = await run(
        *(sys.executable, "-m", "gateway", "map"),
        *("--config", str(process.directory / "gateway.toml"), "--source", "sdk"),
        stdin=json.dumps(events),
    )
    assert done.code == 0, done.stderr
    return sorted((each["record"] for each in lines(done.stdout)), key=json.dumps)


async def test_mended_mapping_delivers_what_a_wrong_one_rejected(tmp_path: Path) -> None:
    events = [track(n) for n in range(600)]
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, sandbox):
        await process.send(*events)
        listed = lines((await process.command("list", "--json")).stdout)[0]
        (group,) = listed["groups"]
        assert (group["reason"], group["letters"]) == ("missing_event_name", len(events))
        again = await process.command("replay", "--yes")
        assert again.code == 1
        assert "600 stay dead letters" in again.stderr
        single = await process.command("replay", "--yes", "--id", "1")
        assert "1 stays a dead letter" in single.stderr
        assert arrived(sandbox) == []

        assert await process.terminate() == 0
        process.mapping = ""
        await process.restart()
        expected = await mapped_by(process, events)

        dry = await process.command("replay", "--dry-run", "--json")
        would = [made["record"] for each in lines(dry.stdout) for made in each["made"]]
        assert (dry.code, sorted(would, key=json.dumps)) == (0, expected)
        assert (await process.ledger())["dead_lettered"] == len(events)

        done = await process.command("replay", "--yes", "--json")
        assert (done.code, lines(done.stdout)) == (
            0,
            [{"replayed": 600, "records": 600, "missing": 0, "problems": []}],
        )
        ledger = await process.drained()
        assert ledger == {
            "accepted": 600,
            "delivered": 600,
            "dead_lettered": 0,
            "pending": 0,
            "gap": 0,
        }
        assert arrived(sandbox) == expected

        nothing = await process.command("replay", "--yes")
        assert (nothing.code, nothing.stdout) == (0, "")
        assert "no dead letters" in nothing.stderr
        counts = sandbox.store.counts["/import"]
        assert (counts.received, counts.duplicates) == (600, 0)
        letters = (await process.statusz())["dead_letters"]
        assert (letters["kept"], letters["replayed"], letters["gap"]) == (0, 600, 0)


POISON = {"type": "track", "event": "Poison", "userId": "u", "properties": {"rule": "broken"}}


async def refused_record(process: Gateway) -> None:
    """Have a record refused by the sandbox among others that it takes."""
    await process.send(*(track(n) for n in range(10)), {**POISON, "messageId": "poison"})

    async def is_refused() -> bool:
        return (await process.ledger())["dead_lettered"] == 1

    await wait_for(is_refused)


async def test_record_that_was_refused_is_exported_edited_replayed_and_delivered(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (process, sandbox):
        await refused_record(process)
        file = tmp_path / "letters.ndjson"
        exported = await process.command("export", str(file), "--kind", "record")
        assert (exported.code, exported.stdout) == (0, "")
        assert file.stat().st_mode & 0o777 == 0o600
        (letter,) = lines(file.read_text())
        assert (letter["endpoint"], letter["reason"]) == ("import", "refused")
        assert letter["detail"]

        link, pipe = tmp_path / "link", tmp_path / "pipe"
        link.symlink_to(file)
        os.mkfifo(pipe)
        with os.fdopen(os.open(pipe, os.O_RDWR), "rb") as reader:
            for each in (link, pipe):
                assert (await process.command("export", str(each))).code == 0
            assert link.is_symlink()
            assert pipe.is_fifo(), "neither has given way to a file"
            assert lines(reader.readline().decode()) == [letter]

        unchanged = await process.command("replay", "--yes", "--edited", str(file))
        assert unchanged.code == 0, "it is sent, and refused again"

        async def is_back() -> bool:
            status = (await process.statusz())["dead_letters"]
            return bool(status["kept"] == 1 and status["replayed"] == 1)

        await wait_for(is_back)
        (letter,) = lines((await process.command("export")).stdout)
        letter["payload"]["properties"]["rule"] = "kept"
        file.write_text(json.dumps(letter) + "\n\n")
        dry = await process.command("replay", "--edited", str(file), "--dry-run")
        assert '"kept"' in dry.stdout
        assert (await process.command("replay", "--yes", "--edited", str(file))).code == 0
        ledger = await process.drained()
        assert (ledger["delivered"], ledger["dead_lettered"], ledger["gap"]) == (11, 0, 0)
        (record,) = [each for each in arrived(sandbox) if each["event"] == "Poison"]
        assert record["properties"]["rule"] == "kept"
        again = await process.command("replay", "--yes", "--edited", str(file))
        assert "not there any more" in again.stderr


EDITOR = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
assert file.parent.stat().st_mode & 0o777 == 0o700
seen = pathlib.Path(__file__).with_name("seen")
if seen.exists():
    file.write_text(seen.read_text().replace('"broken"', '"kept"'))
else:
    seen.write_text(file.read_text())
    file.write_text("{ a mistake")
"""


async def test_record_is_edited_in_the_editor(tmp_path: Path) -> None:
    script = tmp_path / "editor.py"
    script.write_text(EDITOR)
    editor = f"{sys.executable} {script}"
    async with running(tmp_path) as (process, _):
        await refused_record(process)
        command = ("replay", "--edit", "1", "--editor", editor)
        done = await process.command(*command, stdin="y\ny\n")
        assert done.code == 0, done.stderr
        assert "not valid JSON" in done.stderr
        assert (await process.drained())["delivered"] == 11
        gone = await process.command(*command)
        assert (gone.code, "no dead letter 1" in gone.stderr) == (1, True)


async def test_stopped_gateway_leaves_the_spool_to_the_commands(tmp_path: Path) -> None:
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, sandbox):
        await process.send(*(track(n) for n in range(5)))
        assert await process.terminate() == 0
        process.mapping = ""
        process.config()
        listed = await process.command("list")
        assert "missing_event_name" in listed.stdout
        shown = await process.command("show", "2")
        assert json.loads(shown.stdout)["payload"]["event"] == "Event 1"
        assert (await process.command("purge", "--id", "5", "--yes")).code == 0
        replayed = await process.command("replay", "--yes", "--until", "0s")
        assert (replayed.code, "no gateway runs" in replayed.stderr) == (0, False)
        assert "4 dead letters became 4 pending records" in replayed.stderr
        assert (await process.command("replay", "--yes")).code == 0
        await process.restart()
        ledger = await process.drained()
        assert (ledger["accepted"], ledger["delivered"], ledger["dead_lettered"]) == (5, 4, 1)
        assert (await process.statusz())["dead_letters"]["purged"] == 1
        assert len(arrived(sandbox)) == 4


async def test_commands_work_on_all_spools_that_stopped_workers_left(tmp_path: Path) -> None:
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, _):
        await process.send(*(track(n) for n in range(3)))
        assert await process.terminate() == 0
        process.mapping = ""
        process.config()
        in_1, clock = 10**12, ManualClock()
        clock.ms = SystemClock().now_ms()  # else they are too old to be kept
        async with spool_in(tmp_path / "spool", clock, name="worker-1") as other:
            await other.append([], [record_letter(n) for n in range(2)])
            locked = await process.command("list")
            assert (locked.code, "worker-1.db open" in locked.stderr) == (1, True)
        listed = lines((await process.command("list", "--each", "--json")).stdout)
        assert [each["id"] for each in listed] == ["1", "2", "3", str(in_1 + 1), str(in_1 + 2)]
        shown = json.loads((await process.command("show", str(in_1 + 2))).stdout)
        assert (shown["id"], shown["payload"]) == (str(in_1 + 2), {"n": "1"})
        await process.command("export", "--id", "2", "--id", str(in_1 + 1), "letters")
        replayed = await process.command("replay", "--edited", "letters", "--yes", "--json")
        assert lines(replayed.stdout)[0]["replayed"] == 2
        purged = await process.command("purge", "--yes", "--json")
        assert lines(purged.stdout)[0]["purged"] == 3
        async with spool_in(tmp_path / "spool", clock, name="worker-1") as other:
            assert await records_of(other) == [b'{"n":"0"}']
            assert other.ledger()["mixpanel"].purged == 1
            await assert_proven(other)


async def test_nothing_is_done_unless_somebody_agrees(tmp_path: Path) -> None:
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, _):
        await process.send(*(track(n) for n in range(3)))
        for command in ("replay", "purge"):
            for answer in ("n\n", ""):
                done = await process.command(command, stdin=answer)
                assert (done.code, "nothing was done" in done.stderr) == (1, True)
        assert (await process.statusz())["dead_letters"]["kept"] == 3
        dry = await process.command("purge", "--dry-run")
        assert (dry.code, "3 dead letters would be purged" in dry.stderr) == (0, True)
        done = await process.command("purge", stdin="y\n")
        assert (done.code, "3 dead letters purged" in done.stderr) == (0, True)
        assert (await process.statusz())["dead_letters"]["kept"] == 0


async def test_filters_choose(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, _):
        await refused_record(process)
        await process.send({"type": "track", "messageId": "m"})
        for options, expected in {
            (): ["1", "2"],
            ("--kind", "event"): ["2"],
            ("--endpoint", "import"): ["1"],
            ("--endpoint", ""): ["2"],
            ("--reason", "missing_event_name"): ["2"],
            ("--destination", "other"): [],
            ("--id", "1"): ["1"],
            ("--since", "1h"): ["1", "2"],
            ("--since", "1h30m"): ["1", "2"],
            ("--until", "2 hours"): [],
            ("--until", "1h"): [],
            ("--since", "2100-01-01"): [],
            ("--until", "2100-01-01T00:00:00Z"): ["1", "2"],
        }.items():
            listed = lines((await process.command("list", "--each", "--json", *options)).stdout)
            assert [each["id"] for each in listed] == expected, options


@pytest.mark.parametrize("workers", [0, 1, 2])
async def test_destination_that_never_was_is_named(tmp_path: Path, workers: int) -> None:
    async with running(tmp_path, workers=workers or 1) as (process, _):
        if not workers:
            await process.terminate()
        for command in (("list",), ("list", "--each"), ("export",), ("purge",), ("replay",)):
            done = await process.command(*command, "--destination", "mixpnel")
            assert done.code == 1, done
            assert "none is called 'mixpnel'; there are: mixpanel" in done.stderr
        assert (await process.command("list", "--destination", "mixpanel")).code == 0


async def test_commands_see_the_letters_of_all_workers_as_one(tmp_path: Path) -> None:
    async with running(tmp_path, workers=2) as (process, sandbox):
        for n in range(40):  # each on a connection of its own, so both workers get some
            await process.send({"type": "track", "userId": "u", "messageId": f"message-{n}"})
        listed = lines((await process.command("list", "--each", "--json")).stdout)
        assert {int(each["id"]) // 10**12 for each in listed} == {0, 1}
        assert len(listed) == 40
        (group,) = json.loads((await process.command("list", "--json")).stdout)["groups"]
        assert (group["letters"], group["reason"]) == (40, "missing_event_name")

        last = listed[-1]["id"]
        assert f'"id": "{last}"' in (await process.command("show", last)).stdout
        purged = await process.command("purge", "--yes", "--id", last)
        assert purged.code == 0, purged
        assert "1 dead letter purged" in purged.stderr

        assert (await process.command("replay", "--yes")).code == 1  # they are rejected again
        file = tmp_path / "edited.ndjson"
        assert (await process.command("export", str(file))).code == 0
        edits = [
            {"id": each["id"], "payload": {**each["payload"], "event": "Named"}}
            for each in lines(file.read_text())
        ]
        file.write_text("".join(json.dumps(edit) + "\n" for edit in edits))
        replayed = await process.command("replay", "--yes", "--edited", str(file))
        assert "39 dead letters became 39 pending records" in replayed.stderr, replayed
        ledger = await process.drained()
        assert (ledger["accepted"], ledger["delivered"], ledger["gap"]) == (40, 39, 0)
        assert (await process.statusz())["dead_letters"]["kept"] == 0
        assert {each["event"] for each in arrived(sandbox)} == {"Named"}


# Mistakes


async def test_token_is_wanted_and_taken_from_where_it_is_given(tmp_path: Path) -> None:
    async with running(tmp_path, admin=f'token = "{ADMIN_TOKEN}"') as (process, _):
        url = ("--admin", process.admin_url)
        refused = await gateway("dead-letters", "list", *url)
        assert refused.code == 1
        assert "GATEWAY_ADMIN_TOKEN" in refused.stderr
        given = await gateway("dead-letters", "list", *url, "--token", ADMIN_TOKEN)
        environment = {"GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN}
        read = await gateway("dead-letters", "list", *url, env=environment)
        assert (given.code, read.code) == (0, 0)
        assert (await process.command("list")).code == 0


async def test_scheme_of_the_admin_port_may_be_left_out(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, _):
        place = process.admin_url.removeprefix("http://")
        for url in (place, f"{place}/", f"localhost:{place.rpartition(':')[2]}"):
            done = await gateway("dead-letters", "list", "--admin", url)
            assert (done.code, "no dead letters" in done.stderr) == (0, True), done


async def test_gateway_that_does_not_answer_and_holds_the_spool_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, _):
        file = tmp_path / "other-port.toml"
        text = (tmp_path / "gateway.toml").read_text()
        port = process.admin_url.rpartition(":")[2]
        file.write_text(text.replace(f"[admin]\n\nport = {port}", "[admin]\nport = 1"))
        done = await gateway("dead-letters", "list", "--config", str(file))
        assert (done.code, "admin port does not answer" in done.stderr) == (1, True), done


MISTAKES = [
    (("list", "--since", "yesterday"), 2, "--since: not a time"),
    (("list", "--kind", "other"), 2, ""),
    (("replay", "--edit", "1", "--reason", "x"), 2, "only one of them"),
    (("replay", "--edited", "no-such-file"), 2, "no-such-file"),
    (("show", "no-number"), 2, "ID: not an id"),
    (("purge", "--id", "-1"), 2, "--id: not an id"),
    (("replay", "--edit", "x"), 2, "--edit: not an id"),
    (("list",), 1, "no gateway answers"),
    (("list", "--admin", "http://127.0.0.1:1"), 1, "no gateway answers"),
    (("list", "--admin", "::"), 1, "not an address"),
    (("list", "--config", "missing.toml"), 2, "missing.toml"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), MISTAKES)
async def test_mistake_is_told(
    tmp_path: Path, arguments: Sequence[str], code: int, text: str
) -> None:
    environment = {"GATEWAY_ADMIN_PORT": "1"}
    done = await gateway("dead-letters", *arguments, cwd=tmp_path, env=environment)
    assert done.code == code, done
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(os.scandir(tmp_path))


async def test_line_of_an_edited_export_that_is_wrong_stops_everything(tmp_path: Path) -> None:
    file = tmp_path / "edited.ndjson"
    file.write_text('{"id": 1, "payload": {}}\n{"id": 2}\n')
    async with running(tmp_path) as (process, _):
        await refused_record(process)
        done = await process.command("replay", "--yes", "--edited", str(file))
        assert (done.code, "line 2" in done.stderr) == (2, True)
        assert (await process.statusz())["dead_letters"]["kept"] == 1
