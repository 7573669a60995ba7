"""``gateway run`` with nobody, nothing or no room for what it says: it serves and stops as ever."""

import asyncio
import fcntl
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from tests.support.processes import TOKEN, WRITE_KEY, GatewayProcess, wait_for

PAGE = 4096


def dead_pipe() -> int:
    """Return the end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_pipe(also_open: list[int]) -> int:
    """Return the end to write to of a pipe whose reader hangs."""
    reader, writer = os.pipe()
    also_open.append(reader)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    os.write(writer, b"x" * PAGE)
    return writer


def dead_terminal() -> int:
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


@contextmanager
def sink(kind: str) -> Iterator[int]:
    """Give a descriptor that takes nothing; -1: none at all."""
    also_open: list[int] = []
    match kind:
        case "full disk":
            fd = os.open("/dev/full", os.O_WRONLY)
        case "dead reader":
            fd = dead_pipe()
        case "hanging reader":
            fd = full_pipe(also_open)
        case "dead terminal":
            fd = dead_terminal()
        case _:
            fd = -1
    try:
        yield fd
    finally:
        for each in (*also_open, fd):
            if each >= 0:
                os.close(each)


KINDS = ("full disk", "dead reader", "hanging reader", "dead terminal", "closed")


@asynccontextmanager
async def running(gateway: GatewayProcess, fd: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it with that descriptor for what it says, until it is ready."""
    command: tuple[str, ...] = (sys.executable, "-m", "gateway", "run")
    command += ("--config", str(gateway.config()))
    if fd < 0:
        command = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=fd if fd >= 0 else None,
        stderr=fd if fd >= 0 else None,
        cwd=gateway.directory,
    )
    try:
        admin = f"http://127.0.0.1:{gateway.ports[1]}"
        gateway.admin_url = admin

        async def ready() -> bool:
            assert process.returncode is None, f"it ended with {process.returncode}"
            try:
                async with aiohttp.request("GET", f"{admin}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await wait_for(ready)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def post(gateway: GatewayProcess, event: str) -> int:
    body = {"type": "track", "event": event, "userId": "u", "writeKey": WRITE_KEY}
    url = f"http://127.0.0.1:{gateway.ports[0]}/v1/track"
    async with (
        asyncio.timeout(10),
        aiohttp.request("POST", url, json=body) as response,
    ):
        return response.status


async def is_retrying(gateway: GatewayProcess) -> bool:
    endpoints = (await gateway.statusz())["destinations"]["mixpanel"]["endpoints"]
    return any(each["state"] == "retrying" for each in endpoints.values())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
async def test_gateway_starts_serves_and_drains_whoever_takes_what_it_says(
    tmp_path: Path, kind: str, workers: int
) -> None:
    stand_in = Sandbox(token=TOKEN, faults=[Fault(action="status", status=500)])
    await stand_in.start()
    try:
        gateway = GatewayProcess(tmp_path, stand_in.url, server={"workers": workers})
        with sink(kind) as fd:
            async with running(gateway, fd) as process:
                for number in range(3):
                    assert await post(gateway, f"E{number}") == 200
                await wait_for(lambda: is_retrying(gateway))  # which it has logged
                stand_in.faults.replace([])
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):
                    assert await process.wait() == 0
        names = sorted(str(each.event) for each in stand_in.store.records())
    finally:
        await stand_in.stop()
    assert names == ["E0", "E1", "E2"], "what was pending was delivered before the end"
