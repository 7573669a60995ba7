"""Workers that hang are noticed, named and replaced; those that only work are left alone."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from gateway.workers.watch import Pulse
from tests.support.oracle_client import Client
from tests.support.oracle_judge import judge
from tests.support.paths import TESTS
from tests.support.processes import TOKEN, GatewayProcess, wait_for
from tests.system.test_workers import has_new_process, pids, sandbox
from tests.system.test_workers_signals import all_gone, post

NOWHERE = "http://127.0.0.1:9"
TIMEOUT_S = 4
QUICK = {"worker_timeout_s": TIMEOUT_S}
KILL_S = 5

BUSY = TESTS / "support" / "busy_gateway.py"


def test_silence_counts_only_while_somebody_listens() -> None:
    pulse = Pulse(100.0)
    assert [pulse.look(100.0 + second) for second in (1, 2, 3)] == [1, 2, 3]
    pulse.hear()
    assert pulse.look(104) == 1
    assert pulse.look(104 + 3600) == 3, "who did not look for an hour was stopped himself"
    assert pulse.look(104 + 3601) == 4
    pulse.hear()
    assert pulse.look(104 + 3601.5) == 0.5


async def admin(gateway: GatewayProcess, page: str) -> tuple[int, str]:
    async with (
        asyncio.timeout(5),
        aiohttp.request("GET", f"{gateway.admin_url}/{page}") as response,
    ):
        return response.status, await response.text()


async def is_named(gateway: GatewayProcess, name: str) -> bool:
    status, text = await admin(gateway, "readyz")
    return status == 503 and name in text


@pytest.mark.parametrize("workers", [1, 2])
async def test_stopped_worker_is_named_replaced_and_nothing_is_lost(
    tmp_path: Path, workers: int
) -> None:
    stand_in = Sandbox(token=TOKEN, keep=1_000_000, faults=[Fault(action="status", status=500)])
    await stand_in.start()
    try:
        async with GatewayProcess(
            tmp_path, stand_in.url, server={"workers": workers, **QUICK}
        ) as gateway:
            async with Client(gateway.url, tasks=8) as client:
                await wait_for(partial(client.has_answers, 50))
                victim = (await pids(gateway))["worker-0"]
                began = time.monotonic()
                os.kill(victim, signal.SIGSTOP)
                await wait_for(partial(is_named, gateway, "worker-0"), TIMEOUT_S + KILL_S)
                state = (await gateway.statusz())["workers"]["worker-0"]["state"]
                silent = (await gateway.metrics())["gateway_workers_silent"]
                assert (state, silent) == ("silent", 1)
                await wait_for(partial(has_new_process, gateway, "worker-0", victim), 40)
                assert time.monotonic() - began > TIMEOUT_S
                assert all_gone([victim])
                assert (await admin(gateway, "readyz"))[0] == 200
                await wait_for(partial(client.has_answers, client.answered + 50))
            stand_in.faults.replace([])
            ledger = await gateway.drained()
            metrics = await gateway.metrics()
            assert await gateway.terminate() == 0
    finally:
        await stand_in.stop()
    assert f"worker-0 has not answered for {TIMEOUT_S} s" in gateway.output()
    assert metrics['gateway_worker_restarts_total{reason="hung"}'] == 1
    assert metrics["gateway_workers_silent"] == 0
    assert (ledger["gap"], ledger["delivered"]) == (0, ledger["accepted"])
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_nothing_lost()


async def test_whole_gateway_that_was_stopped_goes_on_with_the_same_processes(
    tmp_path: Path,
) -> None:
    """As on a machine that is suspended."""
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": 2, **QUICK}) as gateway:
        before = await pids(gateway)
        await asyncio.sleep(1.5)  # they have been asked
        gateway.send_signal_to_all(signal.SIGSTOP)
        await asyncio.sleep(TIMEOUT_S + KILL_S + 2)
        gateway.send_signal_to_all(signal.SIGCONT)
        await asyncio.sleep(3)
        assert await pids(gateway) == before
        assert await post(gateway) == 200
        assert "has not answered" not in gateway.output()


async def test_supervisor_that_was_stopped_finds_its_workers_serving(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server={"workers": 2, **QUICK}) as gateway,
    ):
        before = await pids(gateway)
        gateway.send_signal(signal.SIGTSTP)
        async with Client(gateway.url) as client:
            await asyncio.sleep(TIMEOUT_S + KILL_S + 2)
            answered = client.answered
            await wait_for(partial(client.has_answers, answered + 20))
            gateway.send_signal(signal.SIGCONT)
            await asyncio.sleep(3)
        assert await pids(gateway) == before
        await gateway.drained()
    assert client.cut_off == 0
    assert {answer.status for answer in client.answers} == {200}


async def test_worker_that_goes_on_in_time_is_left_alone(tmp_path: Path) -> None:
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": 2, **QUICK}) as gateway:
        before = await pids(gateway)
        for _ in range(3):
            os.kill(before["worker-0"], signal.SIGSTOP)
            await asyncio.sleep(TIMEOUT_S / 2)
            os.kill(before["worker-0"], signal.SIGCONT)
            await asyncio.sleep(1.5)
        assert await pids(gateway) == before


@asynccontextmanager
async def busy(directory: Path, moment: str, *, workers: int = 1) -> AsyncIterator[GatewayProcess]:
    """Run a gateway whose worker works for ever, or for long, at that moment of its first life."""
    gateway = GatewayProcess(
        directory,
        NOWHERE,
        server={"workers": workers, **QUICK},
        program=BUSY,
        env={"BUSY": moment},
        shutdown_timeout_s=1.0,
    )
    try:
        yield gateway
    finally:
        if gateway._running is not None:
            await gateway.end(signal.SIGKILL)


async def test_worker_whose_event_loop_is_busy_for_ever_is_replaced(tmp_path: Path) -> None:
    async with busy(tmp_path, "request") as gateway:
        await gateway.restart()
        old = (await pids(gateway))["worker-0"]
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await post(gateway)
        await wait_for(partial(has_new_process, gateway, "worker-0", old), 40)
        assert await post(gateway) == 200
        assert "worker-0 has not answered" in gateway.output()


async def test_worker_that_takes_long_to_open_its_spool_is_waited_for(tmp_path: Path) -> None:
    async with busy(tmp_path, "open") as gateway:
        began = time.monotonic()
        await gateway.restart()
        assert time.monotonic() - began > TIMEOUT_S + KILL_S
        assert await post(gateway) == 200
        assert (await gateway.statusz())["workers"]["worker-0"]["starts"] == 1


async def test_worker_whose_disk_takes_long_is_left_alone(tmp_path: Path) -> None:
    async with busy(tmp_path, "commit") as gateway:
        await gateway.restart()
        before = await pids(gateway)
        asking = asyncio.create_task(post(gateway))
        await asyncio.sleep(TIMEOUT_S + 2)
        assert not asking.done(), "the disk was meant to take its time"
        asking.cancel()
        assert await pids(gateway) == before
        assert "has not answered" not in gateway.output()


async def test_worker_that_hangs_at_its_start_is_a_reason_not_to_start(tmp_path: Path) -> None:
    async with busy(tmp_path, "start") as gateway:
        running = await gateway.launch()
        assert await running.ended() == 1
        assert "worker-0 has not answered" in gateway.output()
        assert "Traceback" not in gateway.output()


@pytest.mark.parametrize("workers", [1, 2])
async def test_worker_that_hangs_while_it_stops_is_killed(tmp_path: Path, workers: int) -> None:
    async with GatewayProcess(
        tmp_path, NOWHERE, server={"workers": workers, **QUICK}, shutdown_timeout_s=2.0
    ) as gateway:
        children = gateway.running.workers()
        os.kill(children[0], signal.SIGSTOP)
        began = time.monotonic()
        assert await gateway.terminate() == 0
        assert time.monotonic() - began < TIMEOUT_S + KILL_S + 6
        assert all_gone(children)
        assert "has not answered" in gateway.output()


async def test_reload_goes_on_past_a_worker_that_hangs(tmp_path: Path) -> None:
    async with GatewayProcess(tmp_path, NOWHERE, server={"workers": 2, **QUICK}) as gateway:
        before = await pids(gateway)
        os.kill(before["worker-0"], signal.SIGSTOP)
        gateway.send_signal(signal.SIGHUP)
        await gateway.running.printed("all workers run with the new configuration")
        after = await pids(gateway)
        assert not set(before.values()) & set(after.values())
        assert await post(gateway) == 200
