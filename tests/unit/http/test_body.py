"""Bodies: every encoding that SDKs use, and none that costs more than it may."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import RequestError
from gateway.http.body import inflated
from tests.support.serving import EVENT, KEY, Answer, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
packed = partial(gzip.compress, mtime=0)  # the same whenever it is made
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


def raw_deflate(body: bytes, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, wbits=-15)
    return stream.compress(body) + stream.flush()


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
            ("gzip", packed(EVENT)),
            ("GZIP", packed(EVENT, 0)),
            (" gzip ", packed(EVENT, 9)),
            ("x-gzip", packed(EVENT)),
            ("gzip", packed(EVENT[:10]) + packed(b"") + packed(EVENT[10:])),
            ("gzip", packed(EVENT) + bytes(512)),
            ("gzip", packed(EVENT[:9]) + bytes(7) + packed(EVENT[9:]) + b"\r\n"),
            ("gzip, identity", packed(EVENT)),
            ("identity,x-gzip", packed(EVENT)),
            ("utf-8, GZip", packed(EVENT)),
            ('"gzip"', packed(EVENT)),
            ("deflate", zlib.compress(EVENT)),
            ("Deflate", zlib.compress(EVENT, 0) + bytes(3)),
            ("deflate", raw_deflate(EVENT)),
            ("deflate", raw_deflate(EVENT, 0)),
            ("deflate", raw_deflate(b"\xef\xbb\xbf" + EVENT)),
            ("deflate, identity", raw_deflate(EVENT) + bytes(3)),
            ("identity", EVENT),
            *((name, EVENT) for name in ("UTF-8", "utf8", "none", "identity, none", "binary", ",")),
            ("", EVENT),
            # The bytes count, and not what is said of them.
            ("", packed(EVENT)),
            ("none", packed(EVENT[:9]) + packed(EVENT[9:])),
            ("deflate", packed(EVENT)),
            ("", zlib.compress(EVENT, 1)),
            ("UTF-8", zlib.compress(EVENT, 9)),
            ("gzip", zlib.compress(EVENT)),
            ("gzip", EVENT),
            ("x-gzip", b"\n [" + EVENT + b"]"),
            ("gzip", b"\xef\xbb\xbf" + EVENT),
            ("deflate", EVENT),
            ("deflate", b"\n{\n " + EVENT[1:]),
            *((name, EVENT) for name in ("br", "zstd", "gzip, br", "aws-chunked", "\udce9")),
            ("charset=utf-8", EVENT),
            ("utf-8; q=1", EVENT),
            ("gzip;q=1", packed(EVENT)),
            ("application/gzip", packed(EVENT)),
            ("gzip, deflate, br", packed(EVENT)),
            # Compressed twice, or said to be.
            ("gzip", packed(packed(EVENT))),
            ("gzip, gzip", packed(packed(EVENT))),
            ("gzip, gzip", packed(EVENT)),
            ("deflate, gzip", packed(zlib.compress(EVENT))),
            ("", packed(packed(EVENT))),
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
        body = packed(EVENT) if encoding else EVENT
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

    async def test_raw_deflate_that_begins_like_a_header_is_read(self, served: Serving) -> None:
        """The first byte of a stored block has spare bits, and its length follows."""
        text = EVENT + b" " * (0x0101 - len(EVENT))
        starts = [bytes([first, 1]) for first in range(8, 256, 16)]
        [start] = [each for each in starts if int.from_bytes(each, "big") % 31 == 0]
        body = start + b"\x01\xfe\xfe" + text + raw_deflate(b"")
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": "deflate"})

        assert answer.status == 200
        assert await served.names() == ["E"]

    async def test_compression_without_the_header_is_read_on_a_connection_that_is_known(
        self, served: Serving
    ) -> None:
        async with served.connection() as connection:
            for body in (EVENT, packed(EVENT), EVENT, raw_deflate(EVENT)):
                await connection.send(message("/v1/t", body, AUTH))
                status = (await connection.answer()).status
                assert status == (400 if body == raw_deflate(EVENT) else 200)
        assert await served.names() == ["E"] * 3

    @pytest.mark.parametrize("encoding", ["", "none", "deflate", "gzip"])
    @pytest.mark.parametrize("compress", [packed, zlib.compress, raw_deflate])
    async def test_bound_of_inflating_holds_whatever_is_said(
        self, served: Serving, encoding: str, compress: Callable[[bytes], bytes]
    ) -> None:
        body = compress(b" " * 1_000_000)
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": encoding})

        assert answer.status == 400
        if compress is not raw_deflate or encoding == "deflate":
            assert answer.code == "body_too_large"

    @pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "\udce9"])
    async def test_other_encodings_are_refused(self, served: Serving, encoding: str) -> None:
        body = b"\x0b\x19\x80" + EVENT
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": encoding})

        await assert_refused(served, answer, 400, "unsupported_encoding")


class TestDamage:
    @pytest.mark.parametrize(
        "body", [b"", b"{", EVENT[:-1], b"a=1&b=2", b"\xff\xfe", b"x", b"\x1f", b"x=1"]
    )
    async def test_body_that_is_no_json_is_refused(self, served: Serving, body: bytes) -> None:
        await assert_refused(served, await served.post("/v1/t", body), 400, "invalid_json")

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", b"not gzip"),
            ("deflate", b"x"),
            ("deflate", b"\x1f"),
            ("deflate", zlib.compress(EVENT)[:-5] + bytes(5)),
            ("gzip", packed(EVENT)[:10]),
            ("gzip", packed(EVENT)[:3]),
            ("", packed(EVENT)[:3]),
            ("gzip", packed(EVENT)[:20] + b"\xff" + packed(EVENT)[21:]),
            ("gzip", packed(EVENT)[:20] + b"\xff" + packed(EVENT)[21:-8]),
            ("gzip", packed(EVENT)[:-5] + b"\x00\x00\x00\x00\x00"),
            ("gzip", packed(EVENT) + b"more"),
            ("gzip", packed(EVENT) + b"m"),
            ("deflate", zlib.compress(EVENT) + b"x"),
            ("deflate", raw_deflate(EVENT) + b"more"),
            ("deflate", raw_deflate(EVENT) + raw_deflate(EVENT)[:-9]),
            ("gzip", packed(b"") * 101),
        ],
    )
    async def test_body_that_is_not_encoded_as_it_says_is_refused(
        self, served: Serving, encoding: str, body: bytes
    ) -> None:
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": encoding})

        await assert_refused(served, answer, 400, "invalid_encoding")

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("", packed(EVENT)[:-1]),
            ("gzip", packed(EVENT)[:-8]),
            ("gzip", packed(EVENT) + packed(b" ")[:15]),
            ("", zlib.compress(EVENT)[:-4]),
            ("deflate", zlib.compress(EVENT)[:-1]),
            ("gzip", packed(packed(EVENT)[:-3])),
            ("gzip", packed(packed(EVENT))[:-3]),
        ],
    )
    async def test_body_that_lacks_nothing_but_its_checksum_is_read(
        self, served: Serving, encoding: str, body: bytes
    ) -> None:
        headers = AUTH | {"Content-Encoding": encoding} if encoding else AUTH
        assert (await served.post("/v1/t", body, headers)).status == 200
        assert await served.names() == ["E"]

    @pytest.mark.parametrize("level", [0, 1, 6, 9])
    @pytest.mark.parametrize("pack", ["gzip", "zlib", "raw", "members"])
    def test_what_is_read_of_a_body_that_ends_too_early_is_its_beginning(
        self, level: int, pack: str
    ) -> None:
        text = b"".join(b'{"id":%d,"name":"%d"},' % (n, n * n) for n in range(400))
        encoding = "deflate" if pack in ("zlib", "raw") else "gzip"
        body = {
            "gzip": lambda: packed(text, level),
            "zlib": lambda: zlib.compress(text, level),
            "raw": lambda: raw_deflate(text, level),
            "members": lambda: packed(text[:900], level) + packed(text[900:], level),
        }[pack]()
        sizes = []
        for end in range(len(body)):
            try:
                found = b"".join(inflated(body[:end], encoding, len(text)))
            except RequestError:
                found = b""
            assert text.startswith(found)
            assert found or end < 300
            sizes.append(len(found))
        assert sizes[-1] >= len(text) - 1
        assert len(set(sizes)) > 100

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
    @pytest.mark.parametrize("body", [b"", b" \r\n\t", b"\0\0\0", b"\xef\xbb\xbf\n", packed(b" ")])
    @pytest.mark.parametrize(
        "path", ["/v1/t", "/v1/batch", "/v1/import", "/track", "/import", "/api/s/track",
                 "/api/syft", "/beacon/v1/batch"],
    )  # fmt: skip
    async def test_empty_body_is_called_so(
        self, served: Serving, path: str, encoding: str, body: bytes
    ) -> None:
        answer = await served.post(path, body, AUTH | {"Content-Encoding": encoding})

        assert answer.json()["message"] == "the body is empty; send JSON"
        await assert_refused(served, answer, 400, "invalid_json")

    async def test_request_without_any_body_is_told_that_it_is_empty(self, served: Serving) -> None:
        answer = await served.exchange(message("/v1/t", headers=AUTH, has_length=False))

        assert answer.json()["message"] == "the body is empty; send JSON"
        await assert_refused(served, answer, 400, "invalid_json")

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
        encoded = packed(sized(LIMIT))
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
            packed(sized(LIMIT + 1)),
            packed(b" " * 100_000_000, 9)[:LIMIT],
            packed(b" " * 3_000_000, 9),
            packed(sized(LIMIT)) + packed(b" "),
            packed(packed(b" " * 3_000_000, 9)),
        ],
    )
    async def test_bomb_is_refused(self, served: Serving, body: bytes) -> None:
        assert len(body) <= LIMIT
        answer = await served.post("/v1/t", body, AUTH | {"Content-Encoding": "gzip"})

        await assert_refused(served, answer, 400, "body_too_large")

    def test_bomb_of_many_members_is_refused_quickly(self) -> None:
        started = time.perf_counter()
        with pytest.raises(RequestError):
            list(inflated(packed(b"") * 200_000, "gzip", 4 << 20))

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


async def test_event_of_many_megabytes_is_accepted_and_kept(tmp_path: Path) -> None:
    """Mixpanel takes records of 1 MB at most, so it is a dead letter at once."""
    async with serving(tmp_path) as served:
        body = json.dumps({"type": "track", "event": "E", "properties": {"x": "y" * 4_000_000}})
        assert (await served.post("/v1/t", body.encode())).status == 200
        (letter,) = await served.letters()
        assert letter.reason == "too_large"
        assert b"y" * 4_000_000 in letter.payload


async def test_body_of_many_megabytes_is_delivered(tmp_path: Path) -> None:
    events = [
        {"type": "track", "event": "E", "userId": "u", "properties": {"x": "y" * 900_000}}
        for _ in range(2)
    ]
    async with serving(tmp_path) as served:
        body = json.dumps({"batch": events}).encode()
        assert (await served.post("/v1/batch", body)).status == 200
        assert [len(each["properties"]["x"]) for _, each in await served.records()] == [900_000] * 2
