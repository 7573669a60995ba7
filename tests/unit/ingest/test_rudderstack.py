"""What RudderStack's SDKs send and ask for, where they differ from Segment's."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from tests.support.serving import KEY, Serving, message, serving

BASIC = {"Authorization": f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"}
HOUR_MS = 3_600_000


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


def iso(ms: int) -> str:
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()
    return text.replace("+00:00", "Z")


async def last(served: Serving) -> dict[str, Any]:
    found: dict[str, Any] = (await served.records())[-1][1]["properties"]
    return found


class TestSourceConfig:
    @pytest.mark.parametrize(
        ("target", "headers", "key"),
        [
            (f"/sourceConfig/?p=npm&v=3&build=modern&writeKey={KEY}", BASIC, KEY),
            (f"/sourceConfig?p=android&v=1&writeKey={KEY}&bv=1", BASIC, KEY),
            ("/sourceConfig", BASIC, KEY),
            ("/sourceConfig?writeKey=unknown", {}, "unknown"),
            ("/sourceConfig", {}, ""),
        ],
    )
    async def test_document_is_what_every_sdk_can_read_for_every_key(
        self, served: Serving, target: str, headers: dict[str, str], key: str
    ) -> None:
        answer = await served.exchange(message(target, b"", headers, method="GET"))

        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "private, max-age=300"
        source = answer.json()["source"]
        assert source.pop("updatedAt").endswith("Z")
        assert source == {
            "id": "gateway",
            "name": "gateway",
            "writeKey": key,
            "enabled": True,
            "workspaceId": "gateway",
            "config": {
                "statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}
            },
            "destinations": [],
        }

    async def test_browser_may_ask_with_its_key_from_any_origin(self, served: Serving) -> None:
        asked = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = await served.exchange(message("/sourceConfig/", b"", asked, method="OPTIONS"))
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
        assert "GET" in answer.headers["Access-Control-Allow-Methods"]


class TestTimes:
    async def time_of(self, served: Serving, event: dict[str, Any], **rest: Any) -> int:
        """Return how long before now an event is said to have happened."""
        headers = {**BASIC, **rest.pop("headers", {})}
        event = {"type": "track", "event": "E", "userId": "u", "channel": "server", **event}
        body = json.dumps({"batch": [event], **rest}).encode()
        assert (await served.post("/v1/batch", body, headers)).status == 200
        written: int = (await last(served))["time"]
        return round((SystemClock().now_ms() - written) / 60_000)

    async def test_original_timestamp_is_corrected_by_the_clients_clock(
        self, served: Serving
    ) -> None:
        now = SystemClock().now_ms()
        slow = {"originalTimestamp": iso(now - 2 * HOUR_MS), "sentAt": iso(now - HOUR_MS)}
        assert await self.time_of(served, slow) == 60
        # Where the client says a time of its own, that is it.
        own = {**slow, "timestamp": iso(now - 30 * 60_000)}
        assert await self.time_of(served, own) == 30

    async def test_time_of_sending_may_be_the_batchs_or_the_headers(self, served: Serving) -> None:
        now = SystemClock().now_ms()
        event, sent = {"originalTimestamp": iso(now - 2 * HOUR_MS)}, iso(now - HOUR_MS)
        assert await self.time_of(served, event, sentAt=sent) == 60
        assert await self.time_of(served, event, headers={"SentAt": sent}) == 60
        assert await self.time_of(served, event) == 120

    async def test_placeholder_that_was_not_replaced_says_nothing(self, served: Serving) -> None:
        now = SystemClock().now_ms()
        event = {
            "originalTimestamp": iso(now - 2 * HOUR_MS),
            "sentAt": "{{ RSA_DEF_SENT_AT_TS }}",
        }
        for batch in ({}, {"sentAt": "{{ RSA_DEF_SENT_AT_TS }}"}):
            assert await self.time_of(served, event, **batch) == 120

    async def test_second_attempt_says_nothing_of_the_clock(self, served: Serving) -> None:
        now = SystemClock().now_ms()
        event = {"originalTimestamp": iso(now - 2 * HOUR_MS)}
        found = await self.time_of(
            served, event, sentAt=iso(now - HOUR_MS), headers={"Rsa-Retry-Attempt": "1"}
        )
        assert found == 120


class TestRequests:
    async def test_gzip_that_calls_itself_a_form_is_read_as_json(self, served: Serving) -> None:
        body = b'{"batch":[{"type":"track","event":"E","userId":"u"}]}'
        headers = {
            **BASIC,
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Encoding": "gzip",
        }
        assert (await served.post("/v1/batch", gzip.compress(body), headers)).status == 200
        assert await served.names() == ["E"]

    async def test_beacon_has_its_key_in_the_query(self, served: Serving) -> None:
        body = b'{"batch":[{"type":"track","event":"E","userId":"u"}],"sentAt":"2026-01-01"}'
        answer = await served.post(
            f"/beacon/v1/batch?writeKey={KEY}", body, {"Content-Type": "text/plain"}
        )
        assert (answer.status, answer.body) == (200, b'{"success":true}')
        assert (await last(served))["ip"] == "127.0.0.1"

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("&name=Home", "Viewed Home"),
            ("&name=", "Viewed Unknown Page"),
            ("", "Viewed Unknown Page"),
        ],
    )
    async def test_page_without_a_name_is_called_as_by_rudderstack(
        self, served: Serving, query: str, name: str
    ) -> None:
        target = f"/pixel/v1/page?writeKey={KEY}&anonymousId=a{query}"
        answer = await served.exchange(message(target, method="GET"))
        assert answer.status == 200
        assert await served.names() == [name]

    async def test_ids_of_the_queue_are_no_keys(self, served: Serving) -> None:
        """The header ``AnonymousId`` is written differently by each SDK."""
        headers = {**BASIC, "AnonymousId": "YW5vbjo=", "SentAt": iso(SystemClock().now_ms())}
        body = b'{"type":"track","event":"E","anonymousId":"a","channel":"web"}'
        assert (await served.post("/v1/track", body, headers)).status == 200
        assert (await last(served))["distinct_id"] == "a"

    async def test_merge_is_accepted_and_counted(self, served: Serving) -> None:
        body = b'{"type":"merge","mergeProperties":[{"type":"email","value":"a@b"}]}'
        assert (await served.post("/v1/merge", body, BASIC)).status == 200
        assert await served.records() == []
        text = served.telemetry.render().decode()
        assert 'events_skipped_total{destination="mp",reason="no_subscription"} 1.0' in text


async def test_nothing_temporary_is_a_401_or_404(tmp_path: Path) -> None:
    """Its mobile SDKs delete what they hold at 401 and stop at 404."""
    body = b'{"batch":[{"type":"track","event":"E","userId":"u"}]}'
    async with serving(tmp_path, min_free_bytes=2**60) as served:
        for target in ("/v1/batch", f"/beacon/v1/batch?writeKey={KEY}", "//v1//batch//"):
            assert (await served.post(target, body, BASIC)).status == 503
        assert (await served.exchange(message("/sourceConfig", method="GET"))).status == 200
    async with serving(tmp_path / "b") as served:
        for damaged, code in ((b"{", "invalid_json"), (b"\x1f\x8b", "invalid_encoding")):
            answer = await served.post("/v1/batch", damaged, BASIC)
            assert (answer.status, answer.code) == (400, code)
