"""Several processes on one port: shared out, watched, replaced, and added up as one."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from gateway.config import (
    Config,
    DestinationConfig,
    DestinationSettings,
    MixpanelSdksConfig,
    Secret,
    SourceConfig,
)
from gateway.sandbox import Fault, Sandbox
from gateway.workers.shares import share_of
from gateway.workers.watch import Restarts
from tests.support.oracle_client import Client
from tests.support.oracle_judge import judge
from tests.support.processes import TOKEN, WRITE_KEY, GatewayProcess, wait_for

WORKERS = {"workers": 2}


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    stand_in = Sandbox(token=TOKEN, keep=1_000_000)
    await stand_in.start()
    try:
        yield stand_in
    finally:
        await stand_in.stop()


async def pids(gateway: GatewayProcess) -> dict[str, int]:
    """Return the process of each worker that runs."""
    workers = (await gateway.statusz())["workers"]
    return {name: each["pid"] for name, each in workers.items() if each["state"] == "running"}


async def has_new_process(gateway: GatewayProcess, name: str, old: int) -> bool:
    return (await pids(gateway)).get(name, old) != old


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_all_workers_take_events_and_the_admin_port_adds_them_up(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        async with Client(gateway.url, tasks=32) as client:
            await wait_for(partial(client.has_answers, 200))
        ledger = await gateway.drained()
        status = await gateway.statusz()
        metrics = await gateway.metrics()

    each = [worker["ledger"] for worker in status["workers"].values()]
    assert len(each) == 2
    assert all(one["accepted"] > 0 for one in each)
    assert sum(one["accepted"] for one in each) == ledger["accepted"]
    assert ledger["gap"] == 0
    answered = metrics['gateway_http_requests_total{family="segment",status="200"}']
    assert answered == client.answered
    assert metrics['gateway_ledger_gap{destination="mixpanel"}'] == 0
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_nothing_lost()


async def test_killed_worker_is_replaced_while_the_other_goes_on(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS, batch_records=50) as gateway,
    ):
        async with Client(gateway.url, tasks=16) as client:
            for name in ("worker-0", "worker-1", "worker-0"):
                await wait_for(partial(client.has_answers, client.answered + 50))
                victim = (await pids(gateway))[name]
                os.kill(victim, signal.SIGKILL)
                answered = client.answered
                await wait_for(partial(client.has_answers, answered + 20))
                await wait_for(partial(has_new_process, gateway, name, victim))
        ledger = await gateway.drained()
        metrics = await gateway.metrics()

    assert ledger["gap"] == 0
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_nothing_lost()
    # Counters of those that were killed go on counting, but for what they did since last asked.
    counted = metrics['gateway_http_requests_total{family="segment",status="200"}']
    assert 0 < counted <= client.answered


async def test_counters_of_a_worker_that_ended_do_not_fall(tmp_path: Path) -> None:
    name = 'gateway_http_requests_total{family="segment",status="200"}'
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        async with Client(gateway.url) as client:
            await wait_for(partial(client.has_answers, 50))
        before = await gateway.metrics()
        for worker, pid in (await pids(gateway)).items():
            os.kill(pid, signal.SIGKILL)
            await wait_for(partial(has_new_process, gateway, worker, pid))
        after = await gateway.metrics()

    assert before[name] == after[name] == client.answered


async def test_workers_are_replaced_one_by_one_and_no_request_fails(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        async with Client(gateway.url, tasks=16) as client:
            for _ in range(3):
                await wait_for(partial(client.has_answers, client.answered + 50))
                before = await pids(gateway)
                gateway.send_signal(signal.SIGHUP)
                for name, old in before.items():
                    await wait_for(partial(has_new_process, gateway, name, old))
            await wait_for(partial(client.has_answers, client.answered + 50))
        await gateway.drained()
        assert await gateway.terminate() == 0

    assert client.cut_off == 0
    assert {answer.status for answer in client.answers} == {200}
    verdict = judge(stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent)
    verdict.assert_exactly_once()


async def test_configuration_with_mistakes_replaces_nobody(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        before = await pids(gateway)
        config = gateway.config()
        good = config.read_text()
        for text, expected in (
            (good + "\nx =", "not reloaded; nothing has changed"),
            (good.replace("workers = 2", "workers = 3"), "server.workers can only change"),
        ):
            config.write_text(text)
            gateway.send_signal(signal.SIGHUP)
            await gateway.running.printed(expected)
        assert await pids(gateway) == before


async def test_with_the_supervisor_its_workers_end(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        workers = (await pids(gateway)).values()
        await gateway.kill()
        await wait_for(lambda: all(is_gone(pid) for pid in workers))
        await gateway.restart()  # nobody holds the port or a spool
        assert len(await pids(gateway)) == 2


async def test_what_more_workers_have_left_is_delivered_by_fewer(tmp_path: Path) -> None:
    async with sandbox() as stand_in:
        stand_in.faults.replace([Fault(action="status", status=500)])
        three = GatewayProcess(
            tmp_path, stand_in.url, server={"workers": 3}, shutdown_timeout_s=0.5
        )
        async with three:
            async with Client(three.url, tasks=32) as client:
                await wait_for(partial(client.has_answers, 100))
            left = await three.ledger()
            assert await three.terminate() == 0
        assert left["pending"] == left["accepted"] > 0
        assert len(list((tmp_path / "spool").glob("worker-*.db"))) == 3

        stand_in.faults.replace([])
        async with GatewayProcess(tmp_path, stand_in.url) as one:
            drained = await one.drained()
            workers = (await one.statusz())["workers"]
            assert await one.terminate() == 0
    assert drained == {**left, "pending": 0, "delivered": left["accepted"]}
    assert {name: each["serves"] for name, each in workers.items()} == {
        "worker-0": True,
        "worker-1": False,
        "worker-2": False,
    }
    judge(
        stand_in.store.records(), acknowledged=client.acknowledged, sent=client.sent
    ).assert_nothing_lost()


async def test_worker_that_keeps_dying_leaves_its_connections_to_the_other(tmp_path: Path) -> None:
    body = {"type": "track", "event": "E", "userId": "u", "writeKey": WRITE_KEY}

    async def post() -> int:  # on a connection of its own
        async with aiohttp.request("POST", f"{gateway.url}/v1/track", json=body) as response:
            return response.status

    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        for _ in range(4):  # each soon after the start
            victim = (await pids(gateway))["worker-1"]
            os.kill(victim, signal.SIGKILL)
            await wait_for(partial(has_new_process, gateway, "worker-1", victim))
        os.kill((await pids(gateway))["worker-1"], signal.SIGKILL)
        await gateway.running.printed(r"worker-1 ended .* again in 4 s")
        async with asyncio.timeout(3.5):
            statuses = await asyncio.gather(*(post() for _ in range(40)))
        assert list(await pids(gateway)) == ["worker-0"]
        assert statuses == [200] * 40


async def test_spool_in_use_is_a_reason_not_to_start(tmp_path: Path) -> None:
    async with (
        sandbox() as stand_in,
        GatewayProcess(tmp_path, stand_in.url, server=WORKERS) as gateway,
    ):
        other = GatewayProcess(tmp_path / "other", stand_in.url, server=WORKERS)
        (tmp_path / "other").mkdir()
        (tmp_path / "other/spool").symlink_to(tmp_path / "spool")
        running = await other.launch()
        assert await running.ended() == 1
        assert "is in use" in other.output()
        assert "Traceback" not in other.output()
        assert len(await pids(gateway)) == 2


@pytest.mark.parametrize("taken", [0, 1], ids=["port of SDKs", "port of operators"])
@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 1), (1, 2)])
async def test_second_gateway_on_a_port_says_so_and_ends(
    tmp_path: Path, first: int, second: int, taken: int
) -> None:
    (tmp_path / "other").mkdir()
    url = "http://127.0.0.1:9"
    async with GatewayProcess(tmp_path, url, server={"workers": first}) as gateway:
        other = GatewayProcess(tmp_path / "other", url, server={"workers": second})
        port = gateway.ports[taken]
        other.ports = (port, other.ports[1]) if taken == 0 else (other.ports[0], port)
        running = await other.launch()
        assert await running.ended() == 1
        assert re.search(rf"cannot start: .*{port}.*in use", other.output())
        assert "Traceback" not in other.output()
        for page in (f"{gateway.url}/health", f"{gateway.admin_url}/livez"):
            async with aiohttp.request("GET", page) as answer:
                assert answer.status == 200


def test_dead_worker_is_started_at_once_and_then_after_longer_and_longer() -> None:
    restarts = Restarts()
    delays = [restarts.after_death(now, now + 1) for now in range(9)]
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.after_death(0, 31) == 0
    assert restarts.count == 10


def test_workers_share_what_sources_may_send() -> None:
    source = SourceConfig(
        name="s", write_key=Secret("k"), max_events_per_second=100, max_requests_per_second=2
    )
    config = Config(
        sources=(source,),
        destinations=(
            DestinationConfig(
                name="mp",
                settings=DestinationSettings(projectToken="token"),
                mixpanel_sdks=MixpanelSdksConfig(max_events_per_second=100.0),
            ),
        ),
    )
    share = share_of(config, 4)

    assert share.sources[0].max_events_per_second == 25
    assert share.sources[0].max_requests_per_second == 0.5
    assert share.destinations[0].mixpanel_sdks.max_events_per_second == 25
    assert share.destinations[0].mixpanel_sdks.max_requests_per_second is None


def test_workers_share_disk_rates_and_connections_but_not_memory() -> None:
    config = Config(
        sources=(SourceConfig(name="s", write_key=Secret("k")),),
        destinations=(
            DestinationConfig(name="mp", settings=DestinationSettings(projectToken="token")),
        ),
    )
    share = share_of(config, 4)

    delivery, whole = share.destinations[0].delivery, config.destinations[0].delivery
    assert delivery.records_per_second * 4 == whole.records_per_second
    assert delivery.bytes_per_minute * 4 == whole.bytes_per_minute
    assert delivery.connections == whole.connections // 4
    assert share.spool.max_bytes * 4 == config.spool.max_bytes
    assert share.server == config.server
    assert share.sources == config.sources  # without limits
    assert share.delivery == config.delivery
    many = replace(config, destinations=config.destinations)
    assert share_of(many, 200).destinations[0].delivery.connections == 1
