"""Heads and chunks as they are read here and as aiohttp reads them: never in two ways."""

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiMapping

from gateway.http.framing import Chunks, MalformedChunks
from gateway.http.malformed import HeadLimits, fault_in, has_fault
from gateway.http.request import Head, read_head

LIMITS = HeadLimits(1000, 3000, 20)
HOST = b"Host: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop that aiohttp's parser wants to know of."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def by_aiohttp(
    data: bytes, loop: asyncio.AbstractEventLoop
) -> list[tuple[RawRequestMessage, StreamReader]] | None:
    """Return the requests that aiohttp finds in data; None where it refuses it."""
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 2**16, max_line_size=3000, max_field_size=3000
    )
    try:
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError:
        return None
    return [(message, body) for message, body in messages]


def pairs_in(headers: MultiMapping[str]) -> list[tuple[str, str]]:
    """Return all headers; aiohttp has left blanks behind values, before 3.14."""
    return [(name.lower(), value.strip(" \t")) for name, value in headers.items()]


def head_of(data: bytes) -> Head:
    head = read_head(data, LIMITS)
    assert head is not None
    return head


HEADS = [
    b"POST /v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
    b"POST /v1/t?a=b#c HTTP/1.1\r\nHost:a\r\ncontent-length:  12 \r\nX:\r\nY: a b\t\r\n\r\n",
    b"GET http://a.example/x HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhOST: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: \xff\xc3\xa9\r\nX-Y: 1\r\nX-Y: 2\r\n\r\n",
]


class TestHeads:
    def test_all_that_is_said_is_read(self) -> None:
        head = head_of(HEADS[1] + b"more")
        assert (head.method, head.target, head.path) == ("POST", "/v1/t?a=b#c", "/v1/t")
        assert (head.length, head.size, head.is_chunked) == (12, len(HEADS[1]), False)
        assert list(head.headers.items()) == [
            *(("Host", "a"), ("content-length", "12"), ("X", ""), ("Y", "a b")),
        ]

    @pytest.mark.parametrize(
        ("change", "is_usual"),
        [
            ((b"", b""), True),
            ((b"Host", b"Connection: Keep-Alive\r\nHost"), True),
            ((b"Host", b"Connection: close\r\nHost"), False),
            ((b"Host", b"Connection: keep-alive\r\nConnection: close\r\nHost"), False),
            ((b"Host", b"Connection: upgrade\r\nHost"), False),
            ((b"Host", b"Upgrade: websocket\r\nHost"), False),
            ((b"Host", b"Expect: 100-continue\r\nHost"), False),
            ((b"Host", b"Forwarded: for=1.2.3.4\r\nHost"), False),
            ((b"POST", b"PUT"), False),
            ((b"1.1", b"1.0"), False),
            ((b"Content-Length: 12\r\n", b""), False),
            ((b"Content-Length: 12", b"Transfer-Encoding: chunked"), False),
        ],
    )
    def test_post_with_a_length_and_no_wishes_is_usual(
        self, change: tuple[bytes, bytes], is_usual: bool
    ) -> None:
        assert head_of(HEADS[0].replace(*change, 1)).is_usual == is_usual

    @pytest.mark.parametrize(
        "head",
        [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"1" * 19 + b"\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \u0661\r\n\r\n".encode(),
            b"POST / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nX: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1001 + b"\r\n\r\n",
            b"GET /" + b"a" * 1001 + b" HTTP/1.0\r\n\r\n",
            b"A" * 1001 + b" / HTTP/1.0\r\n\r\n",
            b"GET http://xn--/ HTTP/1.0\r\n\r\n",
            b"GET http://[::1/ HTTP/1.0\r\n\r\n",
            b"GET http:/// HTTP/1.0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20 + b"\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 900 + b"\r\n") * 4 + b"\r\n",
        ],
    )
    def test_what_is_ambiguous_or_too_large_is_refused_and_has_a_fault(self, head: bytes) -> None:
        assert read_head(head, LIMITS) is None
        assert fault_in(head, LIMITS).reason not in ("other", "body")

    @given(st.data())
    def test_what_is_taken_has_one_meaning(
        self, loop: asyncio.AbstractEventLoop, data: st.DataObject
    ) -> None:
        """aiohttp refuses it, or finds in it exactly what was found here."""
        text = bytearray(data.draw(st.sampled_from(HEADS)))
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(0, len(text) - 1))
            piece = data.draw(
                st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"0", b"\0"])
                | st.binary(min_size=1, max_size=2)
            )
            text[place : place + data.draw(st.integers(0, 2))] = piece
        head = read_head(bytes(text), LIMITS)
        if head is None:
            return
        assert not has_fault(bytes(text[: head.size - 2]), LIMITS, is_first=True)
        body = b"0\r\n\r\n" if head.is_chunked else b"x" * min(head.length, 1000)
        found = by_aiohttp(bytes(text[: head.size]) + body + NEXT, loop)
        if not found:
            return
        message, content = found[0]
        assert (message.method, message.path) == (head.method, head.target)
        assert message.chunked == head.is_chunked
        assert pairs_in(message.headers) == pairs_in(head.headers)
        if head.length <= 1000 and not message.upgrade and message.method != "CONNECT":
            assert content.total_bytes == head.length
            assert [each.path for each, _ in found[1:]] in ([], ["/next"])

    @given(st.sampled_from(HEADS), st.integers(1, 80))
    def test_part_of_a_head_has_no_fault(self, head: bytes, size: int) -> None:
        part = head[: min(size, len(head) - 4)]
        assert not has_fault(part, LIMITS, is_first=True)

    @pytest.mark.parametrize(
        "part",
        [
            *(b"\x16\x03\x01", b"GET\r\n", b"get / HT", b"G@", b"POST / HTTP/3.0\r\n"),
            *(b"POST / HTTP/1.1\n", b"POST /\x01", b"POST /" + b"a" * 1100),
            *(b"POST / HTTP/1.1\r\nX\r\n", b"POST / HTTP/1.1\r\nX: a\r\n b\r\n"),
            b"POST / HTTP/1.1\r\nX: " + b"a" * 1100,
        ],
    )
    def test_part_that_can_become_no_head_has_a_fault(self, part: bytes) -> None:
        assert has_fault(part, LIMITS, is_first=True)


