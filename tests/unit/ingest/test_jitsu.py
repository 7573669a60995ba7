"""What Jitsu's SDK sends."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Secret, SourceConfig
from tests.support.serving import Answer, Serving, message, serving

KEY = "canary-id:canary-secret"
SOURCES = (
    SourceConfig(name="jitsu", write_key=Secret(KEY)),
    SourceConfig(name="masked", write_key=Secret("canary-id:***")),
)

EVENT: dict[str, Any] = {
    "type": "track",
    "event": "E",
    "anonymousId": "a",
    "writeKey": "canary-id:***",
    "context": {"library": {"name": "@jitsu/js", "version": "1.11.0"}, "locale": "de"},
}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, sources=SOURCES, trusted_proxies=("127.0.0.0/8",)) as running:
        yield running


async def post(
    served: Serving, target: str, event: object = EVENT, headers: dict[str, str] | None = None
) -> Answer:
    given = {"X-Write-Key": KEY, "X-Forwarded-For": "203.0.113.77"}
    return await served.post(target, json.dumps(event).encode(), given | (headers or {}))


async def ip(served: Serving) -> Any:
    return (await served.records())[-1][1]["properties"]["ip"]


class TestKeys:
    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Write-Key": KEY},
            {"Authorization": f"Bearer {KEY}"},
            {"Authorization": "Basic Y2FuYXJ5LWlkOmNhbmFyeS1zZWNyZXQ="},
        ],
    )
    async def test_key_has_a_colon_and_comes_in_headers(
        self, served: Serving, headers: dict[str, str]
    ) -> None:
        for target in ("/api/s/track", "/api/s/s2s/track"):
            answer = await served.post(target, json.dumps(EVENT).encode(), headers)
            assert (answer.status, answer.body) == (200, b'{"success":true,"ok":true}')
        assert 'source="jitsu"} 2.0' in served.telemetry.render().decode()

    @pytest.mark.parametrize("target", ["/api/s/track", "/api/s/s2s/track", "/api/s/s2s/batch"])
    async def test_masked_key_of_the_body_never_counts(self, served: Serving, target: str) -> None:
        """Even where there is a source with that very key."""
        for body in (EVENT, {"batch": [EVENT], "writeKey": "canary-id:***"}):
            answer = await served.post(target, json.dumps(body).encode(), {})
            assert (answer.status, answer.code) == (401, "missing_write_key")

    async def test_events_without_a_key_have_a_source_where_it_is_configured(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path, sources=SOURCES, default_source="jitsu") as served:
            assert (await served.post("/api/s/track", json.dumps(EVENT).encode(), {})).status == 200
            assert 'source="jitsu"} 1.0' in served.telemetry.render().decode()
            # Not so with a wrong one, nor for other families.
            wrong = {"X-Write-Key": "wrong"}
            assert (await served.post("/api/s/track", b"{}", wrong)).status == 401
            event = json.dumps(EVENT | {"writeKey": None}).encode()
            assert (await served.post("/v1/track", event, {})).status == 401


class TestAddresses:
    async def test_page_does_not_know_its_address(self, served: Serving) -> None:
        event = EVENT | {"context": {"ip": "198.51.100.1", "locale": "de"}}
        assert (await post(served, "/api/s/track", event)).status == 200
        assert await ip(served) == "203.0.113.77"
        batch = {"batch": [EVENT], "context": {"ip": "198.51.100.1"}}
        assert (await post(served, "/api/s/track", batch)).status == 200
        assert await ip(served) == "203.0.113.77"
        assert (await served.records())[-1][1]["properties"]["$locale"] == "de"

    async def test_server_knows_that_of_its_user(self, served: Serving) -> None:
        event = EVENT | {"context": {"ip": "198.51.100.1"}}
        assert (await post(served, "/api/s/s2s/track", event)).status == 200
        assert await ip(served) == "198.51.100.1"
        assert (await post(served, "/api/s/s2s/track")).status == 200
        assert await ip(served) == 0

    @pytest.mark.parametrize(
        ("policy", "kept"),
        [
            ("keep", "203.0.113.77"),
            ("stripLastOctet", "203.0.113.0"),
            ("remove", 0),
            ("anything", "203.0.113.77"),
        ],
    )
    async def test_policy_of_the_client_is_followed(
        self, served: Serving, policy: str, kept: object
    ) -> None:
        for event in (EVENT, EVENT | {"context": {"ip": "198.51.100.1"}}):
            answer = await post(served, "/api/s/track", event, {"X-IP-Policy": policy})
            assert answer.status == 200
            assert await ip(served) == kept

    async def test_address_of_ipv6_keeps_its_network(self, served: Serving) -> None:
        headers = {"X-Forwarded-For": "2001:db8:1:2::3", "X-IP-Policy": "stripLastOctet"}
        assert (await post(served, "/api/s/track", EVENT, headers)).status == 200
        assert await ip(served) == "2001:db8:1::"

    async def test_removed_address_is_nowhere_on_disk(
        self, served: Serving, tmp_path: Path
    ) -> None:
        rejected = EVENT | {"event": "", "context": {"ip": "198.51.100.1"}}
        for event in (EVENT, rejected):
            answer = await post(served, "/api/s/track", event, {"X-IP-Policy": "remove"})
            assert answer.status == 200
        (letter,) = await served.letters()
        assert letter.origin is not None
        assert letter.origin.client_ip is None
        for file in (tmp_path / "spool").iterdir():
            data = file.read_bytes()
            assert b"203.0.113" not in data
            assert b"198.51.100" not in data

    async def test_context_that_is_no_object_costs_no_event(self, served: Serving) -> None:
        for context in ("text", [1], None, 5):
            assert (await post(served, "/api/s/track", EVENT | {"context": context})).status == 200
        assert await served.names() == ["E"] * 4


async def test_browser_is_told_that_it_may_send_the_headers_of_the_sdk(served: Serving) -> None:
    asked = "content-type,x-enable-debug,x-ip-policy,x-write-key"
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Headers": asked}
    answer = await served.exchange(message("/api/s/page", b"", headers, method="OPTIONS"))
    assert (answer.status, answer.headers["Access-Control-Allow-Headers"]) == (204, asked)


@pytest.mark.parametrize("target", ["/api/s/page", "/api/s/s2s/page", "/api/s/s2s/batch"])
async def test_name_of_a_page_is_among_its_properties(served: Serving, target: str) -> None:
    for page, name in (
        ({"properties": {"name": "Home"}}, "Viewed Home"),
        ({"name": "Shop", "properties": {"name": "Home"}}, "Viewed Shop"),
        ({"properties": {"name": 5}}, "Viewed "),
        ({"properties": [1]}, "Viewed "),
    ):
        event = {**EVENT, **page, "type": "page"}
        answer = await post(served, target, {"batch": [event]} if "batch" in target else event)
        assert answer.status == 200
        assert (await served.records())[-1][1]["event"] == name
