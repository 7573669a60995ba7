"""How connections end: by clients that send no more, and by nobody sending anything."""

import asyncio
import gzip
import time
from pathlib import Path

import pytest

from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Connection, Serving, message, serving
from tests.unit.http.test_limits import HeldSpool

AUTH = {"X-Write-Key": KEY}
CHUNKED = {"Transfer-Encoding": "chunked"}
CHUNKED_EVENT = b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT)
REQUEST = message("/v1/t", EVENT, AUTH)


def half_close(connection: Connection) -> None:
    connection._writer.write_eof()


class TestHalfClosed:
    @pytest.mark.parametrize(
        "request_",
        [
            REQUEST,
            message("/v1/t", gzip.compress(EVENT, mtime=0), AUTH | {"Content-Encoding": "gzip"}),
            message("/v1/t", EVENT, AUTH | {"Connection": "close"}),
            message("/v1/t", EVENT, AUTH).replace(b"HTTP/1.1", b"HTTP/1.0"),
            message(f"/v1/pixel/track?writeKey={KEY}&event=E&userId=u", method="GET"),
            message("/v1/t", CHUNKED_EVENT, AUTH | CHUNKED, has_length=False),
        ],
    )
    async def test_client_that_sends_no_more_gets_its_answer(
        self, tmp_path: Path, request_: bytes
    ) -> None:
        async with serving(tmp_path) as served:
            for _ in range(3):
                async with served.connection() as connection:
                    await connection.send(request_)
                    half_close(connection)
                    assert (await connection.answer()).status == 200
                    assert await connection.ended() == b""
            assert await served.names() == ["E"] * 3

    @pytest.mark.parametrize("path", ["/v1/t", "/track", "/health"])
    @pytest.mark.parametrize("requests", [1, 5, 40])
    async def test_all_requests_of_one_packet_are_answered(
        self, tmp_path: Path, requests: int, path: str
    ) -> None:
        method = "GET" if path == "/health" else "POST"
        async with serving(tmp_path) as served, served.connection() as connection:
            await connection.send(message(path, EVENT, AUTH, method=method) * requests)
            half_close(connection)
            for _ in range(requests):
                assert (await connection.answer()).status == 200
            assert await connection.ended() == b""

    async def test_it_waits_for_the_disk(self, tmp_path: Path) -> None:
        async with serving(tmp_path, spool_type=HeldSpool) as served:
            assert isinstance(served.spool, HeldSpool)
            served.spool.let_go = asyncio.Event()
            async with served.connection() as known, served.connection() as connection:
                await known.send(REQUEST)
                await connection.send(REQUEST)
                half_close(known)
                half_close(connection)
                await asyncio.sleep(0.1)
                assert served.spool.held == 2
                served.spool.let_go.set()
                for each in (known, connection):
                    assert (await each.answer()).status == 200
                    assert await each.ended() == b""

    @pytest.mark.parametrize(
        "headers", [{"Content-Length": "100"}, {"Transfer-Encoding": "chunked"}]
    )
    async def test_body_that_is_cut_off_is_told_so_at_once(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        start = b"5\r\n{}" if "Transfer-Encoding" in headers else b"{}"
        async with serving(tmp_path) as served, served.connection() as connection:
            began = time.monotonic()
            await connection.send(message("/v1/t", start, AUTH | headers, has_length=False))
            half_close(connection)
            answer = await connection.answer()
            assert (answer.status, answer.code) == (400, "incomplete_body")
            assert await connection.ended() == b""
            assert time.monotonic() - began < 2
            assert served.ingest.status()["bytes_in_flight"] == 0
            assert await served.still_works()

    @pytest.mark.parametrize("start", [b"", b"POST /v1/t HT", REQUEST[:60]])
    async def test_connection_without_a_request_is_closed(
        self, tmp_path: Path, start: bytes
    ) -> None:
        async with serving(tmp_path) as served, served.connection() as connection:
            await connection.send(start)
            half_close(connection)
            assert await connection.ended() == b""

    async def test_client_that_goes_at_once_costs_nothing(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            for _ in range(5):
                async with served.connection() as connection:
                    await connection.send(REQUEST)
            await wait_for(lambda: served.ingest.status()["connections"] == 0)
            assert len(await served.names()) == 5
            assert served.ingest.status()["bytes_in_flight"] == 0


class TestKeepAlive:
    async def is_open_after(self, served: Serving, pause_s: float) -> bool:
        async with served.connection() as connection:
            for _ in range(2):
                await connection.send(REQUEST)
                assert (await connection.answer()).status == 200
            try:
                async with asyncio.timeout(pause_s):
                    await connection._reader.read()
            except TimeoutError:
                await connection.send(REQUEST)
                return (await connection.answer()).status == 200
            return False

    async def test_connection_is_kept_as_long_as_the_configuration_says(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path / "a", keepalive_timeout=0.5) as served:
            assert not await self.is_open_after(served, 5)
        async with serving(tmp_path / "b", keepalive_timeout=600) as served:
            assert await self.is_open_after(served, 1)
