"""Requests that no parser of HTTP takes, and those that only a strict one refuses."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.malformed import HeadLimits, fault_in, mended, origin_in
from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Answer, Serving, message, serving

ORIGIN = "https://shop.example"
LIMIT = 32 * 1024
END = b"Content-Length: %d\r\n\r\n" % len(EVENT) + EVENT
LIMITS = HeadLimits(1000, 3000, 20)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


def request(
    *headers: bytes, line: bytes = b"POST /v1/t HTTP/1.1", end: bytes = END, host: bytes = b"a"
) -> bytes:
    first = (line, b"Host: " + host, b"Origin: " + ORIGIN.encode(), b"X-Write-Key: " + KEY.encode())
    return b"".join(each + b"\r\n" for each in (*first, *headers)) + end


def count(served: Serving, name: str, **labels: str) -> float:
    return served.telemetry.registry.get_sample_value(name, labels) or 0


async def send(served: Serving, *packets: bytes) -> Answer:
    async with served.connection() as connection:
        for packet in packets:
            await connection.send(packet)
            await asyncio.sleep(0.02 if len(packets) > 1 else 0)
        return await connection.answer()


def assert_page_may_read(answer: Answer) -> None:
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


MALFORMED = [
    ("header_too_long", [request(b"Cookie: " + b"c" * (LIMIT + 1))]),
    ("header_too_long", [request(b"canary(): " + b"c" * (LIMIT + 1))]),
    ("line_too_long", [request(line=b"POST /v1/t?x=" + b"c" * LIMIT + b" HTTP/1.1")]),
    ("head_too_long", [request(*[b"X-%d: " % i + b"c" * 20_000 for i in range(4)])]),
    ("too_many_headers", [request(*[b"X-%d: canary" % i for i in range(101)])]),
    ("request_line", [request(line=b"POST /v1/t")]),
    ("request_line", [request(line=b"POST /v1/canary t HTTP/1.1")]),
    ("version", [request(line=b"POST /v1/t HTTP/3.0")]),
    ("version", [request(line=b"POST /v1/t http/1.1")]),
    ("method", [request(line=b"post /v1/t HTTP/1.1")]),
    ("target", [request(line=b"POST /v1/t?x=\x01canary HTTP/1.1")]),
    ("target", [request(line=b"POST http://xn--/v1/t?writeKey=canary HTTP/1.1")]),
    ("target", [request(line=b"POST http://a:x/v1/t?writeKey=canary HTTP/1.1")]),
    ("line_end", [request(b"X: canary").replace(b"\r\n", b"\n")]),
    ("folded_header", [request(b"X: a\r\n canary")]),
    ("header_name", [request(b"canary")]),
    ("header_name", [request("X\u00e9: canary".encode())]),
    ("header_name", [request(b"Content-Length : 5")]),
    ("header_value", [request(b"X: canary\x01")]),
    ("repeated_header", [request(b"User-Agent: canary", b"User-Agent: canary")]),
    ("no_host", [request().replace(b"Host: a\r\n", b"")]),
    ("length", [request(end=b"Content-Length: +5\r\n\r\n" + EVENT)]),
    ("length", [request(b"Transfer-Encoding: chunked")]),
    ("body", [request(end=b"Transfer-Encoding: chunked\r\n\r\nxx\r\n")]),
]


class TestRefusals:
    @pytest.mark.parametrize(("reason", "packets"), MALFORMED)
    @pytest.mark.parametrize("are_split", [False, True])
    async def test_refusal_is_counted_told_once_and_read_by_the_page(
        self,
        served: Serving,
        caplog: pytest.LogCaptureFixture,
        reason: str,
        packets: Sequence[bytes],
        are_split: bool,
    ) -> None:
        if are_split:
            [text] = packets
            cut = text.find(b"X-Write-Key")
            packets = [text[:cut], text[cut : cut + 30], text[cut + 30 :]]
        for number in (1, 2, 3):
            answer = await send(served, *packets)
            assert (answer.status, answer.code) == (400, "bad_request")
            assert_page_may_read(answer)
            assert count(served, "gateway_http_malformed_total", reason=reason) == number
            name = "gateway_http_requests_total"
            assert count(served, name, family="other", status="400") == number
            assert b"canary" not in answer.body
        [line] = caplog.messages
        assert line.startswith("a request from 127.0.0.1 was answered 400, because ")
        assert "canary" not in line
        assert await served.still_works()

    async def test_nothing_is_logged_of_a_request_that_only_aiohttp_refuses(
        self, served: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = request(b"Sec-WebSocket-Key1: canary", line=b"PUT http://a/?canary HTTP/1.1")
        for number in (1, 2, 3):
            assert (await send(served, text)).code == "bad_request"
            assert count(served, "gateway_http_malformed_total", reason="other") == number
        [line] = caplog.messages
        assert "canary" not in line

    async def test_every_reason_has_its_line(
        self, served: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            for _, [text] in MALFORMED:
                assert (await send(served, text)).status == 400
        assert len(caplog.messages) == len({reason for reason, _ in MALFORMED})

    @pytest.mark.parametrize(
        ("reason", "start"),
        [
            ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500),
            ("tls", b"\x80\x2e\x01\x03\x01\x00\x15" + b"x" * 40),
            ("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
            ("request_line", b"\x00\x01\x02\r\n\r\n"),
        ],
    )
    async def test_other_protocols_are_named(
        self, served: Serving, caplog: pytest.LogCaptureFixture, reason: str, start: bytes
    ) -> None:
        for _ in range(3):
            assert (await send(served, start)).status == 400
        assert count(served, "gateway_http_malformed_total", reason=reason) == 3
        [line] = caplog.messages
        assert reason != "tls" or "server.tls_cert" in line

    async def test_what_only_aiohttp_refuses_is_answered_and_counted_alike(
        self, served: Serving
    ) -> None:
        for _ in range(2):
            answer = await send(served, request(line=b"BREW /v1/t HTTP/1.1"))
            assert (answer.status, answer.code) == (400, "bad_request")
            assert answer.headers["Connection"] == "close"
        assert count(served, "gateway_http_malformed_total", reason="other") == 2
        assert await served.still_works()

    async def test_chunks_that_go_wrong_later_are_counted(self, served: Serving) -> None:
        async with served.connection() as connection:
            await connection.send(request(end=b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"))
            await wait_for(lambda: served.ingest.status()["bodies_arriving"] == 1)
            await connection.send(b"zz\r\n")
            answer = await connection.answer()
        assert (answer.status, answer.code) == (400, "incomplete_body")
        assert_page_may_read(answer)
        assert count(served, "gateway_http_malformed_total", reason="body") == 1

    async def test_page_may_read_that_its_headers_were_too_slow(self, tmp_path: Path) -> None:
        async with serving(tmp_path, header_timeout_s=0.3) as served:
            answer = await send(served, request(end=b""))
        assert (answer.status, answer.code) == (503, "header_timeout")
        assert_page_may_read(answer)

    async def test_bounds_are_what_the_configuration_says(self, tmp_path: Path) -> None:
        async with serving(tmp_path, max_header_bytes=3000, max_head_bytes=5000) as served:
            for size, status in ((2900, 200), (3100, 400)):
                assert (await send(served, request(b"Cookie: " + b"c" * size))).status == status
            for size, status in ((2000, 200), (2500, 400)):
                headers = (b"X: " + b"c" * size, b"Y: " + b"c" * size)
                assert (await send(served, request(*headers))).status == status
                half = request(*headers).partition(b"Y: ")
                assert (await send(served, half[0], half[1] + half[2])).status == status


class TestLargeHeads:
    @pytest.mark.parametrize("size", [9_000, 16_384, 30_000, LIMIT])
    @pytest.mark.parametrize("piece", [100_000, 1400])
    async def test_cookies_of_a_page_pass(self, served: Serving, size: int, piece: int) -> None:
        text = request(b"Cookie: " + b"c" * size, b"X-Other: " + b"c" * 10_000)
        async with served.connection() as connection:
            for _ in range(2):
                for start in range(0, len(text), piece):
                    await connection.send(text[start : start + piece])
                    await asyncio.sleep(0)
                answer = await connection.answer()
                assert answer.status == 200
                assert_page_may_read(answer)
        assert await served.names() == ["E", "E"]

    async def test_head_counts_until_its_request_is_answered(self, served: Serving) -> None:
        async with served.connection() as connection:
            text = request(b"Cookie: " + b"c" * 30_000, end=b"Content-Length: 57\r\n\r\n")
            await connection.send(text)
            await wait_for(lambda: served.ingest.status()["bodies_arriving"] == 1)
            assert served.ingest.status()["bytes_in_flight"] > 4 * 30_000
            await connection.send(EVENT)
            assert (await connection.answer()).status == 200
        assert served.ingest.status()["bytes_in_flight"] == 0

    async def test_heads_that_do_not_fit_together_are_refused(self, tmp_path: Path) -> None:
        text = request(b"Cookie: " + b"c" * 20_000, end=b"")
        bounded = serving(tmp_path, max_body_bytes=50_000, max_bytes_in_flight=200_000)
        async with bounded as served:
            async with served.connection() as one, served.connection() as other:
                await one.send(text)
                await wait_for(lambda: served.ingest.status()["bytes_in_flight"] > 80_000)
                await other.send(text)
                answer = await other.answer()
                assert (answer.status, answer.code) == (503, "overloaded")
                assert_page_may_read(answer)
                await one.send(END)
                assert (await one.answer()).status == 200
            assert served.ingest.status()["bytes_in_flight"] == 0


class TestTargets:
    def image(self, query: bytes, version: bytes = b"HTTP/1.1") -> bytes:
        start = b"GET /v1/pixel/track?writeKey=" + KEY.encode() + b"&userId=u&event="
        return start + query + b" " + version + b"\r\nHost: a\r\n\r\n"

    @pytest.mark.parametrize(
        ("query", "event"),
        [
            ("Ünïcode ☃".replace(" ", "%20").encode(), "Ünïcode ☃"),
            ("Ünïcode".encode("latin-1"), "Ünïcode"),
            (b"Email Opened", "Email Opened"),
            ("Café offen 😀".encode(), "Café offen 😀"),
            ("Café offen".encode("latin-1"), "Café offen"),
            (b"a\tb", "a\tb"),
            (b"a  b", "a  b"),
        ],
    )
    @pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
    @pytest.mark.parametrize("piece", [1000, 60, 7])
    async def test_query_may_hold_raw_bytes_and_blanks(
        self, served: Serving, query: bytes, event: str, version: bytes, piece: int
    ) -> None:
        text = self.image(query, version)
        async with served.connection() as connection:
            for start in range(0, len(text), piece):
                await connection.send(text[start : start + piece])
                await asyncio.sleep(0.001)
            assert (await connection.answer()).status == 200
        assert await served.names() == [event]

    async def test_requests_behind_one_are_read(self, served: Serving) -> None:
        text = request(line=b"POST /v1/t?a=b c HTTP/1.1")
        async with served.connection() as connection:
            for packet, requests in ((text + request(), 2), (text, 1), (text, 1)):
                await connection.send(packet)
                for _ in range(requests):
                    assert (await connection.answer()).status == 200
        assert await served.names() == ["E"] * 4

    @pytest.mark.parametrize(
        "line",
        [
            b"POST /v1/t HTTP/1.1 HTTP/1.1",
            b"POST /v1/t?a HTTP/1.1 b HTTP/1.1",
            b"POST /v1/t?a\thttp/1.1\tb HTTP/1.1",
            b"POST /v1/ t?a HTTP/1.1",
            b"POST /v1/t?a b HTTP/1.1 ",
            b"POST /v1/t?a b",
            b"POST /v1/t?a b HTTP/2.0",
            b"POST /v1/t?a\x00 HTTP/1.1",
            b"post /v1/t?a b HTTP/1.1",
        ],
    )
    async def test_line_that_could_be_read_in_two_ways_is_refused(
        self, served: Serving, line: bytes
    ) -> None:
        assert (await send(served, request(line=line))).status == 400
        assert await served.names() == []

    @pytest.mark.parametrize(
        "text", [b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"GET /?a b", "GET /?ü".encode()]
    )
    def test_what_needs_no_mending_or_cannot_be_mended_is_left(self, text: bytes) -> None:
        assert mended(text) is None

    @given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=40))
    def test_nothing_but_the_target_is_ever_changed(
        self, path: bytes, query: bytes, rest: bytes
    ) -> None:
        for text in (
            b"GET /" + path + b"?" + query + b" HTTP/1.1\r\n" + rest,
            b"GET /" + path + b" HTTP/1.1\r\n" + rest,
            path + query + rest,
        ):
            better = mended(text)
            if better is None:
                continue
            line, _, behind = better.partition(b"\r\n")
            before, _, same = text.partition(b"\r\n")
            assert behind == same
            method, target, version = line.split(b" ")
            assert before.startswith(method + b" /")
            assert before.endswith(b" " + version)
            assert re.fullmatch(rb"/[!-~]*", target)
            assert mended(better) is None

    async def test_what_is_escaped_counts_no_more_than_any_other_line(
        self, served: Serving
    ) -> None:
        line = b"POST /v1/t?x=" + b"\xc3\xa9" * (LIMIT // 4) + b" HTTP/1.1"
        answer = await send(served, request(line=line))
        assert answer.status == 400
        assert_page_may_read(answer)
        assert await served.still_works()


class TestHeaders:
    @pytest.mark.parametrize("text", [b"\xff\xfe", "é☃".encode(), b"a\tb", b"", b"\tx\t"])
    @pytest.mark.parametrize(
        "name",
        [
            *("User-Agent", "SentAt", "X-Retry-Count", "Rsa-Retry-Attempt", "X-IP-Policy"),
            *("Cookie", "Content-Type", "Accept", "Expect", "X-Forwarded-For", "Forwarded"),
            *("Authorization", "Referer", "X-Any", "AnonymousId"),
        ],
    )
    async def test_any_bytes_may_stand_in_a_header(
        self, served: Serving, name: str, text: bytes
    ) -> None:
        header = name.encode() + b": Mozilla/5.0 " + text
        for path in (b"/v1/t", b"/v1/b", b"/api/s/track"):
            line = b"POST " + path + b" HTTP/1.1"
            assert (await send(served, request(header, line=line))).status == 200
        assert await served.names() == ["E"] * 3

    @pytest.mark.parametrize(
        ("text", "name"),
        [("Mozilla/5.0 é".encode("latin-1"), "é"), ("Mozilla/5.0 é☃".encode(), "é☃")],
    )
    async def test_name_of_a_browser_is_read_as_utf8_or_latin_1(
        self, served: Serving, text: bytes, name: str
    ) -> None:
        line = b"POST /v1/b HTTP/1.1"
        assert (await send(served, request(b"User-Agent: " + text, line=line))).status == 200

    @pytest.mark.parametrize("origin", [b"\xff", "https://é.example".encode(), b"https://\xe9"])
    async def test_origin_that_no_browser_sends_is_not_repeated(
        self, served: Serving, origin: bytes
    ) -> None:
        text = request().replace(ORIGIN.encode(), origin)
        for packet in (text, text.replace(b"HTTP/1.1", b"HTTP/3.0"), text.replace(b"POST", b"PUT")):
            answer = await send(served, packet)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers

    async def test_preflight_with_any_bytes_is_answered(self, served: Serving) -> None:
        headers = (b"Access-Control-Request-Headers: x-\xff",)
        text = request(*headers, line=b"OPTIONS /v1/t HTTP/1.1", end=b"\r\n")
        answer = await send(served, text)
        assert answer.status == 204
        assert "x-write-key" in answer.headers["Access-Control-Allow-Headers"]

    @pytest.mark.parametrize("name", ["X-Write-Key", "Authorization"])
    async def test_settings_are_served_for_keys_of_any_bytes(
        self, served: Serving, name: str
    ) -> None:
        data = message("/v1/projects", headers={name: "\udcff\udcfe"}, method="GET")
        answer = await served.exchange(data)
        assert answer.status == 200

    @pytest.mark.parametrize(
        "line",
        [
            b"POST http://a/v1/t HTTP/1.1",
            b"POST HTTPS://other.example:8080/v1/t?x=1 HTTP/1.1",
            b"POST /v1/t HTTP/1.0",
            b"POST //v1//t/ HTTP/1.1",
            b'POST /v1/t?x={"a":[1]}|^`\\ HTTP/1.1',
        ],
    )
    async def test_unusual_lines_of_http_are_read(self, served: Serving, line: bytes) -> None:
        assert (await send(served, request(line=line))).status == 200
        assert await served.names() == ["E"]


class TestFaults:
    @pytest.mark.parametrize("text", [b"", b"\r\n\r\n", b"\r\n" * 5000, b"\n" * 5000, b":" * 5000])
    def test_any_text_has_a_fault(self, text: bytes) -> None:
        fault = fault_in(text, LIMITS)
        assert fault.reason
        assert fault.message

    def test_nothing_but_the_name_of_a_header_is_repeated(self) -> None:
        text = b"GET / HTTP/1.1\r\nX-Name: canary\x01\r\n\r\n"
        assert fault_in(text, LIMITS).message == "the header X-Name holds a control character"

    @pytest.mark.parametrize(
        ("text", "origin"),
        [
            (b"POST / HTTP/1.1\r\nOrigin: https://a.example\r\n", "https://a.example"),
            (b"POST / HTTP/1.1\r\norigin:null\r\n\r\n", "null"),
            (b"POST / HTTP/1.1\r\nORIGIN: \t b \r\n\r\n", "b"),
            (b"POST / HTTP/1.1\r\nOrigin: https://a.exam", None),
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\nx\r\nOrigin: b\r\n", None),
            (b"Origin: a\r\n", None),
            (b"POST / HTTP/1.1\r\nOrigin: a b\r\n\r\n", None),
            (b"POST / HTTP/1.1\r\nOrigin:\r\n\r\n", None),
            (b"POST / HTTP/1.1\r\nOrigin: \xff\r\n\r\n", None),
            (b"POST / HTTP/1.1\r\nOrigin: " + b"a" * 400 + b"\r\n\r\n", None),
        ],
    )
    def test_origin_is_read_from_the_head_alone(self, text: bytes, origin: str | None) -> None:
        assert origin_in(text) == origin
