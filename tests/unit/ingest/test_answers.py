"""What clients are told when the gateway cannot do its part, and whose clock counts."""

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.config import (
    Config,
    DestinationConfig,
    DestinationSettings,
    Secret,
    ServerConfig,
    SourceConfig,
)
from gateway.errors import SpoolUnavailable
from gateway.ingest import IngestServer
from gateway.model import DeadLetter, Entry
from gateway.spool.sqlite import SqliteSpool
from gateway.telemetry import Telemetry
from tests.support.serving import EVENT, KEY, Serving, message, serving

AUTH = {"X-Write-Key": KEY}


class BrokenSpool(SqliteSpool):
    """A spool whose appends fail with what ``error`` says, and work again without it."""

    error: Exception | None = None

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        if self.error is not None:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(self.error)
            return failed
        return super().append(entries, dead)


class TestFailures:
    async def test_full_disk_is_answered_503_and_nothing_is_kept(self, tmp_path: Path) -> None:
        async with serving(tmp_path, min_free_bytes=2**60) as served:
            for body in (EVENT, b'{"type":"track"}'):
                answer = await served.post("/v1/t", body)
                assert (answer.status, answer.code) == (503, "unavailable")
                assert 1 <= int(answer.headers["Retry-After"]) <= 300
            assert await served.records() == []
            assert await served.letters() == []
            # What needs no room is answered as ever.
            assert (await served.post("/v1/t", b"{")).status == 400
            assert (await served.post("/v1/t", EVENT, {"X-Write-Key": "wrong"})).status == 401
            assert (await served.post("/v1/a", b"{}")).status == 200

    async def test_spool_says_when_to_come_back(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(tmp_path, spool_type=BrokenSpool) as served:
            assert isinstance(served.spool, BrokenSpool)
            served.spool.error = SpoolUnavailable("/var/spool: no space", retry_after_s=17)
            async with served.connection() as connection:
                await connection.send(message("/v1/t", EVENT, AUTH))
                answer = await connection.answer()
                assert (answer.status, answer.headers["Retry-After"]) == (503, "17")
                # Where we keep things is nobody's business.
                assert b"/var/spool" not in answer.body
                served.spool.error = None
                await connection.send(message("/v1/t", EVENT, AUTH))
                assert (await connection.answer()).status == 200
            assert await served.names() == ["E"]

    async def test_mistake_of_ours_is_answered_503_and_logged_without_secrets(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with serving(tmp_path, spool_type=BrokenSpool) as served:
            assert isinstance(served.spool, BrokenSpool)
            served.spool.error = ZeroDivisionError("a mistake")
            answer = await served.post("/v1/t", EVENT[:-1] + b',"writeKey":"canary"}')
            assert (answer.status, answer.code) == (503, "internal_error")
            assert answer.headers["Retry-After"].isdecimal()
            assert b"mistake" not in answer.body
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            served.spool.error = None
            assert await served.still_works()

        (logged,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
        assert logged.exc_info
        assert "ZeroDivisionError" in caplog.text
        assert "canary" not in caplog.text


class TestLife:
    def server(self, **options: Any) -> IngestServer:
        async def accept(*args: object, **named: object) -> Any:
            self.asked.set()
            await self.accepting.wait()

        self.asked, self.accepting = asyncio.Event(), asyncio.Event()
        config = Config(
            sources=(SourceConfig(name="sdk", write_key=Secret(KEY)),),
            destinations=(DestinationConfig(settings=DestinationSettings(projectToken="T")),),
            server=ServerConfig(**{"port": 0, **options}),
        )
        return IngestServer(config, accept, accept, telemetry=Telemetry())

    async def ask(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message("/v1/t", EVENT, AUTH))
        await asyncio.wait_for(self.asked.wait(), 5)
        return reader, writer

    async def refused(self, port: int) -> None:
        """Wait until the port is closed."""
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    return
                writer.close()

    async def test_stopping_answers_what_is_being_asked_and_refuses_the_rest(self) -> None:
        server = self.server(shutdown_timeout_s=5)
        await server.start()
        port = server.port
        reader, writer = await self.ask(port)
        stopping = asyncio.create_task(server.stop())
        await self.refused(port)
        self.accepting.set()
        answered = await asyncio.wait_for(reader.read(), 5)
        await stopping
        writer.close()
        await writer.wait_closed()

        assert answered.startswith(b"HTTP/1.1 200 ")
        assert answered.endswith(b'{"success":true}')

    async def test_stopping_does_not_wait_longer_than_it_may(self) -> None:
        server = self.server(shutdown_timeout_s=0.1)
        await server.start()
        _, writer = await self.ask(server.port)
        await asyncio.wait_for(server.stop(), 5)
        await server.stop()
        writer.close()

    async def test_address_that_is_taken_is_an_os_error(self) -> None:
        first = self.server()
        await first.start()
        second = self.server(port=first.port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await second.stop()
        await first.stop()

    async def test_port_is_unknown_before_the_start(self) -> None:
        with pytest.raises(RuntimeError, match="not started"):
            _ = self.server().port

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
    async def test_with_a_certificate_the_port_speaks_tls(self, tmp_path: Path) -> None:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        made += [
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(cert),
            "-days",
            "2",
            "-subj",
            "/CN=test",
        ]
        await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
        server = self.server(tls_cert=str(cert), tls_key=str(key))
        self.accepting.set()
        await server.start()
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(message("/v1/t", EVENT, AUTH))
        answer = await asyncio.wait_for(reader.readuntil(b"true}"), 5)
        writer.close()
        await writer.wait_closed()
        await server.stop()

        assert answer.startswith(b"HTTP/1.1 200 ")


class TestTime:
    async def time_of(
        self, served: Serving, sent_ago_ms: int, *headers: tuple[str, str], library: str = ""
    ) -> int:
        """Return by how much the time of an event was corrected."""
        now = SystemClock().now_ms()
        body = json.loads(EVENT) | {"timestamp": now - 3_600_000, "sentAt": now - sent_ago_ms}
        body["context"] = {"library": {"name": library}}
        answer = await served.post("/v1/t", json.dumps(body).encode(), [*AUTH.items(), *headers])
        assert answer.status == 200
        written: int = (await served.records())[-1][1]["properties"]["time"]
        return written - (now - 3_600_000)

    async def test_clock_of_the_client_is_corrected_unless_it_sends_again(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path) as served:
            assert await self.time_of(served, 600_000) == 600_000
            assert await self.time_of(served, 1_000) == 0
            assert await self.time_of(served, 600_000, ("X-Retry-Count", "0")) == 600_000
            assert await self.time_of(served, 600_000, ("X-Retry-Count", "1")) == 0
            assert await self.time_of(served, 600_000, ("Rsa-Retry-Attempt", "2")) == 0

    @pytest.mark.parametrize(
        ("agent", "correction"),
        [
            ("analytics-go (version: 3.0.0)", 0),
            ("analytics-java/3.5.4", 0),
            ("analytics-kotlin/1.24.1", 0),
            ("analytics-ios/1.9.4", 0),
            ("analytics-node/3.0.13", 0),
            ("analytics-node-next/latest", 600_000),
            ("analytics-python/2.4.0", 600_000),
        ],
    )
    async def test_clock_is_not_told_by_sdks_that_stamp_a_batch_once(
        self, tmp_path: Path, agent: str, correction: int
    ) -> None:
        async with serving(tmp_path) as served:
            assert await self.time_of(served, 600_000, ("User-Agent", agent)) == correction

    @pytest.mark.parametrize(
        ("library", "agent", "correction"),
        [
            ("Analytics-CSharp", "UnityPlayer/2021.3.1f1 (UnityWebRequest/1.0)", 0),
            ("Analytics.NET", "", 0),
            ("analytics-kotlin", "okhttp/4.12.0", 0),
            ("analytics-go", "Amazon CloudFront", 0),
            ("analytics-swift", "MyApp/1 CFNetwork/1490 Darwin/23.2.0", 0),
            ("analytics-react-native", "okhttp/4.12.0", 600_000),
            ("analytics.js", "Amazon CloudFront", 600_000),
        ],
    )
    async def test_clock_is_told_or_not_by_the_library_behind_any_client(
        self, tmp_path: Path, library: str, agent: str, correction: int
    ) -> None:
        async with serving(tmp_path) as served:
            header = ("User-Agent", agent)
            assert await self.time_of(served, 600_000, header, library=library) == correction

    @pytest.mark.parametrize(
        ("library", "header"),
        [
            ("analytics.js", ("X-Retry-Count", "1")),
            ("@segment/analytics-node", ("X-Retry-Count", "2")),
            ("", ("X-Retry-Count", "1")),
            ("RudderLabs JavaScript SDK", ("Rsa-Retry-Attempt", "1")),
            (
                "analytics-python",
                ("User-Agent", "python-requests/2.32"),
            ),  # before 2.4: no word of it
            ("analytics-ruby", ("User-Agent", "Ruby")),
        ],
    )
    async def test_event_that_is_sent_again_keeps_its_time(
        self, tmp_path: Path, library: str, header: tuple[str, str]
    ) -> None:
        async with serving(tmp_path) as served:
            now = SystemClock().now_ms()
            # Their clock is wrong, and the attempts take a different time to arrive.
            for sent_ms, headers in ((now - 624_000, []), (now - 636_000, [header])):
                event = {**json.loads(EVENT), "timestamp": now - 900_000}
                event["context"] = {"library": {"name": library}}
                body = json.dumps({"batch": [event], "sentAt": sent_ms}).encode()
                answer = await served.post("/v1/b", body, [*AUTH.items(), *headers])
                assert answer.status == 200
            first, second = [record["properties"]["time"] for _, record in await served.records()]
            assert first == second
            assert abs(first - (now - 900_000 + 624_000)) <= 40_000

    @pytest.mark.parametrize(
        ("timestamp", "sent_at", "before_ms"),
        [
            ("0001-01-01T00:00:00", None, 0),
            ("1970-01-01", "1970-01-01", 0),
            ("1970-01-01T00:04:00Z", "1970-01-01T00:09:00Z", 300_000),
            ("2564-08-13T10:05:10.000Z", "2564-08-13T10:10:10.000Z", 300_000),
            ("1400-05-22T10:10:10Z", None, 0),
            ("0008-06-27T08:23:00+0900", None, 0),
            ("2021", None, 0),
            (1, None, 0),
            (-1, 5, 0),
        ],
    )
    async def test_time_by_a_clock_of_another_age_is_the_time_of_receipt(
        self, tmp_path: Path, timestamp: object, sent_at: object, before_ms: int
    ) -> None:
        async with serving(tmp_path) as served:
            before = SystemClock().now_ms()
            event = {**json.loads(EVENT), "timestamp": timestamp}
            body = json.dumps({"batch": [event], "sentAt": sent_at}).encode()
            assert (await served.post("/v1/b", body, [*AUTH.items()])).status == 200
            ((_, record),) = await served.records()
            late = record["properties"]["time"] - (before - before_ms)
            assert 0 <= late <= SystemClock().now_ms() - before

    async def test_times_that_cannot_be_read_are_counted(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            times = ("8/13/2021, 10:10:10 PM", "Fri Aug 13 10:10:10 CST 2021", "0001-01-01")
            batch = [{**json.loads(EVENT), "timestamp": time} for time in times]
            body = json.dumps({"batch": batch}).encode()
            assert (await served.post("/v1/b", body, [*AUTH.items()])).status == 200
            found = [
                served.telemetry.registry.get_sample_value(
                    "gateway_times_replaced_total", {"source": "sdk", "reason": reason}
                )
                for reason in ("unreadable", "impossible")
            ]
            assert found == [2, 1]

    async def test_times_that_are_not_corrected_are_counted(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            for age_ms, count in ((86_000_000, None), (87_000_000, 1), (-87_000_000, 2)):
                corrected = await self.time_of(served, age_ms)
                assert (corrected == 0) == bool(count)
                assert count == served.telemetry.registry.get_sample_value(
                    "gateway_times_uncorrected_total", {"source": "sdk"}
                )

    async def test_time_of_sending_may_come_in_a_header(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            now = SystemClock().now_ms()
            sent = ("SentAt", datetime.fromtimestamp(now / 1000 - 600, UTC).isoformat())
            for body in (EVENT, b'{"batch":[%b]}' % EVENT):
                event = body.replace(b'"u"', b'"u","timestamp":%d' % (now - 3_600_000))
                assert (await served.post("/v1/t", event, [*AUTH.items(), sent])).status == 200
            records = await served.records()
            assert [record["properties"]["time"] for _, record in records] == [now - 3_000_000] * 2
