"""Requests whose head was understood before: nothing about them may be different."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.config import DestinationConfig, DestinationSettings, Secret, SourceConfig
from gateway.errors import SpoolUnavailable
from gateway.http.heads import MAX_HEADS, KnownHeads
from gateway.http.malformed import HeadLimits
from gateway.http.request import Head, read_head
from tests.support import serving as support
from tests.support.serving import EVENT, KEY, Answer, message, serving
from tests.unit.ingest.test_answers import BrokenSpool

AUTH = {"X-Write-Key": KEY}
REQUEST = message("/v1/batch", EVENT, AUTH)


class Again(list[bytes]):
    """The bodies of requests whose head was not read again."""

    def assert_are(self, *bodies: bytes) -> None:
        """Require that they are these, where any are answered without aiohttp."""
        assert self == (list(bodies) if support.has_fast_path else [])

    def assert_count(self, count: int) -> None:
        """Require that there are so many, where any are answered without aiohttp."""
        assert len(self) == (count if support.has_fast_path else 0)


@pytest.fixture(autouse=True)
def again(monkeypatch: pytest.MonkeyPatch) -> Again:
    bodies = Again()
    find = KnownHeads.find

    def seen(self: KnownHeads, data: bytes) -> tuple[Head, bytes] | None:
        found = find(self, data)
        if found is not None:
            bodies.append(found[1])
        return found

    monkeypatch.setattr(KnownHeads, "find", seen)
    return bodies


def event(name: str, **members: Any) -> bytes:
    return json.dumps({**json.loads(EVENT), "event": name, "messageId": name, **members}).encode()


def without_date(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = sorted((n, v) for n, v in answer.headers.items() if n not in ("Date", "Retry-After"))
    return answer.status, headers, answer.body


class TestKnownHeads:
    HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nX: y\r\n\r\n"

    LAST = b"POST / HTTP/1.1\r\nHost: b\r\ncontent-length:%b\r\n\r\n"

    def heads(self, *requests: bytes) -> KnownHeads:
        heads = KnownHeads()
        for request in requests:
            heads.remember(self.head(request), request)
        return heads

    def head(self, request: bytes) -> Head:
        """Return the head of a request, which here need not be one."""
        head = read_head(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", HeadLimits(100, 100, 10))
        assert head is not None
        head.note = request
        return head

    @pytest.mark.parametrize("head", [HEAD, LAST])
    @pytest.mark.parametrize("size", [1, 9, 10, 123_456])
    def test_the_same_head_is_known_whatever_the_length(self, head: bytes, size: int) -> None:
        one, other = self.HEAD % b"12" + b"x" * 12, self.LAST % b"7" + b"x" * 7
        heads = self.heads(one, other)
        body = bytes(size)
        found = heads.find(head % str(size).encode() + body)
        assert found is not None
        assert found[0].note == (one if head is self.HEAD else other)
        assert found[1] == body

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            HEAD,
            HEAD % b"12" + b"x" * 11,
            HEAD % b"12" + b"x" * 13,
            HEAD % b"12" + b"x" * 12 + HEAD % b"1" + b"x",
            HEAD % b"012" + b"x" * 12,
            HEAD % b"+12" + b"x" * 12,
            HEAD % b"12 " + b"x" * 12,
            HEAD % b"0x1" + b"x",
            HEAD % b"1_2" + b"x" * 12,
            HEAD % b"12\n" + b"x" * 12,
            HEAD % b"" + b"x" * 12,
            LAST % b"0",
            LAST % b"2" + b"x",
            LAST[:-2] % b"1",
            HEAD % b"0",
            HEAD.replace(b"\r\nX", b",12\r\nX") % b"12" + b"x" * 12,
            HEAD.replace(b"\r\nX", b"\nX") % b"12" + b"x" * 12,
            b"POST / HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 3\r\nabc",
            HEAD.replace(b"y", b"y" * 4096) % b"12" + b"x" * 12,
        ],
    )
    def test_anything_else_is_left_to_the_parser(self, data: bytes) -> None:
        heads = self.heads(self.HEAD % b"12" + b"x" * 12, self.LAST % b"1" + b"x")
        assert heads.find(data) is None
        heads.remember(self.head(data), data)
        assert heads.find(data) is None

    def test_digits_in_another_place_make_another_head(self) -> None:
        line = b"\r\nContent-Length: "
        one = b"P" + line + b"1" + line + b"\r\n\r\nx"
        other = b"P" + line + line + b"1" + b"\r\n\r\nx"
        assert self.heads(one).find(other) is None
        assert self.heads(other).find(one) is None

    def test_what_differs_in_anything_else_is_not_known(self) -> None:
        request = self.HEAD % b"3" + b"abc"
        heads = self.heads(request)
        for place in range(len(request) - 3):
            for change in (b"", b"2", b"\r", b"0" + request[place : place + 1]):
                other = request[:place] + change + request[place + 1 :]
                assert other == request or heads.find(other) is None

    def test_what_comes_again_stays_and_the_others_go(self) -> None:
        several = [b"%d" % number + self.HEAD % b"1" + b"x" for number in range(3 * MAX_HEADS)]
        heads = KnownHeads()
        for request in several:
            heads.remember(self.head(request), request)
            assert heads.find(several[0]) is not None
        known = sum(heads.find(request) is not None for request in reversed(several))
        assert MAX_HEADS <= known <= 2 * MAX_HEADS
        assert heads.find(several[1]) is None


async def test_later_requests_are_kept_and_answered_as_the_first(
    tmp_path: Path, again: Again
) -> None:
    async with serving(tmp_path) as served, served.connection() as connection:
        answers = []
        for number in range(4):
            await connection.send(message("/v1/batch", event("E" * (number + 1)), AUTH))
            answers.append(await connection.answer())
        again.assert_count(3)
        assert await served.names() == ["E", "EE", "EEE", "EEEE"]
    assert {str(without_date(answer)) for answer in answers} == {str(without_date(answers[0]))}
    assert answers[3].status == 200
    assert answers[3].headers["Date"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/t", {"Origin": "https://shop.example", **AUTH}),
        ("/v1/track?writeKey=" + KEY, {}),
        ("/api/s/event", AUTH),
        ("/beacon/v1/batch?writeKey=" + KEY, {}),
        ("/v1/i", {"Content-Encoding": "gzip", **AUTH}),
        ("/v1/page", {"SentAt": "2020-01-01T00:00:00Z", "X-Retry-Count": "1", **AUTH}),
    ],
)
async def test_what_headers_and_path_say_holds_for_later_requests_too(
    tmp_path: Path, again: Again, path: str, headers: dict[str, str]
) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (X)", **headers}
    body = event("E", type=None, timestamp="2026-11-01T00:00:00Z")
    packed = gzip.compress(body) if "Content-Encoding" in headers else body
    async with serving(tmp_path) as served, served.connection() as connection:
        answers = []
        for _ in range(2):
            await connection.send(message(path, packed, browser))
            answers.append(await connection.answer())
        again.assert_are(packed)
        records = await served.records()
    assert without_date(answers[0]) == without_date(answers[1])
    assert answers[0].status == 200
    assert len(records) % 2 == 0
    half = len(records) // 2
    assert records[:half] == records[half:] or records[::2] == records[1::2]


async def test_key_in_the_body_is_looked_at_every_time(tmp_path: Path, again: Again) -> None:
    async with serving(tmp_path) as served, served.connection() as connection:
        for key, status in ((KEY, 200), ("wrong", 401), (KEY, 200)):
            await connection.send(message("/v1/t", event("E", writeKey=key)))
            assert (await connection.answer()).status == status
        again.assert_count(2)
        assert len(await served.names()) == 2


async def test_page_that_may_not_send_is_refused_again_whatever_names_the_source(
    tmp_path: Path, again: Again
) -> None:
    source = SourceConfig(
        name="web", write_key=Secret(KEY), allowed_origins=("https://good.example",)
    )
    bad = {"Origin": "https://bad.example"}
    async with serving(tmp_path, sources=[source]) as served, served.connection() as connection:
        for _ in range(3):
            await connection.send(message("/v1/t", event("E", writeKey=KEY), bad))
            answer = await connection.answer()
            assert (answer.status, answer.code) == (400, "origin_not_allowed")
        again.assert_count(2)


async def test_what_another_configuration_has_understood_does_not_count(tmp_path: Path) -> None:
    sources = [SourceConfig(name=name, write_key=Secret(KEY)) for name in ("old", "new")]
    async with (
        serving(tmp_path / "old", sources=sources[:1]) as old,
        serving(tmp_path / "new", sources=sources[1:]) as new,
    ):
        assert old.ingest._connections is not None
        assert new.ingest._connections is not None
        new.ingest._connections.heads = old.ingest._connections.heads
        for served, name in ((old, "old"), (old, "old"), (new, "new"), (new, "new")):
            assert (await served.exchange(REQUEST)).status == 200
            value = served.telemetry.registry.get_sample_value
            labels = {"source": "new" if name == "old" else "old"}
            assert not value("gateway_events_received_total", labels)


async def test_wrong_key_is_never_known(tmp_path: Path, again: Again) -> None:
    async with serving(tmp_path) as served, served.connection() as connection:
        for _ in range(3):
            await connection.send(message("/v1/t", EVENT, {"X-Write-Key": "wrong"}))
            assert (await connection.answer()).status == 401
        assert not again


async def test_what_one_connection_knows_the_others_know(tmp_path: Path, again: Again) -> None:
    async with serving(tmp_path) as served:
        answers = [await served.exchange(REQUEST) for _ in range(3)]
        again.assert_count(2)
        assert len(await served.names()) == 3
    assert {str(without_date(answer)) for answer in answers} == {str(without_date(answers[0]))}


async def test_each_connection_has_its_own_address(tmp_path: Path, again: Again) -> None:
    destination = DestinationConfig(name="mp", settings=DestinationSettings(projectToken="TOKEN"))
    request = message("/v1/t", EVENT, AUTH)
    hosts = ("127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.4")
    async with serving(tmp_path, destinations=[destination]) as served:
        for host in hosts:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", served.ingest.port, local_addr=(host, 0)
            )
            for _ in range(2):
                writer.write(request)
                assert b" 200 " in await reader.readuntil(b"}")
            writer.close()
        records = await served.records()
    again.assert_count(7)
    assert [record["properties"]["ip"] for _, record in records] == [
        host for host in hosts for _ in range(2)
    ]


async def test_a_refused_head_is_not_known_by_the_request_behind_it(
    tmp_path: Path, again: Again
) -> None:
    wrong = message("/v1/batch", EVENT, {"X-Write-Key": "wrong"})
    async with serving(tmp_path) as served, served.connection() as connection:
        await connection.send(wrong)
        assert (await connection.answer()).status == 401
        await connection.send(REQUEST + REQUEST)
        for _ in range(2):
            assert (await connection.answer()).status == 200
        await connection.send(wrong)
        assert (await connection.answer()).status == 401
        assert (await served.exchange(wrong)).status == 401
        again.assert_count(1)  # the second of the good ones


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1",
        b'{"batch":1}',
        b"[" * 100_000,
        b"{}," * 210_000,
        b"\xff\xfe",
        b'{"batch":[1,{"type":"track","event":"E","userId":"u"}]}',
    ],
)
async def test_what_cannot_be_read_is_refused_as_at_first(
    tmp_path: Path, again: Again, body: bytes
) -> None:
    async with serving(tmp_path) as served:
        first = await served.exchange(message("/v1/batch", body, AUTH))
        async with served.connection() as connection:
            await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
            await connection.send(message("/v1/batch", body, AUTH))
            second = await connection.answer()
            await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
        assert without_date(first) == without_date(second)
        if support.has_fast_path:
            assert again  # of large ones only the last: they come in pieces


async def test_what_is_too_large_once_inflated_ends_the_connection_as_at_first(
    tmp_path: Path, again: Again
) -> None:
    packed = {"Content-Encoding": "gzip", **AUTH}
    bomb = message("/v1/batch", gzip.compress(b" " * 300_000), packed)
    async with serving(tmp_path, max_body_bytes=100_000) as served:
        first = await served.exchange(bomb)
        async with served.connection() as connection:
            await connection.send(message("/v1/batch", gzip.compress(EVENT), packed))
            assert (await connection.answer()).status == 200
            await connection.send(bomb)
            second = await connection.answer()
            assert (second.status, second.code) == (400, "body_too_large")
            assert await connection.ended() == b""
    again.assert_count(2)  # whatever became of the first body
    assert without_date(first) == without_date(second)


async def test_full_memory_and_broken_spool_are_answered_503(tmp_path: Path, again: Again) -> None:
    async with serving(tmp_path, spool_type=BrokenSpool, max_bytes_in_flight=16_384) as served:
        assert isinstance(served.spool, BrokenSpool)
        async with served.connection() as connection:
            await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
            served.spool.error = SpoolUnavailable("no space", retry_after_s=17)
            await connection.send(REQUEST)
            answer = await connection.answer()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "17")
            served.spool.error = None
            others = served.ingest._budget.lease()
            assert others.resize(16_000)
            await connection.send(REQUEST)
            answer = await connection.answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert answer.headers["Retry-After"].isdecimal()
            others.release()
            await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
        again.assert_count(3)
        assert served.ingest._budget.used == 0
        assert await served.names() == ["E", "E"]


async def test_requests_that_come_together_or_in_pieces_are_answered_in_order(
    tmp_path: Path, again: Again
) -> None:
    async with serving(tmp_path) as served, served.connection() as connection:
        await connection.send(REQUEST)
        assert (await connection.answer()).status == 200
        await connection.send(message("/v1/batch", event("A"), AUTH))
        together = [message("/v1/batch", event(name), AUTH) for name in "BC"]
        await connection.send(b"".join(together))
        for _ in range(3):
            assert (await connection.answer()).status == 200
        for part in (REQUEST[:20], REQUEST[20:-5], REQUEST[-5:]):
            await connection.send(part)
            await asyncio.sleep(0.05)
        assert (await connection.answer()).status == 200
        await connection.send(message("/v1/batch", event("D"), AUTH))
        assert (await connection.answer()).status == 200
        assert await served.names() == ["E", "A", "B", "C", "E", "D"]
        if support.has_fast_path:
            assert event("D") in again


async def test_nothing_is_smuggled_behind_a_known_head(tmp_path: Path) -> None:
    """The same head but for one more header is another one."""
    lines: Sequence[tuple[tuple[str, str], int]] = [
        (("Content-Length", "5"), 400),
        (("Transfer-Encoding", "chunked"), 400),
        (("X-Write-Key", "wrong"), 200),  # the first one counts
    ]
    for line, status in lines:
        async with serving(tmp_path / line[0]) as served, served.connection() as connection:
            for _ in range(2):
                await connection.send(REQUEST)
                assert (await connection.answer()).status == 200
            pairs = [*AUTH.items(), ("Content-Length", str(len(EVENT))), line]
            await connection.send(message("/v1/batch", EVENT, pairs, has_length=False))
            assert (await connection.answer()).status == status
            assert len(await served.names()) == (3 if status == 200 else 2)


async def test_nobody_says_what_the_heads_of_others_mean(tmp_path: Path, again: Again) -> None:
    """The end of a request may look like a request of somebody else."""
    sources = [
        SourceConfig(name=name, write_key=Secret(name), destinations=(name,))
        for name in ("mine", "theirs")
    ]
    destinations = [
        DestinationConfig(name=name, settings=DestinationSettings(projectToken=name))
        for name in ("mine", "theirs")
    ]
    request = message("/v1/batch", EVENT, {"X-Write-Key": "theirs"})
    beginning = b"POST /v1/batch HTTP/1.1\r\nX-Write-Key: mine\r\nX-Junk: "
    room = serving(tmp_path, sources=sources, destinations=destinations)
    async with room as served:
        async with served.connection() as connection:
            for _ in range(3):
                await connection.send(beginning)
                await asyncio.sleep(0.02)
                await connection.send(request)
                assert (await connection.answer()).status == 200
        assert not again
        for _ in range(2):
            assert (await served.exchange(request)).status == 200
        again.assert_count(1)
        ledgers = served.spool.ledger()
    assert {name: ledger.accepted for name, ledger in ledgers.items()} == {"mine": 3, "theirs": 2}


async def test_what_ends_its_connection_is_not_known(tmp_path: Path, again: Again) -> None:
    last = message("/v1/batch", EVENT, {**AUTH, "Connection": "close"})
    async with serving(tmp_path) as served:
        for _ in range(2):
            async with served.connection() as connection:
                await connection.send(last)
                assert (await connection.answer()).headers["Connection"] == "close"
                assert await connection.ended() == b""
    assert not again


async def test_each_of_several_heads_is_known_again(tmp_path: Path, again: Again) -> None:
    async with serving(tmp_path) as served, served.connection() as connection:
        for _ in range(2):
            for number in range(20):
                request = message("/v1/batch", EVENT, {**AUTH, "X-Request-Id": str(number)})
                await connection.send(request)
                assert (await connection.answer()).status == 200
        again.assert_count(20)
        assert len(await served.names()) == 40


async def test_a_stopping_server_says_that_the_connection_ends(tmp_path: Path) -> None:
    room = serving(tmp_path, shutdown_timeout_s=5)
    async with room as served, served.connection() as connection:
        for _ in range(2):
            await connection.send(REQUEST)
            assert (await connection.answer()).status == 200
        stopping = asyncio.create_task(served.ingest.stop())
        await asyncio.sleep(0.05)
        await connection.send(REQUEST)
        answer = await connection.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await connection.ended() == b""
        await stopping


async def test_the_address_of_each_client_is_its_own(tmp_path: Path, again: Again) -> None:
    destination = DestinationConfig(name="mp", settings=DestinationSettings(projectToken="TOKEN"))
    room = serving(tmp_path, destinations=[destination], trusted_proxies=("127.0.0.0/8",))
    async with room as served, served.connection() as connection:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"):
            forwarded = {**AUTH, "X-Forwarded-For": address}
            await connection.send(message("/v1/t", EVENT, forwarded))
            assert (await connection.answer()).status == 200
        records = await served.records()
    again.assert_count(2)
    addresses = [record["properties"]["ip"] for _, record in records]
    assert addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]
