"""The PROXY protocol: whose connection a balancer passes on."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.proxy_protocol import (
    MAX_BYTES,
    Preamble,
    ProxyProtocolError,
    may_begin,
    read,
)
from gateway.policy import address_of
from tests.support.certificates import client_of
from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Connection, Serving, message, serving
from tests.unit.http.test_tls import made, pair, tls_serving

__all__ = ["made"]

TRUSTED = ("127.0.0.0/8",)
REQUEST = message("/v1/b", EVENT, {"X-Write-Key": KEY})
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(
    address: str = "192.0.2.7",
    *,
    command: int = 0x21,
    extra: bytes = b"",
    family: int | None = None,
) -> bytes:
    is_v6 = ":" in address
    packed = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, address)
    addresses = packed + packed + bytes([1, 2, 3, 4])
    kind = (0x21 if is_v6 else 0x11) if family is None else family
    rest = addresses + extra
    return SIGNATURE + bytes([command, kind]) + len(rest).to_bytes(2, "big") + rest


LINE = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"
TLV = b"\x04\x00\x0a" + bytes(10)

PREAMBLES = [
    (LINE, "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:DB8::1 1 65535\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
    (version_2(), "192.0.2.7"),
    (version_2("2001:db8::7"), "2001:db8::7"),
    (version_2(extra=TLV * 20), "192.0.2.7"),
]
SILENT = [
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    version_2(command=0x20),
    version_2(family=0),
    version_2(family=0x31),
    SIGNATURE + b"\x20\x00\x00\x00",
    SIGNATURE + b"\x21\x00\x00\x00",
]
MALFORMED = [
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 192.0.2.8 1 2\r\n",
    b"PROXY TCP4 192.0.2.777 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
    b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n" + b" " * 100,
    b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    version_2(command=0x11),
    version_2(command=0x22),
    SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\xff\xff" + bytes(4),
]


async def addresses(served: Serving) -> list[str]:
    return [record["properties"].get("ip") for _, record in await served.records()]


class TestReading:
    @pytest.mark.parametrize(("data", "address"), [*PREAMBLES, *((one, None) for one in SILENT)])
    def test_preamble_is_read_when_it_has_come_as_a_whole(
        self, data: bytes, address: str | None
    ) -> None:
        for size in range(len(data)):
            assert may_begin(data[:size])
            assert read(data[:size]) is None
        size, found = read(data + b"GET") or Preamble(0, "none")
        assert size == len(data)
        assert (None if found is None else str(address_of(found))) == address

    @pytest.mark.parametrize("data", MALFORMED)
    def test_what_only_begins_like_one_is_refused(self, data: bytes) -> None:
        assert may_begin(data)
        with pytest.raises(ProxyProtocolError):
            read(data)

    @pytest.mark.parametrize("data", [b"P", b"\r\n", b"", b"PROX", SIGNATURE[:11]])
    def test_beginning_may_become_one(self, data: bytes) -> None:
        assert may_begin(data)

    @pytest.mark.parametrize(
        "data", [b"POST / HTTP/1.1", b"\r\nGET", b"proxy TCP4", b"PROXY\r\n", b"\x16\x03\x01"]
    )
    def test_request_and_handshake_are_none(self, data: bytes) -> None:
        assert not may_begin(data)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        for start in (b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"):
            try:
                found = read(start + data)
            except ProxyProtocolError:
                continue
            assert found is None or 0 < found.size <= MAX_BYTES


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, trusted_proxies=TRUSTED) as running:
        yield running


class TestPlain:
    @pytest.mark.parametrize(("preamble", "address"), PREAMBLES)
    @pytest.mark.parametrize("piece", [1000, 11, 1])
    async def test_address_is_that_of_the_preamble(
        self, served: Serving, preamble: bytes, address: str, piece: int
    ) -> None:
        data = preamble + REQUEST if piece > 11 else preamble
        async with served.connection() as connection:
            for start in range(0, len(data), piece):
                await connection.send(data[start : start + piece])
                await asyncio.sleep(0)
            if piece <= 11:
                await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
            await connection.send(REQUEST)  # whose head is known
            assert (await connection.answer()).status == 200
        assert await addresses(served) == [address] * 2

    @pytest.mark.parametrize("preamble", [*SILENT, b"", b"\r\n"])
    async def test_without_an_address_it_is_that_of_the_connection(
        self, served: Serving, preamble: bytes
    ) -> None:
        async with served.connection() as connection:
            await connection.send(preamble + REQUEST)
            assert (await connection.answer()).status == 200
        assert await addresses(served) == ["127.0.0.1"]

    async def test_clients_behind_it_are_not_believed_themselves(self, served: Serving) -> None:
        head = {"X-Write-Key": KEY, "X-Forwarded-For": "198.51.100.9"}
        request = message("/v1/b", EVENT, head)
        for address in ("192.0.2.7", "127.0.0.9"):
            async with served.connection() as connection:
                await connection.send(version_2(address) + request)
                assert (await connection.answer()).status == 200
        assert await addresses(served) == ["192.0.2.7", "198.51.100.9"]

    @pytest.mark.parametrize("preamble", MALFORMED)
    async def test_malformed_one_is_refused_counted_and_told(
        self, served: Serving, caplog: pytest.LogCaptureFixture, preamble: bytes
    ) -> None:
        for _ in range(2):
            async with served.connection() as connection:
                await connection.send(preamble + REQUEST)
                answer = await connection.answer()
                assert (answer.status, answer.code) == (400, "bad_request")
                assert await connection.rest() == b""
        assert await served.names() == []
        count = served.telemetry.registry.get_sample_value
        assert count("gateway_http_malformed_total", {"reason": "proxy_protocol"}) == 2
        assert len(caplog.messages) == 1

    async def test_second_one_is_no_request(self, served: Serving) -> None:
        async with served.connection() as connection:
            await connection.send(LINE + LINE + REQUEST)
            assert (await connection.answer()).status == 400
        assert await served.names() == []

    @pytest.mark.parametrize("preamble", [LINE, version_2()])
    async def test_nobody_else_may_send_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, preamble: bytes
    ) -> None:
        async with serving(tmp_path, trusted_proxies=("192.0.2.0/24",)) as served:
            async with served.connection() as connection:
                await connection.send(preamble + REQUEST)
                assert (await connection.answer()).status == 400
            assert await served.names() == []
        [line] = caplog.messages
        assert "server.trusted_proxies" in line

    @pytest.mark.parametrize("start", [b"", b"PROXY TC", SIGNATURE])
    async def test_one_that_does_not_end_is_ended(self, tmp_path: Path, start: bytes) -> None:
        bounds: dict[str, Any] = {"trusted_proxies": TRUSTED, "header_timeout_s": 0.3}
        async with serving(tmp_path, **bounds) as served:
            async with served.connection() as connection:
                await connection.send(start)
                await connection.ended()
            await wait_for(lambda: served.ingest.status()["connections"] == 0)


class TestTls:
    async def connect(self, served: Serving, context: ssl.SSLContext, *start: bytes) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.ingest.port)
        for each in start:
            writer.write(each)
            await asyncio.sleep(0.03)
        await writer.start_tls(context)
        return Connection(reader, writer)

    @pytest.mark.parametrize(
        ("start", "address"),
        [
            *(([one], address) for one, address in PREAMBLES),
            ([LINE[:20], LINE[20:]], "192.0.2.7"),
            ([SILENT[0]], "127.0.0.1"),
            ([], "127.0.0.1"),
        ],
    )
    async def test_address_is_that_of_the_preamble(
        self, tmp_path: Path, made: Path, start: list[bytes], address: str
    ) -> None:
        context = client_of(pair(made, "first"))
        async with tls_serving(tmp_path, made, trusted_proxies=TRUSTED) as (served, _):
            connection = await self.connect(served, context, *start)
            for _ in range(2):
                await connection.send(REQUEST)
                assert (await connection.answer()).status == 200
            await connection.close()
            assert await addresses(served) == [address] * 2

    async def test_malformed_and_slow_ones_are_ended(self, tmp_path: Path, made: Path) -> None:
        bounds: dict[str, Any] = {"trusted_proxies": TRUSTED, "header_timeout_s": 0.3}
        async with tls_serving(tmp_path, made, **bounds) as (served, _):
            for start in (MALFORMED[0], LINE[:20], b""):
                async with served.connection() as connection:
                    await connection.send(start)
                    assert await connection.rest() == b""
            await wait_for(lambda: served.ingest.status()["connections"] == 0)
            count = served.telemetry.registry.get_sample_value
            assert count("gateway_http_malformed_total", {"reason": "proxy_protocol"}) == 1
            assert count("gateway_refusals_total", {"reason": "handshake_timeout"}) == 2

    async def test_nobody_else_may_send_one(self, tmp_path: Path, made: Path) -> None:
        context = client_of(pair(made, "first"))
        async with tls_serving(tmp_path, made) as (served, _):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await self.connect(served, context, LINE)
