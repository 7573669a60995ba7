"""The commands as a person or a supervisor runs them: how they start, stop and fail."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from tests.support.oracle_client import Client
from tests.support.oracle_judge import judge
from tests.support.paths import ROOT
from tests.support.ports import lasting_port
from tests.support.processes import TOKEN, GatewayProcess, Running, gateway, run, wait_for

FREE_PORTS = {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": "0"}
"""The only variables that runs without configuration get: the usual ports may be taken here."""


async def get_json(url: str) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, raise_for_status=True) as response,
    ):
        return await response.json()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@asynccontextmanager
async def running_with_sandbox(directory: Path, **variables: str) -> AsyncIterator[Running]:
    """Run what ``make run`` does.

    :param variables: of the environment.
    """
    log = directory / "run.log"
    command = ("run", "--sandbox", "--sandbox-port", "0")
    env = {**FREE_PORTS, **variables}
    async with Running(*command, log=log, cwd=directory, env=env) as running:
        await running.printed(r"/records\?pretty'\n")
        yield running


def printed_commands(output: str) -> list[str]:
    """Return the commands that are suggested, continued lines joined."""
    _, _, suggested = output.replace("\\\n", " ").partition("Try it:")
    return [line.strip() for line in suggested.splitlines() if line.startswith("  curl ")]


# Stopping


async def test_sigterm_under_load_exits_0_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    sandbox = Sandbox(token=TOKEN, keep=1_000_000, faults=[Fault(action="status", status=500)])
    await sandbox.start()
    try:
        async with GatewayProcess(tmp_path, sandbox.url, shutdown_timeout_s=2.0) as process:
            async with Client(process.url) as client:
                await wait_for(lambda: client.has_answers(50))
                began = asyncio.get_running_loop().time()
                assert await process.terminate() == 0
                # Once for requests and once for delivery, which cannot succeed here.
                assert asyncio.get_running_loop().time() - began < 2 * 2.0 + 1.0
                assert re.search(r"stopped; [1-9]\d* records wait", process.output())
                sandbox.faults.replace([])
                await process.restart()
                more = client.answered + 20
                await wait_for(lambda: client.has_answers(more))
            ledger = await process.drained()
            assert await process.terminate() == 0
    finally:
        await sandbox.stop()
    assert (ledger["gap"], ledger["dead_lettered"]) == (0, 0)
    arrived = sandbox.store.records()
    judge(arrived, acknowledged=client.acknowledged, sent=client.sent).assert_nothing_lost()


async def test_sigterm_with_working_destination_delivers_what_is_pending(tmp_path: Path) -> None:
    sandbox = Sandbox(token=TOKEN, keep=1_000_000)
    await sandbox.start()
    try:
        async with GatewayProcess(tmp_path, sandbox.url) as process:
            async with Client(process.url) as client:
                await wait_for(lambda: client.has_answers(50))
            assert await process.terminate() == 0
            assert "stopped; 0 records wait" in process.output()
    finally:
        await sandbox.stop()
    arrived = sandbox.store.records()
    judge(arrived, acknowledged=client.acknowledged, sent=client.sent).assert_exactly_once()


# Not starting


@pytest.mark.parametrize("variable", FREE_PORTS)
async def test_port_in_use_exits_1_and_says_which(tmp_path: Path, variable: str) -> None:
    with taken_port() as port:
        ended = await gateway(
            *("run", "--sandbox", "--sandbox-port", "0"),
            cwd=tmp_path,
            env={**FREE_PORTS, variable: str(port)},
        )
    assert ended.code == 1
    assert re.search(rf"^gateway: cannot start: .*{port}.*in use", ended.stderr, re.MULTILINE)
    assert "Traceback" not in ended.stderr


async def test_second_sandbox_on_a_port_exits_1_and_says_which(tmp_path: Path) -> None:
    port = lasting_port()
    command = ("sandbox", "--port", str(port))
    async with Running(*command, log=tmp_path / "first.log") as first:
        await first.printed("Mixpanel stand-in")
        ended = await gateway(*command)
        assert ended.code == 1
        assert re.search(rf"cannot start: .*{port}.*in use", ended.stderr)
        assert "Traceback" not in ended.stderr


async def test_second_gateway_on_same_spool_exits_1_and_names_it(tmp_path: Path) -> None:
    async with GatewayProcess(tmp_path, "http://127.0.0.1:9") as process:
        path = process.config()
        config = re.sub(r"^port = \d+", "port = 0", path.read_text(), flags=re.MULTILINE)
        path.write_text(config)
        ended = await gateway("run", "--config", str(path))
        assert ended.code == 1
        assert f"the spool {tmp_path}/spool" in ended.stderr
        assert "in use" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert (await process.ledger())["gap"] == 0, "the first one goes on"


BAD_CONFIG = """\
[server]
port = "eighty"
prot = 8080
[[sources]]
name = "with space"
write_key = "never-shown"
destinations = ["nowhere"]
[[destinations]]
name = "mixpanel"
profile = "other"
[destinations.settings]
projectToken = ""
apiRegion = "MARS"
"""

MISTAKES = (
    "server.port",
    "server.prot",
    "sources[0].name",
    "sources[0].destinations[0]",
    "destinations[0].profile",
    "destinations[0].settings.projectToken",
    "destinations[0].settings.apiRegion",
)


@pytest.mark.parametrize("command", ["run", "check"])
async def test_bad_configuration_exits_2_and_names_every_mistake(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(BAD_CONFIG)
    ended = await gateway(command, "--config", str(path))
    assert ended.code == 2
    problems = re.findall(r"^  (\S+): .*(?:expected|accepted)", ended.stderr, re.MULTILINE)
    assert sorted(problems) == sorted(MISTAKES)
    assert "never-shown" not in ended.stderr
    assert not (tmp_path / "spool").exists()


async def test_check_of_good_configuration_exits_0_and_shows_no_secret(tmp_path: Path) -> None:
    path = GatewayProcess(tmp_path, "http://127.0.0.1:9").config()
    ended = await gateway("check", "--config", str(path), "--print")
    assert ended.code == 0
    assert json.loads(ended.stdout)["spool"]["path"] == str(tmp_path / "spool")
    assert "key-of-the-test" not in ended.stdout + ended.stderr


async def test_run_without_anything_exits_2_and_says_what_to_set(tmp_path: Path) -> None:
    ended = await gateway("run", cwd=tmp_path)
    assert ended.code == 2
    assert "MIXPANEL_PROJECT_TOKEN: not set" in ended.stderr
    assert "WRITE_KEY: not set" in ended.stderr


# Trying it


async def test_printed_example_works_as_it_is_and_shows_within_2_seconds(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: it runs the example that is printed")
    async with running_with_sandbox(tmp_path) as running:
        send, look = printed_commands(running.output())
        sent = await run(*shlex.split(send), timeout=10)
        assert (sent.code, json.loads(sent.stdout)) == (0, {"success": True})

        async def shown() -> list[dict[str, Any]]:
            answer = await run(*shlex.split(look), timeout=10)
            records: list[dict[str, Any]] = json.loads(answer.stdout)["records"]
            return records

        [record] = await wait_for(shown, timeout=2.0)
        assert await running.end(signal.SIGTERM) == 0
    properties = record["record"]["properties"]
    assert record["record"]["event"] == "Signed Up"
    assert (properties["distinct_id"], properties["plan"]) == ("u1", "pro")


async def test_readme_tells_the_commands_that_are_printed(tmp_path: Path) -> None:
    readme = ROOT.joinpath("README.md").read_text()
    told = " ".join(readme.replace("\\\n", " ").split())
    async with running_with_sandbox(tmp_path) as running:
        commands = printed_commands(running.output())
    for command in commands:
        usual = re.sub(r":\d+/records", ":8082/records", re.sub(r":\d+/v1", ":8080/v1", command))
        assert " ".join(usual.split()) in told


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_host_is_told_as_a_url_and_served(tmp_path: Path, workers: str) -> None:
    hosts = {"GATEWAY_HOST": "::1, 127.0.0.1", "GATEWAY_WORKERS": workers}
    async with running_with_sandbox(tmp_path, **hosts) as running:
        output = running.output()
        urls = re.findall(r"SDKs send to +(\S+)\ngateway: +(\S+)\n", output)
        assert [re.sub(r"\d+$", "P", url) for url in urls[0]] == [
            "http://[::1]:P",
            "http://127.0.0.1:P",
        ]
        assert "project token  sandbox" in output
        assert f"curl -u dev: {urls[0][0]}/v1/track" in output
        for url in urls[0]:
            ended = await gateway("send", "E", "-k", "dev", "--url", url)
            assert (ended.code, json.loads(ended.stdout)) == (0, {"success": True})


async def test_send_to_running_gateway_exits_0_and_arrives(tmp_path: Path) -> None:
    async with running_with_sandbox(tmp_path) as running:
        url = (await running.printed(r"SDKs send to +(\S+)"))[1]
        records = (await running.printed(r"http://\S+/records"))[0]
        ended = await gateway(
            *("send", "Über 🚀", "-k", "dev", "--url", url, "--user-id", "ann"),
            *("--properties", '{"plan": "pro"}'),
        )
        assert (ended.code, json.loads(ended.stdout)) == (0, {"success": True})

        async def shown() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await get_json(records))["records"]
            return found

        [record] = await wait_for(shown, timeout=2.0)
    properties = record["record"]["properties"]
    assert record["record"]["event"] == "Über 🚀"
    assert (properties["distinct_id"], properties["plan"]) == ("ann", "pro")
    assert properties["$insert_id"] in ended.stderr


async def test_send_with_wrong_key_exits_1_and_shows_answer(tmp_path: Path) -> None:
    async with running_with_sandbox(tmp_path) as running:
        url = (await running.printed(r"SDKs send to +(\S+)"))[1]
        ended = await gateway("send", "-k", "no-such-key", "--url", url)
    assert ended.code == 1
    assert "the gateway answered 401" in ended.stderr
    assert json.loads(ended.stdout)["success"] is False


async def test_send_where_nothing_listens_exits_1_and_says_so() -> None:
    with taken_port() as port:
        pass  # free again
    ended = await gateway("send", "-k", "dev", "--url", f"http://127.0.0.1:{port}")
    assert ended.code == 1
    assert f"gateway: no answer from http://127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:99999", "http://", "http://[::1"])
async def test_send_to_no_address_exits_2_and_says_so(url: str) -> None:
    ended = await gateway("send", "-k", "dev", "--url", url)
    assert ended.code == 2
    assert f"gateway: --url: not an address: {url}; expected e.g. http://" in ended.stderr


@pytest.mark.parametrize("command", [("run", "--sandbox", "--sandbox-port"), ("sandbox", "--port")])
@pytest.mark.parametrize("port", ["70000", "-1", "65536"])
async def test_port_that_is_none_is_refused(command: tuple[str, ...], port: str) -> None:
    ended = await gateway(*command, port)
    assert ended.code == 2
    assert f"Invalid value for '{command[-1]}'" in ended.stderr


# The stand-in on its own


async def test_sandbox_with_fault_misbehaves_as_told(tmp_path: Path) -> None:
    fault = '{"action": "status", "status": 503, "count": 1}'
    command = ("sandbox", "--port", "0", "--fault", fault)
    async with Running(*command, log=tmp_path / "sandbox.log") as running:
        url = (await running.printed(r"stand-in +(http://\S+)"))[1]
        statuses = []
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(f"{url}/track", data={"data": "[]"}) as response:
                    statuses.append(response.status)
        assert await running.end(signal.SIGTERM) == 0
    assert statuses[0] == 503
    assert statuses[1] != 503


@pytest.mark.parametrize(
    "fault", ['{"action": "explode"}', '{"action": "status", "share": 2}', '{"action":', "500"]
)
async def test_sandbox_with_bad_fault_exits_2_and_says_why(fault: str) -> None:
    ended = await gateway("sandbox", "--port", "0", "--fault", fault)
    assert ended.code == 2
    assert ended.stderr.startswith("gateway: --fault: ")
    assert "Traceback" not in ended.stderr
