"""Health that is true: what is said when the spool takes nothing, before anybody has tried."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.model import Entry, Queue
from gateway.spool.sqlite import SqliteSpool
from tests.support.letters import IMPORT, spool_in
from tests.support.processes import WRITE_KEY, GatewayProcess, wait_for

FAR_TOO_MUCH = 2**60


class Gateway(GatewayProcess):
    """A gateway with members of ``[spool]``."""

    spool = ""

    def config(self) -> Path:
        path = super().config()
        path.write_text(path.read_text().replace("[spool]\n", f"[spool]\n{self.spool}\n"))
        return path


@asynccontextmanager
async def running(directory: Path, spool: str, workers: int = 1) -> AsyncIterator[Gateway]:
    process = Gateway(directory, "http://127.0.0.1:1", server={"workers": workers})
    process.spool = spool
    async with process:
        yield process


async def ask(url: str, method: str = "GET") -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        body = await response.read()
        return response.status, json.loads(body) if body else None, response.headers


async def send(process: Gateway) -> int:
    async with (
        aiohttp.ClientSession(headers={"X-Write-Key": WRITE_KEY}) as session,
        session.post(f"{process.url}/v1/track", json={"event": "E", "userId": "u"}) as response,
    ):
        return response.status


PATHS = ("/health", "/health/", "/healthz", "/ready", "/readyz")


@pytest.mark.parametrize("workers", [1, 2])
async def test_volume_that_is_nearly_full_is_told_before_the_first_event(
    tmp_path: Path, workers: int
) -> None:
    async with running(tmp_path, f"min_free_bytes = {FAR_TOO_MUCH}", workers) as process:
        status, document, _ = await ask(f"{process.admin_url}/readyz")
        assert status == 503
        free = re.search(r"(\d+) bytes free", document["detail"])
        assert free, document
        assert f"{FAR_TOO_MUCH} have to stay so" in document["detail"]
        assert "make room" in document["detail"]
        for path in PATHS:
            for method in ("GET", "HEAD"):
                status, answer, headers = await ask(f"{process.url}{path}", method)
                assert (status, headers["Retry-After"].isdecimal()) == (503, True), path
                assert (answer is None) == (method == "HEAD")
                assert "worker-0.db" not in str(answer), "that is for operators"
        assert await send(process) == 503
        spool = (await process.statusz())["spool"]
        assert not spool["accepting"]
        assert abs(spool["disk_free_bytes"] - int(free[1])) < 2**33
        assert spool["min_free_bytes"] == FAR_TOO_MUCH
        assert "not accepting" in process.output(), "start-up says so"


async def test_healthy_gateway_says_so_everywhere(tmp_path: Path) -> None:
    async with running(tmp_path, "max_bytes = 100_000_000") as process:
        for path in PATHS:
            for method in ("GET", "HEAD"):
                status, answer, headers = await ask(f"{process.url}{path}", method)
                assert (status, headers["Cache-Control"]) == (200, "no-store"), path
                assert answer == (None if method == "HEAD" else {})
        assert await send(process) == 200
        spool = (await process.statusz())["spool"]
        assert spool["accepting"]
        assert 0 < spool["used_bytes"] < spool["capacity_bytes"] == 100_000_000
        disk = shutil.disk_usage(tmp_path)
        assert abs(spool["disk_free_bytes"] - disk.free) < 2**33
        metrics = await process.metrics()
        assert metrics["gateway_spool_capacity_bytes"] == 100_000_000
        assert metrics["gateway_spool_used_bytes"] == spool["used_bytes"]
        assert abs(metrics["gateway_spool_disk_free_bytes"] - disk.free) < 2**33
        assert metrics["gateway_spool_min_free_bytes"] == 256 * 2**20


async def test_room_of_workers_adds_up_and_that_of_their_disk_does_not(tmp_path: Path) -> None:
    async with running(tmp_path, "max_bytes = 100_000_000", workers=2) as process:
        total = (await process.statusz())["spool"]
        each = [
            (await ask(f"{process.admin_url}/workers/worker-{n}/statusz"))[1]["spool"]
            for n in range(2)
        ]
        assert total["capacity_bytes"] == 100_000_000
        assert total["used_bytes"] == sum(spool["used_bytes"] for spool in each)
        assert abs(total["disk_free_bytes"] - each[0]["disk_free_bytes"]) < 2**33
        assert total["min_free_bytes"] == 256 * 2**20
        metrics = await process.metrics()
        assert metrics["gateway_spool_capacity_bytes"] == 100_000_000
        assert metrics["gateway_spool_min_free_bytes"] == 256 * 2**20
        assert metrics["gateway_spool_disk_free_bytes"] < 1.5 * shutil.disk_usage(tmp_path).free
        status, document, _ = await ask(f"{process.admin_url}/readyz")
        assert (status, document["workers"], document["of"], document["detail"]) == (200, 2, 2, "")


async def test_worker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, "", workers=2) as process:
        workers = (await process.statusz())["workers"]
        os.kill(workers["worker-1"]["pid"], signal.SIGKILL)

        async def is_missed() -> bool:
            status, document, _ = await ask(f"{process.admin_url}/readyz")
            assert (status, document["of"]) == (200, 2)
            return document["workers"] == 1 and "worker-1" in document["detail"]

        await wait_for(is_missed)


async def test_disk_that_others_fill_is_noticed_without_an_event(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    async with running(tmp_path, f"min_free_bytes = {free - 2**30}") as process:
        assert (await ask(f"{process.url}/health"))[0] == 200
        with (tmp_path / "others").open("wb") as others:
            os.posix_fallocate(others.fileno(), 0, 3 * 2**30)

        async def is_told() -> bool:
            return (await ask(f"{process.url}/health"))[0] == 503

        await wait_for(is_told)
        assert (await ask(f"{process.admin_url}/readyz"))[0] == 503
        (tmp_path / "others").unlink()

        async def is_well() -> bool:
            return (await ask(f"{process.url}/health"))[0] == 200

        await wait_for(is_well)


async def test_folder_that_vanishes_is_noticed_without_an_event(tmp_path: Path) -> None:
    async with running(tmp_path, "") as process:
        (tmp_path / "spool").rename(tmp_path / "elsewhere")

        async def is_told() -> bool:
            return (await ask(f"{process.url}/health"))[0] == 503

        await wait_for(is_told)
        status, document, _ = await ask(f"{process.admin_url}/readyz")
        assert (status, str(tmp_path / "spool") in document["detail"]) == (503, True)
        (tmp_path / "elsewhere").rename(tmp_path / "spool")

        async def is_well() -> bool:
            return (await ask(f"{process.url}/health"))[0] == 200

        await wait_for(is_well)


async def test_asking_often_writes_no_more_than_asking_once(tmp_path: Path) -> None:
    async with running(tmp_path, "") as process:
        before = (await process.metrics())["gateway_spool_commits_total"]
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                async with session.get(f"{process.url}/health") as response:
                    assert response.status == 200
        after = (await process.metrics())["gateway_spool_commits_total"]
        assert after - before <= loop.time() - began + 3


# The log


async def fill(spool: SqliteSpool, seconds: float = 60.0) -> str:
    """Append and settle nothing, until it is refused; return why."""
    lines = os.urandom(300_000).hex().encode() + b"\n"
    async with asyncio.timeout(seconds):
        while spool.health().accepting:
            try:
                await spool.append([Entry(IMPORT, lines, 1)])
            except Exception as error:
                return str(error)
    return spool.health().detail


async def test_log_that_a_reader_pins_counts_and_shrinks_when_it_ends(tmp_path: Path) -> None:
    capacity = 60 * 2**20
    async with spool_in(tmp_path, max_bytes=capacity) as spool:
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        with closing(sqlite3.connect(tmp_path / "worker-0.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT COUNT(*) FROM chunks").fetchone() == (1,)
            detail = await fill(spool)
            log = tmp_path / "worker-0.db-wal"
            assert str(log) in detail
            assert "end that" in detail
            taken = log.stat().st_size + (tmp_path / "worker-0.db").stat().st_size
            assert taken < capacity + 24 * 2**20  # the usual log, and one group
            assert spool.usage().used >= capacity
        await until_accepting(spool)
        await spool.append([Entry(Queue("mixpanel", "track"), b"{}\n", 1)])
        assert log.stat().st_size <= 16 * 2**20


async def until_accepting(spool: SqliteSpool) -> None:
    async def is_accepting() -> bool:
        return (await spool.check()).accepting

    await wait_for(is_accepting)
