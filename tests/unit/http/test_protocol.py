"""Requests on a connection that answers some itself and leaves others to aiohttp: in order."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.http.handover import Handover
from gateway.http.protocol import Connection
from gateway.http.server import Server
from gateway.model import DeadLetter, Entry
from gateway.spool.sqlite import SqliteSpool
from tests.support import serving as support
from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Serving, message, serving
from tests.unit.http.test_limits import HeldSpool

AUTH = {"X-Write-Key": KEY}
GOOD = message("/v1/track", EVENT, AUTH)  # waits for the disk
BAD = message("/v1/track", b"{", AUTH)  # is refused at once
SETTINGS = b"GET /v1/projects/x/settings HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


class Wire(asyncio.Transport):
    """What a connection writes to; nothing comes from it by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.sent = b""
        self.on_write: Callable[[], None] | None = None  # called after the next one
        self._loop = loop
        self._closing = False
        self.protocol: asyncio.Protocol

    def write(self, data: Any) -> None:
        self.sent += bytes(data)
        if self.on_write is not None:
            call, self.on_write = self.on_write, None
            self._loop.call_soon(call)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(map(bytes, parts)))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", self.sent)]


@pytest.fixture(autouse=True)
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of the requests that were left to aiohttp."""
    methods: list[str] = []
    begin = Handover.begin

    def seen(self: Handover, data: bytes) -> None:
        methods.append(data.split()[0].decode())
        begin(self, data)

    monkeypatch.setattr(Handover, "begin", seen)
    return methods


def usually(methods: list[str], all_methods: list[str]) -> list[str]:
    return methods if support.has_fast_path else all_methods


def connect(served: Serving) -> tuple[Connection, Wire]:
    """Return a connection that takes whatever it is given."""
    wire = Wire(asyncio.get_running_loop())
    connections = served.ingest._connections
    assert connections is not None
    connection = connections()
    assert isinstance(connection, Connection)
    wire.protocol = connection
    connection.connection_made(wire)
    return connection, wire


async def settled(wire: Wire, count: int) -> list[int]:
    """Return the statuses of the answers, of which there have to be so many and no more."""
    await wait_for(lambda: len(wire.statuses) >= count)
    await asyncio.sleep(0.05)
    return wire.statuses


async def test_request_that_comes_with_its_connection_is_answered(
    tmp_path: Path, handed_over: list[str]
) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        connection.data_received(GOOD)
        assert await settled(wire, 1) == [200]
        connection.data_received(GOOD)
        assert await settled(wire, 2) == [200, 200]
        assert handed_over == usually([], ["POST", "POST"])
        wire.close()


async def test_requests_that_come_faster_than_answers_are_answered_in_order(
    tmp_path: Path, handed_over: list[str]
) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        for request in (GOOD, BAD, SETTINGS, GOOD, BAD):
            connection.data_received(request)
        assert await settled(wire, 5) == [200, 400, 200, 200, 400]
        assert b"apiHost" in wire.sent.split(b"HTTP/1.1 ")[3]
        assert handed_over == usually(["GET"], ["POST", "POST", "GET", "POST", "POST"])
        connection.data_received(GOOD)
        assert await settled(wire, 6) == [200, 400, 200, 200, 400, 200]
        assert len(handed_over) == (1 if support.has_fast_path else 6), "it has to come back"
        assert len(await served.names()) == 3
        wire.close()


async def test_requests_that_come_with_an_answer_are_answered_in_order(
    tmp_path: Path, handed_over: list[str]
) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        await asyncio.sleep(0.01)

        def go_on() -> None:
            for request in (GOOD, BAD, GOOD):
                connection.data_received(request)

        wire.on_write = go_on
        connection.data_received(SETTINGS)
        assert await settled(wire, 4) == [200, 200, 400, 200]
        assert handed_over == usually(["GET"], ["GET", "POST", "POST", "POST"])
        assert len(await served.names()) == 2
        wire.close()


@pytest.mark.parametrize("whose", ["client", "server"])
async def test_nothing_is_taken_behind_the_last_answer(tmp_path: Path, whose: str) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        wire.on_write = lambda: connection.data_received(GOOD)
        if whose == "client":
            connection.data_received(SETTINGS.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        else:
            connection._hub.draining = True
            connection.data_received(SETTINGS)
        assert await settled(wire, 1) == [200]
        assert wire.is_closing()
        assert await served.names() == []


async def test_client_that_leaves_while_a_request_waits_for_another_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        connection.data_received(GOOD)
        connection.data_received(SETTINGS)
        assert all(held(served))
        await asyncio.sleep(0)
        wire.close()
        await wait_for(lambda: not any(held(served)))


async def test_body_that_nobody_reads_is_not_counted_behind_the_answer(tmp_path: Path) -> None:
    pixel = f"/v1/pixel/track?writeKey={KEY}&event=E&userId=u"
    async with serving(tmp_path, spool_type=HeldSpool) as served:
        spool = served.spool
        assert isinstance(spool, HeldSpool)
        spool.let_go = asyncio.Event()
        connection, wire = connect(served)
        connection.data_received(
            message(pixel, headers={"Content-Length": "50000"}, method="GET", has_length=False)
        )
        await wait_for(lambda: spool.held)
        connection.data_received(b"x" * 50_000)
        spool.let_go.set()
        assert await settled(wire, 1) == [200]
        assert held(served) == (1, 0)
        connection.data_received(GOOD)
        assert await settled(wire, 2) == [200, 200]
        wire.close()


async def test_client_that_has_gone_before_it_is_told_to_continue_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as served:
        connection, wire = connect(served)
        connection.data_received(SETTINGS)
        assert await settled(wire, 1) == [200]
        head = GOOD.removesuffix(EVENT).replace(b"Host", b"Expect: 100-continue\r\nHost")
        connection.data_received(head)
        wire._closing = True  # as a transport of whose loss the connection is told next
        await asyncio.sleep(0.05)
        connection.connection_lost(None)
        await wait_for(lambda: not any(held(served)))
        assert caplog.messages == []


class GivingUpSpool(SqliteSpool):
    """A spool whose appends are cancelled."""

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        appended = asyncio.get_running_loop().create_future()
        appended.cancel()
        return appended


async def test_request_whose_commit_is_given_up_holds_up_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, spool_type=GivingUpSpool) as served:
        connection, wire = connect(served)
        connection.data_received(GOOD * 2)
        if support.has_fast_path:
            assert await settled(wire, 2) == [503, 503]
            wire.close()
        await wait_for(lambda: not any(held(served)))


async def test_request_that_aiohttp_gives_to_no_handler_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "aiohttp", lambda self: asyncio.Protocol())
    async with serving(tmp_path, header_timeout_s=0.5) as served:
        connection, wire = connect(served)
        connection.data_received(SETTINGS)
        await wait_for(lambda: held(served) == (0, 0))
        assert wire.sent == b""


async def test_request_that_takes_longer_than_its_head_may_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, spool_type=HeldSpool, header_timeout_s=0.5) as served:
        spool = served.spool
        assert isinstance(spool, HeldSpool)
        spool.let_go = asyncio.Event()
        connection, wire = connect(served)
        connection.data_received(GOOD.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        await wait_for(lambda: spool.held)
        await asyncio.sleep(1.5)
        spool.let_go.set()
        assert await settled(wire, 1) == [200]
        wire.close()


def held(served: Serving) -> tuple[int, int]:
    status = served.ingest.status()
    return status["connections"], status["bytes_in_flight"]
