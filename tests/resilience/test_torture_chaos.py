"""The chaos proxy does what it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.support.chaos import PASS, Action, Behaviour, ChaosProxy, random_schedule

REQUEST = b"0123456789" * 1000
ANSWER = b"the answer"


class Server:
    """Answers when a whole request has arrived."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.answered = 0
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += data
                while len(self.received) >= len(REQUEST) * (self.answered + 1):
                    self.answered += 1
                    writer.write(ANSWER)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def proxy_with(behaviour: Behaviour) -> AsyncIterator[tuple[Server, ChaosProxy]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with ChaosProxy(f"http://127.0.0.1:{port}") as proxy:
        proxy.behave(behaviour)
        yield server, proxy
    listening.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, timeout_s: float = 10) -> bytes:
        self._writer.write(REQUEST)
        async with asyncio.timeout(timeout_s):
            return await self._reader.readexactly(len(ANSWER))


@asynccontextmanager
async def client_of(proxy: ChaosProxy) -> AsyncIterator[Client]:
    port = int(proxy.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


async def test_what_passes_is_what_was_sent() -> None:
    async with proxy_with(PASS) as (server, proxy), client_of(proxy) as client:
        assert [await client.exchange() for _ in range(3)] == [ANSWER] * 3
        assert server.received == REQUEST * 3
        assert not proxy.struck


@pytest.mark.parametrize(
    ("action", "error"),
    [("cut", asyncio.IncompleteReadError), ("reset", ConnectionResetError)],
)
async def test_request_ends_in_the_middle(action: Action, error: type[Exception]) -> None:
    behaviour = Behaviour(action=action, after_bytes=12_345)
    async with proxy_with(behaviour) as (server, proxy), client_of(proxy) as client:
        assert await client.exchange() == ANSWER
        with pytest.raises(error):
            await client.exchange()
        await server.ended.wait()
        # A RST may overtake what was forwarded just before it.
        assert len(REQUEST) <= len(server.received) <= 12_345
        assert proxy.struck == {action: 1}


async def test_answer_is_lost_after_the_request_arrived() -> None:
    behaviour = Behaviour(action="lose_answer", after_bytes=12_345)
    async with proxy_with(behaviour) as (server, proxy), client_of(proxy) as client:
        assert await client.exchange() == ANSWER
        with pytest.raises(ConnectionResetError):
            await client.exchange()
        assert server.answered == 2


async def test_stall_delays_and_loses_nothing() -> None:
    behaviour = Behaviour(action="stall", after_bytes=5000, stall_s=0.3)
    async with proxy_with(behaviour) as (server, proxy), client_of(proxy) as client:
        started = asyncio.get_running_loop().time()
        assert await client.exchange() == ANSWER
        assert asyncio.get_running_loop().time() - started >= 0.3
        assert server.received == REQUEST


async def test_blackhole_says_nothing_and_takes_everything() -> None:
    behaviour = Behaviour(action="blackhole")
    async with proxy_with(behaviour) as (server, proxy), client_of(proxy) as client:
        with pytest.raises(TimeoutError):
            await client.exchange(timeout_s=0.3)
        assert server.received == b""


async def test_throttled_connection_is_as_slow_as_told() -> None:
    behaviour = Behaviour(bytes_per_s=len(REQUEST) * 4)
    async with proxy_with(behaviour) as (server, proxy), client_of(proxy) as client:
        started = asyncio.get_running_loop().time()
        assert await client.exchange() == ANSWER
        assert asyncio.get_running_loop().time() - started >= 0.24
        assert server.received == REQUEST


async def test_refusing_proxy_comes_back_on_the_same_port() -> None:
    async with proxy_with(PASS) as (_, proxy):
        async with client_of(proxy) as client:
            assert await client.exchange() == ANSWER
            await proxy.refuse()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.exchange()
        with pytest.raises(ConnectionRefusedError):
            async with client_of(proxy):
                pass
        await proxy.accept()
        async with client_of(proxy) as client:
            assert await client.exchange() == ANSWER


async def test_server_that_refuses_looks_like_a_reset() -> None:
    async with ChaosProxy("http://127.0.0.1:9") as proxy, client_of(proxy) as client:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.exchange()


def test_schedule_repeats_with_its_seed() -> None:
    first, again, other = (
        random_schedule(Random(seed), share=0.5, within_bytes=1000) for seed in (1, 1, 2)
    )
    drawn = [first() for _ in range(200)]
    assert drawn == [again() for _ in range(200)]
    assert drawn != [other() for _ in range(200)]
    assert 60 < sum(each.action != "pass" for each in drawn) < 140
    assert {each.action for each in drawn} == {
        *("pass", "stall", "blackhole", "cut", "reset", "lose_answer")
    }
