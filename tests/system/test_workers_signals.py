"""Signals at any moment: what ends, what reads its configuration again, and what does nothing."""

import asyncio
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from tests.support.oracle_client import Client
from tests.support.oracle_judge import judge
from tests.support.processes import TOKEN, WRITE_KEY, GatewayProcess, wait_for
from tests.system.test_workers import has_new_process, pids, sandbox

MEANINGLESS = (
    *("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGPIPE"),
    *("SIGTTIN", "SIGTTOU", "SIGWINCH", "SIGURG", "SIGRTMIN", "SIGRTMAX"),
)
NOWHERE = "http://127.0.0.1:9"


def all_gone(found: list[int]) -> bool:
    """Return whether all these processes have ended, reaped or not."""
    for pid in found:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        if state != "Z":
            return False
    return True


def takes(pid: int, number: int) -> bool:
    """Return whether a process ignores a signal, or has a use for it."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Ign|Cgt):\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) & 1 << (number - 1) for mask in masks)


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a use for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = re.search(r"^SigCgt:\s+(\w+)", status, re.MULTILINE)
    return mask is not None and bool(int(mask[1], 16) & 1 << (number - 1))


async def post(gateway: GatewayProcess, key: str = WRITE_KEY) -> int:
    body = {"type": "track", "event": "E", "userId": "u", "writeKey": key}
    async with (
        asyncio.timeout(10),
        aiohttp.request("POST", f"{gateway.url}/v1/track", json=body) as response,
    ):
        return response.status


@pytest.mark.parametrize("workers", [1, 2])
async def test_signals_that_mean_nothing_do_nothing(tmp_path: Path, workers: int) -> None:
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": workers}) as gateway:
        before = await pids(gateway)
        for pid in (gateway.running.pid, *before.values()):
            for name in MEANINGLESS:
                os.kill(pid, getattr(signal, name))
        for pid in before.values():
            os.kill(pid, signal.SIGHUP)  # it is for the supervisor
        assert await post(gateway) == 200
        assert await pids(gateway) == before
        assert await gateway.terminate() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_make_room_for_others_and_no_request_fails(
    tmp_path: Path, workers: int
) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway,
    ):
        async with Client(gateway.url, tasks=16) as client:
            for _ in range(3):
                await wait_for(partial(client.has_answers, client.answered + 50))
                before = await pids(gateway)
                gateway.send_signal(signal.SIGHUP)
                for name, old in before.items():
                    await wait_for(partial(has_new_process, gateway, name, old))
            await wait_for(partial(client.has_answers, client.answered + 50))
        ledger = await gateway.drained()
        metrics = await gateway.metrics()
        assert await gateway.terminate() == 0

    assert client.cut_off == 0
    assert {answer.status for answer in client.answers} == {200}
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_exactly_once()
    assert (ledger["gap"], ledger["delivered"]) == (0, ledger["accepted"])
    assert metrics['gateway_worker_restarts_total{reason="reload"}'] == 3 * workers
    assert metrics['gateway_reloads_total{outcome="applied"}'] == 3
    # Those that made room said what they had counted.
    counted = metrics['gateway_http_requests_total{family="segment",status="200"}']
    assert counted == client.answered


@pytest.mark.parametrize("workers", [1, 2])
async def test_new_configuration_is_used_and_what_was_pending_is_delivered(
    tmp_path: Path, workers: int
) -> None:
    stand_in = Sandbox(token=TOKEN, faults=[Fault(action="status", status=500)])
    await stand_in.start()
    try:
        async with GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway:
            assert [await post(gateway) for _ in range(10)] == [200] * 10
            assert await post(gateway, "another-key") == 401
            config = gateway.config()
            config.write_text(config.read_text().replace(WRITE_KEY, "another-key"))
            gateway.send_signal(signal.SIGHUP)
            await gateway.running.printed("all workers run with the new configuration")
            assert (await gateway.ledger())["accepted"] == 10
            assert await post(gateway, "another-key") == 200
            assert await post(gateway) == 401
            stand_in.faults.replace([])
            ledger = await gateway.drained()
    finally:
        await stand_in.stop()
    assert (ledger["accepted"], ledger["delivered"], ledger["gap"]) == (11, 11, 0)
    assert len(stand_in.store.records()) == 11


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (r"\[server\]", "[server]\nx =", "valid TOML"),
        (r"(?<=server\]\nport = )\d+", "9", r"server.port can only change with a restart"),
        (r"(?<=admin\]\nport = )\d+", "9", r"admin can only change with a restart"),
        (r"/spool(?=\")", "/other", r"spool.path can only change with a restart"),
        (r"\[server\]", '[server]\nhost = "::1"', r"server.host can only change with a restart"),
    ],
)
async def test_configuration_that_cannot_be_used_changes_nothing(
    tmp_path: Path, workers: int, before: str, after: str, expected: str
) -> None:
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": workers}) as gateway:
        running = await pids(gateway)
        config = gateway.config()
        config.write_text(re.sub(before, after, config.read_text()))
        gateway.send_signal(signal.SIGHUP)
        await gateway.running.printed(f"not reloaded; nothing has changed: .*{expected}")
        assert await pids(gateway) == running
        assert await post(gateway) == 200
        metrics = await gateway.metrics()
        assert metrics['gateway_reloads_total{outcome="refused"}'] == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_no_worker_can_start_with_gives_way_to_what_was_there_before(
    tmp_path: Path, workers: int
) -> None:
    """What was right when the configuration was read is so no more when a worker starts."""
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": workers}) as gateway:
        before = await pids(gateway)
        config = gateway.config()
        good = config.read_text()
        bundle = tmp_path / "bundle"
        config.write_text(good.replace("[server]", f'[server]\nbrowser_bundle = "{bundle}"'))
        bundle.mkdir()
        (bundle / "standalone.js").write_text("// a script")
        gateway.send_signal(signal.SIGHUP)
        await gateway.running.printed("replacing the workers")
        (bundle / "standalone.js").unlink()
        bundle.rmdir()
        await gateway.running.printed("not reloaded; nothing has changed: .*worker-")
        after = await wait_for(lambda: all_running(gateway, workers))
        assert before.keys() == after.keys()
        assert await post(gateway) == 200
        assert await gateway.terminate() == 0


async def all_running(gateway: GatewayProcess, workers: int) -> dict[str, int] | None:
    found = await pids(gateway)
    return found if len(found) == workers else None


def bombard(pid: int) -> None:
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"):
        os.kill(pid, getattr(signal, name))


@pytest.mark.parametrize("workers", [1, 2])
async def test_signals_before_it_is_ready_and_during_a_reload_end_nothing(
    tmp_path: Path, workers: int
) -> None:
    async with sandbox() as stand_in:
        gateway = GatewayProcess(tmp_path, stand_in.url, server={"workers": workers})
        running = await gateway.launch()
        try:
            # The last one of them; whoever runs the tests may have SIGHUP ignored already.
            await wait_for(lambda: takes(running.pid, signal.SIGALRM))
            while "statusz" not in running.output():
                bombard(running.pid)
                for pid in running.workers():
                    if takes(pid, signal.SIGALRM):
                        bombard(pid)
                await asyncio.sleep(0.005)
            await gateway.running.printed("all workers run with the new configuration")
            for _ in range(50):
                bombard(running.pid)
                for pid in running.workers():
                    bombard(pid)
                await asyncio.sleep(0.05)
            gateway.url = f"http://127.0.0.1:{gateway.ports[0]}"
            assert await post(gateway) == 200
        finally:
            assert await gateway.terminate() == 0
    assert "ended with" not in gateway.output()


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_each_signal_to_stop_drains_and_exits_0(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway,
    ):
        async with Client(gateway.url) as client:
            await wait_for(partial(client.has_answers, 20))
        workers_of_it = gateway.running.workers()
        assert await gateway.end(number) == 0
        assert "stopped; 0 records wait" in gateway.output()
        assert all_gone(workers_of_it)
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_exactly_once()


MOMENTS_S = (0.0, 0.05, 0.4, 1.0)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moment_s", MOMENTS_S)
async def test_told_to_stop_before_it_is_ready_it_exits_0_and_leaves_nobody(
    tmp_path: Path, workers: int, moment_s: float
) -> None:
    gateway = GatewayProcess(tmp_path, NOWHERE, server={"workers": workers})
    running = await gateway.launch()
    await wait_for(lambda: catches(running.pid, signal.SIGTERM))
    await asyncio.sleep(moment_s)
    children = running.workers()
    assert await gateway.terminate() == 0
    await wait_for(lambda: all_gone(children), 10.0)  # some have to be loaded first


@pytest.mark.parametrize("number", STOPS)
async def test_told_to_stop_while_it_is_being_loaded_it_exits_0_without_a_word(
    tmp_path: Path, number: signal.Signals
) -> None:
    gateway = GatewayProcess(tmp_path, NOWHERE)
    running = await gateway.launch()
    await wait_for(lambda: catches(running.pid, signal.SIGQUIT))
    assert await gateway.end(number) == 0
    assert gateway.output() == ""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moment_s", MOMENTS_S)
async def test_told_to_stop_during_a_reload_it_cuts_no_request_short(
    tmp_path: Path, workers: int, moment_s: float
) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway,
    ):
        async with Client(gateway.url) as client:
            await wait_for(partial(client.has_answers, 20))
        gateway.send_signal(signal.SIGHUP)
        await asyncio.sleep(moment_s)
        children = gateway.running.workers()
        assert await gateway.terminate() == 0
        await wait_for(lambda: all_gone(children), 1.0)
    assert {answer.status for answer in client.answers} == {200}


@pytest.mark.parametrize("number", STOPS)
async def test_worker_that_is_told_to_stop_by_others_is_started_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": 1}) as gateway,
    ):
        async with Client(gateway.url, tasks=8) as client:
            await wait_for(partial(client.has_answers, 20))
            old = (await pids(gateway))["worker-0"]
            os.kill(old, number)
            await wait_for(partial(has_new_process, gateway, "worker-0", old))
            await wait_for(partial(client.has_answers, client.answered + 20))
        await gateway.drained()
    assert client.cut_off == 0
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_exactly_once()


@pytest.mark.parametrize("workers", [1, 2])
async def test_killed_with_everything_it_starts_again_at_once(tmp_path: Path, workers: int) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway,
    ):
        for _ in range(2):
            async with Client(gateway.url) as client:
                await wait_for(partial(client.has_answers, 20))
                children = gateway.running.workers()
                await gateway.kill()
                # Before another program could even be loaded.
                await wait_for(partial(all_gone, children), 0.2)
                await gateway.restart()
        ledger = await gateway.drained()
    assert ledger["gap"] == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_requests_to_a_slow_destination_are_not_made_twice_by_a_reload(
    tmp_path: Path, workers: int
) -> None:
    """There is more to deliver than anybody would wait for."""
    stand_in = Sandbox(
        token=TOKEN, keep=1_000_000, faults=[Fault(action="stall", after=True, stall_s=1.0)]
    )
    await stand_in.start()
    try:
        async with GatewayProcess(
            tmp_path, stand_in.url, server={"workers": workers}, batch_records=1
        ) as gateway:
            async with Client(gateway.url, tasks=8) as client:
                await wait_for(partial(client.has_answers, 100))
            assert (await gateway.ledger())["pending"] > 40
            began = time.monotonic()
            gateway.send_signal(signal.SIGHUP)
            await gateway.running.printed("all workers run with the new configuration")
            took_s = time.monotonic() - began
            pending = (await gateway.ledger())["pending"]
            stand_in.faults.replace([])
            ledger = await gateway.drained()
    finally:
        await stand_in.stop()
    assert pending > 0, "it was meant to be too much"
    assert took_s < workers * 15
    assert (ledger["gap"], ledger["delivered"]) == (0, ledger["accepted"])
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_exactly_once()


@pytest.mark.parametrize("workers", [1, 2])
async def test_who_connects_while_it_stops_is_refused_and_not_cut_off(
    tmp_path: Path, workers: int
) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": workers}) as gateway,
        Client(gateway.url, tasks=6) as client,
    ):
        await wait_for(partial(client.has_answers, 40))
        assert await gateway.terminate() == 0
        await asyncio.sleep(0.5)
        assert client.cut_off == 0
