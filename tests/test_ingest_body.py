"""Bodies: every encoding that SDKs use, and none that costs more than it may."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import RequestError
from gateway.ingest.body import inflated
from tests.support.serving import EVENT, KEY, Answer, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
LIMIT = 4096
TIMEOUT_S = 0.3


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, max_body_bytes=LIMIT, body_timeout_s=TIMEOUT_S) as running:
        yield running


def sized(size: int) -> bytes:
    """Return an event of exactly that many bytes."""
    event = EVENT[:-1] + b',"properties":{"x":"%b"}}'
    return event % (b"y" * (size - len(event) + 2))


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


async def assert_refused(served: Serving, answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert await served.names() == []
    assert await served.still_works()


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", gzip.compress(EVENT)),
            ("GZIP", gzip.compress(EVENT, 0)),
            (" gzip ", gzip.compress(EVENT, 9)),
            ("x-gzip", gzip.compress(EVENT)),
            ("gzip", gzip.compress(EVENT[:10]) + gzip.compress(b"") + gzip.compress(EVENT[10:])),
            ("deflate", zlib.compress(EVENT)),
            ("identity", EVENT),
            ("", EVENT),
        ],
    )
    async def test_encoded_body_is_read(self, served: Serving, encoding: str, body: bytes) -> None:
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": encoding})

        assert answer.status == 200
        assert await served.names() == ["E"]

    @pytest.mark.parametrize("encoding", ["", "gzip"])
    async def test_chunked_body_without_a_length_is_read(
        self, served: Serving, encoding: str
    ) -> None:
        body = gzip.compress(EVENT) if encoding else EVENT
        headers = AUTH | {"Transfer-Encoding": "chunked", "Content-Encoding": encoding}
        pieces = chunked(body[:1], body[1:20], body[20:])
        async with served.connection() as connection:
            await connection.send(message("/v1/t", b"", headers, has_length=False))
            for start in range(0, len(pieces), 7):
                await connection.send(pieces[start : start + 7])
                await asyncio.sleep(0)
            assert (await connection.answer()).status == 200
        assert await served.names() == ["E"]

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "application/json; charset=utf-8",
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "nonsense",
            "",
        ],
    )
    async def test_any_content_type_is_json(self, served: Serving, content_type: str) -> None:
        answer = await served.post("/v1/t", EVENT, AUTH | {"Content-Type": content_type})

        assert answer.status == 200
        assert await served.names() == ["E"]

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "gzip;q=1"])
    async def test_other_encodings_are_refused(self, served: Serving, encoding: str) -> None:
        answer = await served.post("/v1/t", EVENT, AUTH | {"Content-Encoding": encoding})

        await assert_refused(served, answer, 400, "unsupported_encoding")


class TestDamage:
    @pytest.mark.parametrize(
        "body", [b"", b"{", EVENT[:-1], b"a=1&b=2", b"\xff\xfe", gzip.compress(EVENT)]
    )
    async def test_body_that_is_no_json_is_refused(self, served: Serving, body: bytes) -> None:
        await assert_refused(served, await served.post("/v1/t", body), 400, "invalid_json")

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", b"not gzip"),
            ("gzip", EVENT),
            ("gzip", zlib.compress(EVENT)),
            ("deflate", gzip.compress(EVENT)),
            ("gzip", gzip.compress(EVENT)[:-1]),
            ("gzip", gzip.compress(EVENT)[:-9]),
            ("gzip", gzip.compress(EVENT)[:12]),
            ("gzip", gzip.compress(EVENT)[:3]),
            ("gzip", gzip.compress(EVENT)[:-5] + b"\x00\x00\x00\x00\x00"),
            ("gzip", gzip.compress(EVENT) + b"more"),
            ("gzip", gzip.compress(b"") * 101),
        ],
    )
    async def test_body_that_is_not_encoded_as_it_says_is_refused(
        self, served: Serving, encoding: str, body: bytes
    ) -> None:
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": encoding})

        await assert_refused(served, answer, 400, "invalid_encoding")

    async def test_client_that_leaves_is_no_error_of_ours(
        self, served: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        head = message("/v1/t", headers=AUTH | {"Content-Length": "100"}, has_length=False)
        async with served.connection() as connection:
            await connection.send(head + b"{")
        deadline = time.monotonic() + 5
        while b'status="400"' not in served.telemetry.render():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

        assert caplog.records == []
        assert await served.still_works()


class TestLimits:
    async def test_body_of_the_largest_size_is_accepted(self, served: Serving) -> None:
        assert (await served.post("/v1/t", sized(LIMIT))).status == 200
        encoded = gzip.compress(sized(LIMIT))
        headers = AUTH | {"Content-Encoding": "gzip"}
        assert (await served.post("/v1/t", encoded, headers)).status == 200
        assert await served.names() == ["E", "E"]

    async def test_body_one_byte_larger_is_refused(self, served: Serving) -> None:
        answer = await served.post("/v1/t", sized(LIMIT + 1))

        await assert_refused(served, answer, 400, "body_too_large")

    async def test_too_large_body_is_refused_by_its_length_before_it_is_sent(
        self, served: Serving
    ) -> None:
        headers = AUTH | {"Content-Length": str(50 * 1024 * 1024)}
        started = time.monotonic()
        answer = await served.exchange(message("/v1/t", headers=headers, has_length=False))

        assert time.monotonic() - started < TIMEOUT_S
        await assert_refused(served, answer, 400, "body_too_large")

    async def test_too_large_body_is_answered_while_it_is_sent(self, served: Serving) -> None:
        answer = await served.post("/v1/t", b" " * 5_000_000)

        await assert_refused(served, answer, 400, "body_too_large")

    async def test_too_large_chunked_body_is_refused(self, served: Serving) -> None:
        data = message(
            "/v1/t",
            chunked(sized(LIMIT), b" "),
            AUTH | {"Transfer-Encoding": "chunked"},
            has_length=False,
        )

        await assert_refused(served, await served.exchange(data), 400, "body_too_large")

    @pytest.mark.parametrize(
        "body",
        [
            gzip.compress(sized(LIMIT + 1)),
            gzip.compress(b" " * 100_000_000, 9)[:LIMIT],
            gzip.compress(b" " * 3_000_000, 9),
            gzip.compress(sized(LIMIT)) + gzip.compress(b" "),
        ],
    )
    async def test_bomb_is_refused(self, served: Serving, body: bytes) -> None:
        assert len(body) <= LIMIT
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": "gzip"})

        await assert_refused(served, answer, 400, "body_too_large")

    def test_bomb_of_many_members_is_refused_quickly(self) -> None:
        started = time.perf_counter()
        with pytest.raises(RequestError):
            list(inflated(gzip.compress(b"") * 200_000, "gzip", 4 << 20))

        assert time.perf_counter() - started < 2

    async def test_chunked_body_that_never_ends_is_refused(self, served: Serving) -> None:
        async with served.connection() as connection:
            headers = AUTH | {"Transfer-Encoding": "chunked"}
            await connection.send(message("/v1/t", b"", headers, has_length=False))

            async def pump() -> None:
                while True:
                    await connection.send(b"400\r\n%b\r\n" % (b"x" * 1024))

            pumping = asyncio.create_task(pump())
            answer = await connection.answer()
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
        await assert_refused(served, answer, 400, "body_too_large")

    async def test_nesting_that_is_too_deep_is_refused(self, served: Serving) -> None:
        body = b'{"properties":' + b"[" * 1500 + b"]" * 1500 + b"}"

        await assert_refused(served, await served.post("/v1/t", body), 400, "nested_too_deep")


class TestTime:
    @pytest.mark.parametrize("sent", [b"", b"{", EVENT[:-1]])
    async def test_body_that_stops_arriving_is_answered_503(
        self, served: Serving, sent: bytes
    ) -> None:
        headers = AUTH | {"Content-Length": str(len(EVENT))}
        async with served.connection() as connection:
            started = time.monotonic()
            await connection.send(message("/v1/t", headers=headers, has_length=False) + sent)
            answer = await connection.answer()
            took = time.monotonic() - started
        assert TIMEOUT_S * 0.9 < took < TIMEOUT_S + 2
        assert answer.headers["Retry-After"].isdecimal()
        assert answer.headers["Connection"] == "close"
        await assert_refused(served, answer, 503, "body_timeout")

    async def test_body_that_trickles_in_for_ever_is_answered_503(self, served: Serving) -> None:
        headers = AUTH | {"Transfer-Encoding": "chunked"}
        async with served.connection() as connection:
            await connection.send(message("/v1/t", headers=headers, has_length=False))

            async def trickle() -> None:
                while True:
                    await connection.send(b"1\r\n \r\n")
                    await asyncio.sleep(TIMEOUT_S / 20)

            trickling = asyncio.create_task(trickle())
            answer = await connection.answer()
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)
        await assert_refused(served, answer, 503, "body_timeout")

    async def test_others_are_served_while_one_is_slow(self, served: Serving) -> None:
        headers = AUTH | {"Content-Length": "100"}
        async with served.connection() as slow:
            await slow.send(message("/v1/t", headers=headers, has_length=False))
            started = time.monotonic()
            for _ in range(10):
                assert await served.still_works()
            assert time.monotonic() - started < TIMEOUT_S
            assert (await slow.answer()).status == 503


class TestExpect:
    HEADERS = AUTH | {"Expect": "100-continue", "Content-Length": str(len(EVENT))}

    async def test_client_that_waits_is_told_to_continue(self, served: Serving) -> None:
        async with served.connection() as connection:
            await connection.send(message("/v1/t", headers=self.HEADERS, has_length=False))
            assert (await connection.answer()).status == 100
            await connection.send(EVENT)
            assert (await connection.answer()).status == 200

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"X-Write-Key": "wrong"}, 401),
            ({"Content-Length": str(LIMIT + 1)}, 400),
            ({"Content-Encoding": "br"}, 400),
        ],
    )
    async def test_client_that_waits_is_refused_without_sending(
        self, served: Serving, change: dict[str, str], status: int
    ) -> None:
        answer = await served.exchange(
            message("/v1/t", headers=self.HEADERS | change, has_length=False)
        )
        assert answer.status == status


async def test_text_that_no_utf8_can_express_is_mended(served: Serving) -> None:
    body = b'{"type":"track","event":"a\\ud83d","properties":{"k":"\xff\\udc00"}}'
    assert (await served.post("/v1/t", body)).status == 200

    ((_, record),) = await served.records()
    assert record["event"] == "a\ufffd"
    assert record["properties"]["k"] == "\ufffd\ufffd"


async def test_event_of_many_megabytes_is_accepted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        body = json.dumps({"type": "track", "event": "E", "properties": {"x": "y" * 4_000_000}})
        assert (await served.post("/v1/t", body.encode())).status == 200
        ((_, record),) = await served.records()
        assert len(record["properties"]["x"]) == 4_000_000
