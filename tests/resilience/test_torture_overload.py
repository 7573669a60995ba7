"""Overload and restarts with small numbers; ``make torture`` runs the same with large ones."""

import asyncio
import re
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import WRITE_KEY, GatewayProcess, wait_for
from tests.support.serving import EVENT, message
from tests.torture import overload, restarts

SLACK = 0.3
"""Of the peak: this machine may be busy with other things, and a second is short."""


@pytest.mark.parametrize("load", ["events", "batches, little room"])
async def test_ten_times_the_load_does_not_cost_goodput(load: str) -> None:
    """Clients do not even wait as long as they are told."""
    await overload.run(connections=16, seconds=1.5, rounds=1, loads=[load], least_share=SLACK)


async def test_restarts_are_not_noticed_by_requests_under_way() -> None:
    await restarts.run(restarts=3, clients=6, requests=30)


async def test_idle_connection_may_still_ask_while_the_gateway_stops(tmp_path: Path) -> None:
    headers = {"X-Write-Key": WRITE_KEY}
    async with GatewayProcess(tmp_path, "http://127.0.0.1:9", shutdown_timeout_s=2) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message("/v1/t", EVENT, headers))
        assert b" 200 " in await reader.readuntil(b"}")
        gateway.running.send_signal(signal.SIGTERM)
        await gateway.running.printed("stopping")
        writer.write(message("/v1/t", EVENT, headers))
        answer = await reader.read()
        assert b" 200 " in answer
        assert b"\r\nConnection: close\r\n" in answer
        writer.close()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(gateway.url)
        assert await gateway.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_cuts_short(tmp_path: Path, number: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    async with GatewayProcess(tmp_path, "http://127.0.0.1:9", shutdown_timeout_s=60) as gateway:
        port = int(gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message("/v1/t", EVENT, {"X-Write-Key": WRITE_KEY}))
        assert b" 200 " in await reader.readuntil(b"}")
        began = loop.time()
        gateway.running.send_signal(signal.SIGTERM)
        await gateway.running.printed("stopping")
        gateway.running.send_signal(number)
        await gateway.running.printed("told again")
        assert await gateway.terminate() == 0
        assert loop.time() - began < 20
        assert re.search(r"stopped; 1 records wait", gateway.output())
        writer.close()


async def test_gateway_without_descriptors_goes_on(tmp_path: Path) -> None:
    """More connections are allowed than the system grants."""
    server = {"max_connections": 100_000}
    async with GatewayProcess(
        tmp_path, "http://127.0.0.1:9", server=server, shutdown_timeout_s=1
    ) as gateway:
        gateway.running.limit_files(100)
        port = int(gateway.url.rpartition(":")[2])
        opened = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", port) for _ in range(150)),
            return_exceptions=True,
        )
        for each in opened:
            if not isinstance(each, BaseException):
                each[1].close()

        async def answers() -> bool:
            try:
                async with aiohttp.ClientSession() as session:
                    headers = {"X-Write-Key": WRITE_KEY}
                    async with session.post(
                        f"{gateway.url}/v1/t", data=EVENT, headers=headers
                    ) as response:
                        return response.status == 200
            except aiohttp.ClientError:
                return False

        await wait_for(answers)
        assert await gateway.terminate() == 0