def end_of(data: bytes, piece: int = 0) -> int | None:
    """Return how many bytes a body in chunks has; None while it is not complete."""
    chunks, taken = Chunks(), 0
    size = piece or max(1, len(data))
    for start in range(0, len(data), size):
        taken += chunks.end_in(data[start : start + size])
        if chunks.is_complete:
            return taken
    return None


BODIES = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"00A;a=b\r\n0123456789\r\n1;c\r\n\n\r\n0\r\n\r\n",
    b"2\r\n\r\n\r\n000\r\nX: y\r\nZ:\r\n\r\n",
]


class TestChunks:
    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("piece", [0, 1, 2, 3, 7])
    def test_end_is_found_however_it_arrives(self, body: bytes, piece: int) -> None:
        assert end_of(body + NEXT, piece) == len(body)
        for size in range(len(body)):
            assert end_of(body[:size], piece) is None

    @pytest.mark.parametrize(
        "body",
        [
            *(
                b"x",
                b"5_",
                b"0x5",
                b"-5",
                b"+5",
                b" 5",
                b"5 \r\n",
                b"5 ;a\r\n",
                b"5\n",
                b"5\rx",
                b"\r\n",
            ),
            *(b"5\r\nhelloX", b"5\r\nhello\n", b"5\r\nhello\rX", b"5;a\x00", b"5;a\n"),
            *(b"1" * 16, b"5;" + b"a" * 2000, b"0\r\nX", b"0\r\n\n", b"0\r\nX y: z\r\n"),
            b"0\r\n" + b"X: y\r\n" * 2000,
        ],
    )
    @pytest.mark.parametrize("piece", [0, 1, 3])
    def test_anything_else_is_malformed(self, body: bytes, piece: int) -> None:
        with pytest.raises(MalformedChunks):
            end_of(body + b"\n\n", piece)

    @given(st.data())
    def test_what_ends_here_ends_for_aiohttp(
        self, loop: asyncio.AbstractEventLoop, data: st.DataObject
    ) -> None:
        text = bytearray(data.draw(st.sampled_from(BODIES)))
        for _ in range(data.draw(st.integers(0, 2))):
            place = data.draw(st.integers(0, len(text) - 1))
            piece = data.draw(st.sampled_from([b"", b"\r", b"\n", b" ", b";", b"0", b"1", b"a"]))
            text[place : place + data.draw(st.integers(0, 2))] = piece
        try:
            end = end_of(bytes(text))
        except MalformedChunks:
            return
        found = by_aiohttp(CHUNKED + bytes(text[:end]) + (NEXT if end else b""), loop)
        if found is None:
            return
        assert found[0][1].is_eof() == (end is not None)
        assert [message.path for message, _ in found[1:]] == (["/next"] if end else [])
