"""What Syft's SDKs send."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Secret, SourceConfig
from gateway.errors import RequestError
from gateway.events import decode
from gateway.ingest.syft import decode_upload
from tests.support.serving import Serving, serving

CHROME = "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.5.0.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"

UPLOAD: dict[str, Any] = {
    "events": [
        {"type": "track", "event": "E", "anonymousId": "a", "messageId": "m", "context": {}},
        {"type": "page", "name": "Home", "userId": "u", "context": {"locale": "de"}},
    ],
    "version": "0.0.1",
    "userAgentData": CHROME,
    "sentAt": "2026-11-24T10:00:00.000Z",
}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, default_source="sdk") as running:
        yield running


async def test_upload_becomes_events_with_what_syfts_handler_adds(served: Serving) -> None:
    answer = await served.post(
        "/api/syft", json.dumps(UPLOAD).encode(), {"Content-Type": "text/plain"}
    )

    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert await served.names() == ["E", "Viewed Home"]
    for _, record in await served.records():
        assert record["properties"]["$browser"] == "Chrome"
        assert record["properties"]["$lib_version"] == "0.0.1"
        assert record["properties"]["ip"] == "127.0.0.1"


async def test_context_of_the_event_comes_before_that_of_the_upload(served: Serving) -> None:
    event = {**UPLOAD["events"][0], "context": {"userAgent": FIREFOX, "library": {"version": "9"}}}
    body = json.dumps(UPLOAD | {"events": [event]}).encode()
    assert (await served.post("/api/syft", body, {"User-Agent": CHROME})).status == 200

    (_, record), *_ = await served.records()
    assert record["properties"]["$browser"] == "Firefox"
    assert record["properties"]["$lib_version"] == "9"


async def test_browser_of_the_request_counts_where_the_upload_names_none(served: Serving) -> None:
    body = json.dumps({"events": UPLOAD["events"]}).encode()
    assert (await served.post("/api/syft", body, {"User-Agent": CHROME})).status == 200
    (_, record), *_ = await served.records()
    assert record["properties"]["$browser"] == "Chrome"


async def test_list_of_the_http_plugin_becomes_events(served: Serving) -> None:
    body = [
        {"eventName": "A", "userId": "u", "installationId": "i", "plan": "pro", "n": 1.5},
        {"eventName": "B", "installationId": "i", "type": "x", "event": "y"},
        {"type": "track", "event": "C", "userId": "u"},
        5,
    ]
    headers = {"Content-Type": "text/plain;charset=UTF-8"}
    assert (await served.post("/api/syft", json.dumps(body).encode(), headers)).status == 200

    records = {record["event"]: record["properties"] for _, record in await served.records()}
    assert records.keys() == {"A", "B", "C"}
    assert records["A"]["distinct_id"] == "u"
    assert records["A"]["$device_id"] == "i"
    assert (records["A"]["plan"], records["A"]["n"]) == ("pro", 1.5)
    assert records["B"]["distinct_id"] == "i"
    assert (records["B"]["type"], records["B"]["event"]) == ("x", "y")
    assert [letter.reason for letter in await served.letters()] == ["not_an_object"]


async def test_poison_event_costs_no_other(served: Serving) -> None:
    events = [UPLOAD["events"][0], 7, {"type": "track"}, {"type": "track", "event": {}}]
    body = json.dumps({"events": events}).encode()
    assert (await served.post("/api/syft", body, {})).status == 200

    assert await served.names() == ["E"]
    reasons = sorted(letter.reason for letter in await served.letters())
    assert reasons == ["missing_event_name", "missing_event_name", "not_an_object"]


class TestSources:
    SOURCES = (
        SourceConfig(name="one", write_key=Secret("canary:one")),
        SourceConfig(name="two", write_key=Secret("canary-two")),
    )
    BODY = json.dumps(UPLOAD).encode()

    async def source(self, served: Serving, target: str, **headers: str) -> str | int:
        """Return the source of an upload, or the status of its refusal."""
        answer = await served.post(target, self.BODY, headers)
        if answer.status != 200:
            return answer.status
        text = served.telemetry.render().decode()
        (line,) = [e for e in text.splitlines() if e.startswith("gateway_events_received_total{")]
        return line.split('"')[1]

    @pytest.mark.parametrize(
        ("target", "headers", "source"),
        [
            ("/api/syft/canary:one", {}, "one"),
            ("/api/syft/canary%3Aone/", {}, "one"),
            ("/api/syft/canary-two", {"X-Write-Key": "canary:one"}, "two"),
            ("/api/syft?writeKey=canary-two", {}, "two"),
            ("/api/syft", {"X-Write-Key": "canary-two"}, "two"),
            ("/api/syft/wrong", {}, 401),
            ("/api/syft?writeKey=wrong", {}, 401),
            ("/api/syft", {}, 401),
            ("/api/syft/canary-two/more", {}, 404),
        ],
    )
    async def test_source_is_in_the_address(
        self, tmp_path: Path, target: str, headers: dict[str, str], source: object
    ) -> None:
        async with serving(tmp_path, sources=self.SOURCES) as served:
            assert await self.source(served, target, **headers) == source

    async def test_source_without_a_key_is_the_configured_one(self, tmp_path: Path) -> None:
        async with serving(tmp_path, sources=self.SOURCES, default_source="two") as served:
            assert await self.source(served, "/api/syft") == "two"
            assert (await served.post("/api/syft/wrong", self.BODY, {})).status == 401
            assert (await served.post("/v1/batch", self.BODY, {})).status == 401


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[",
            b"5",
            b'"text"',
            b'{"events":5}',
            b'{"events":{}}',
            b"[" * 5000,
            b'{"events":' + b"[" * 5000,
            b"[{" * 3,
            b"[" + b'{"eventName":"E"},' * 10_000 + b"{}]",
            b'{"events":[' + b"{}," * 10_000 + b"{}]}",
        ],
    )
    def test_what_is_no_upload_is_refused(self, body: bytes) -> None:
        with pytest.raises(RequestError) as caught:
            decode_upload(body)
        assert caught.value.status == 400

    @pytest.mark.parametrize(
        "body",
        [
            b'{"type":"track","event":"E"}',
            b'{"batch":[{"type":"track","event":"E"}]}',
            b'[{"type":"track","event":"E"}]',
            b'  {"event":"E"}',
            b'{"event":"\\ud83d"}',
        ],
    )
    def test_other_bodies_are_read_as_everywhere(self, body: bytes) -> None:
        assert decode_upload(body).events == decode(body).events

    @pytest.mark.parametrize(
        "body",
        [
            b'\xef\xbb\xbf {"events":[{"event":"\xff"}]}',
            b'{"events":[{"event":"a\\ud83d"}],"sentAt":null}',
            b' [{"eventName":"a\\ud83d","n":1e400}]',
        ],
    )
    def test_odd_text_is_mended_as_everywhere(self, body: bytes) -> None:
        (event,) = decode_upload(body).events
        assert event.event is not None
        assert event.event.endswith("�")
