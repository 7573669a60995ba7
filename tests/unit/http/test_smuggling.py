"""Requests that two servers could read in two ways: one answer, and the connection is over."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Serving, serving

HEAD = b"POST /v1/t HTTP/1.1\r\nHost: a\r\nX-Write-Key: %b\r\n" % KEY.encode()
SMUGGLED = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)
TIMEOUT_S = 12.0
LENGTH = b"Content-Length: %d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, body_timeout_s=TIMEOUT_S) as running:
        yield running


@pytest.mark.parametrize(
    "start",
    [
        HEAD + LENGTH % 5 + CHUNKED + b"\r\n0\r\n\r\n",
        HEAD + CHUNKED + LENGTH % 5 + b"\r\n0\r\n\r\n",
        HEAD + LENGTH % 0 + LENGTH % 5 + b"\r\n",
        HEAD + LENGTH % 0 + LENGTH % 0 + b"\r\n",
        HEAD + b"Content-Length: 0, 5\r\n\r\n",
        HEAD + b"Content-Length: +5\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 0x5\r\n\r\n",
        HEAD + b"Content-Length: 5_0\r\n\r\n",
        HEAD + b"Content-Length: 5 0\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Content-Length : 0\r\n\r\n",
        HEAD + b"Content-Length\t: 0\r\n\r\n",
        HEAD + b" Content-Length: 0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        HEAD + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"X-Folded: a\r\n b\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"X-Nul: a\x00b\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"X-Nu\x00l: a\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"X-Cr: a\rb\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"X-Lf: a\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"No colon\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b": no name\r\n" + LENGTH % 0 + b"\r\n",
        HEAD + b"Host: b\r\n" + LENGTH % 0 + b"\r\n",
        HEAD.replace(b"\r\n", b"\n") + LENGTH.replace(b"\r", b"") % 0 + b"\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.1 ") + LENGTH % 0 + b"\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/2.0") + LENGTH % 0 + b"\r\n",
        HEAD.replace(b"Host: a\r\n", b"") + LENGTH % 0 + b"\r\n",
        HEAD + CHUNKED + b"\r\n5_\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n 5\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n5\r\nhelloX\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n5;a=\x00\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\n5;a\n\r\nhello\r\n0\r\n\r\n",
        HEAD + CHUNKED + b"\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
@pytest.mark.parametrize("packets", ["one", "two"])
async def test_ambiguous_request_is_answered_once_and_nothing_behind_it_is_read(
    served: Serving, start: bytes, packets: str
) -> None:
    async with served.connection() as connection:
        if packets == "one":
            await connection.send(start + SMUGGLED)
        else:
            await connection.send(start)
            answer = await connection.answer()
            assert answer.status == 400
            await connection.send(SMUGGLED)
        answers = await connection.ended()
    if packets == "one":
        assert answers.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        assert answers.count(b"HTTP/1.") == 1
        assert b"\r\nConnection: close\r\n" in answers or b"HTTP/1.0" in answers
    else:
        assert answers == b""
    assert await served.names() == []
    assert served.ingest.status()["bytes_in_flight"] == 0
    assert await served.still_works()


async def test_malformed_chunk_in_a_later_packet_is_answered_at_once(served: Serving) -> None:
    async with served.connection() as connection:
        await connection.send(HEAD + CHUNKED + b"\r\n5\r\n{   \n\r\n")
        await wait_for(lambda: served.ingest.status()["bodies_arriving"] == 1)
        began = time.monotonic()
        await connection.send(b"zz\r\n" + SMUGGLED)
        answers = await connection.ended()
        assert time.monotonic() - began < TIMEOUT_S / 2
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert b'"incomplete_body"' in answers
    assert answers.count(b"HTTP/1.") == 1
    assert await served.names() == []
    assert await served.still_works()


async def test_garbage_behind_a_request_costs_the_connection_but_not_the_request(
    served: Serving,
) -> None:
    async with served.connection() as connection:
        await connection.send(SMUGGLED)
        assert (await connection.answer()).status == 200
        await connection.send(b"\x00\x01\x02\r\n\r\n" + SMUGGLED)
        answers = await connection.ended()
    assert answers.split()[1] == b"400"
    assert answers.count(b"HTTP/1.") == 1
    assert await served.names() == ["E"]


async def test_requests_in_one_packet_are_answered_in_order(served: Serving) -> None:
    async with served.connection() as connection:
        await connection.send(SMUGGLED * 40)
        statuses = [(await connection.answer()).status for _ in range(40)]
        await connection.send(SMUGGLED)
        statuses.append((await connection.answer()).status)
    assert statuses == [200] * 41
    assert await served.names() == ["E"] * 41
