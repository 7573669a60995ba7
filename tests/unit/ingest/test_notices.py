"""The commonest mistakes of a first day, each in a line of the log."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Secret, SourceConfig
from tests.support.serving import EVENT, KEY, Serving, message, serving
from tests.unit.http.test_tls import made, tls_serving

__all__ = ["made"]

CANARY = "canary-of-somebody"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


def one_line(caplog: pytest.LogCaptureFixture) -> str:
    [line] = caplog.messages
    assert "\n" not in line
    assert CANARY not in line
    return line


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/batch", EVENT, {"X-Write-Key": CANARY}),
        (f"/v1/t?writeKey={CANARY}", EVENT, {}),
        ("/v1/t", EVENT[:-1] + f',"writeKey":"{CANARY}"}}'.encode(), {}),
        (f"/api/syft/{CANARY}", EVENT, {}),
        ("/api/s/track", EVENT, {"Authorization": f"Bearer {CANARY}"}),
    ],
)
async def test_unknown_key_is_told_masked_with_the_names_of_the_sources(
    served: Serving,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    for _ in range(3):
        assert (await served.post(path, body, headers)).status == 401
    line = one_line(caplog)
    assert "401" in line
    assert "cana…" in line
    assert "(sdk)" in line


async def test_unknown_key_on_a_connection_that_is_known_is_told(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with served.connection() as connection:
        for key, status in ((KEY, 200), (CANARY, 401)):
            body = EVENT[:-1] + f',"writeKey":"{key}"}}'.encode()
            await connection.send(message("/v1/t", body))
            assert (await connection.answer()).status == status
    assert "cana…" in one_line(caplog)


async def test_missing_key_is_told(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert (await served.post("/v1/batch", EVENT, {})).status == 401
    assert "it has no write key" in one_line(caplog)


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        (b"https://evil.example", "https://evil.example"),
        (b"https://evil.example:8443", "https://evil.example:8443"),
        (b"null", "null"),
        (b"https://\xc3\xa4.example", "https://ä.example"),
        (b"https://\xff\xfe.example", "https://ÿþ.example"),
        (b"https://a\xe2\x80\xa8.example\xc2\x85", "https://a?.example?"),
        (b"https://" + b"x" * 500, "https://" + "x" * 71 + "…"),
        (b"", "(empty)"),
    ],
)
async def test_page_that_may_not_send_is_told_with_its_source(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, origin: bytes, shown: str
) -> None:
    source = SourceConfig(
        name="shop", write_key=Secret(KEY), allowed_origins=("https://shop.example",)
    )
    head = b"POST /v1/t HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\nOrigin: %b\r\n%b\r\n%b"
    keyed = EVENT[:-1] + f',"writeKey":"{KEY}"}}'.encode()
    async with serving(tmp_path, sources=(source,)) as served:
        for header, body in ((b"X-Write-Key: %b\r\n" % KEY.encode(), EVENT), (b"", keyed)):
            answer = await served.exchange(head % (len(body), origin, header, body))
            assert (answer.status, answer.code) == (400, "origin_not_allowed")
    assert one_line(caplog) == (
        f"a page was answered 400: its origin {shown} is not in allowed_origins of the source shop"
    )


async def test_what_only_asks_whether_a_key_is_known_tells_nothing(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    data = message("/v1/projects", headers={"X-Write-Key": CANARY}, method="GET")
    assert (await served.exchange(data)).status == 200
    assert caplog.messages == []


@pytest.mark.parametrize("token", [CANARY, None])
@pytest.mark.parametrize("path", ["/track", "/engage"])
async def test_unknown_token_is_told(
    served: Serving, caplog: pytest.LogCaptureFixture, token: str | None, path: str
) -> None:
    event = {"event": "E", "properties": {"token": token, "distinct_id": "u"}}
    update = {"$token": token, "$distinct_id": "u", "$set": {"a": 1}}
    body = json.dumps([event if path == "/track" else update]).encode()
    for _ in range(3):
        answer = await served.post(path, body, {})
        assert (answer.status, answer.body) == (200, b"0")
    line = one_line(caplog)
    assert ("cana…" if token else "none") in line
    assert "projectToken" in line


async def test_unknown_credentials_of_mixpanels_sdks_are_told(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    for data in (
        message("/import?strict=1", b"[]", {"Authorization": "Basic Y2FuYXJ5Og=="}),
        message(f"/flags?token={CANARY}", method="GET"),
    ):
        assert (await served.exchange(data)).status == 401
    assert "destinations[].settings" in one_line(caplog)


async def test_first_dead_letter_of_a_kind_is_told(
    served: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    for body in (
        b'{"type":"track","userId":"u"}',
        b'{"type":"track","userId":"u"}',
        json.dumps([{"event": "", "properties": {"token": "TOKEN"}}]).encode(),
    ):
        path = "/track" if body.startswith(b"[") else "/v1/t"
        await served.post(path, body, {} if path == "/track" else {"X-Write-Key": KEY})
    assert len(await served.letters()) == 3
    assert [message.partition(" (and ")[0] for message in caplog.messages] == [
        f"an event of {source} for mp became a dead letter, missing_event_name; "
        "see gateway dead-letters list"
        for source in ("sdk", "(Mixpanel's SDKs)")
    ]


async def test_handshake_that_is_none_is_told(
    tmp_path: Path, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with tls_serving(tmp_path, made) as (served, _):
        for _ in range(3):
            async with served.connection() as connection:
                await connection.send(message("/v1/t", EVENT, {"X-Write-Key": CANARY}))
                assert await connection.ended() == b""
        assert "plain HTTP" in one_line(caplog)
        count = served.telemetry.registry.get_sample_value
        assert count("gateway_refusals_total", {"reason": "handshake"}) == 3


class TestAddresses:
    @pytest.mark.parametrize(
        "name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"]
    )
    async def test_proxy_that_is_not_trusted_is_told_once(
        self, served: Serving, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        for path in ("/v1/t", "/v1/b", "/api/s/track"):
            headers = {"X-Write-Key": KEY, name: "for=192.0.2.1", "X-Path": path}
            assert (await served.post(path, EVENT, headers)).status == 200
        line = one_line(caplog)
        assert line.startswith(f"{name} from 127.0.0.1 is not believed")
        assert "server.trusted_proxies" in line

    async def test_trusted_proxy_is_not_told_unless_what_it_says_is_not_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(tmp_path, trusted_proxies=("127.0.0.0/8",)) as served:
            for name in ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "CF-Connecting-IP"):
                headers = {"X-Write-Key": KEY, name: "192.0.2.1"}
                assert (await served.post("/v1/b", EVENT, headers)).status == 200
        line = one_line(caplog)
        assert line.startswith("CF-Connecting-IP of the proxy 127.0.0.1 is not read")
        assert "server.proxy_headers" in line

    async def test_clients_without_a_proxy_are_not_told(
        self, served: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {"X-Write-Key": KEY, "X-Forwarded-For": " "}
        assert (await served.post("/v1/b", EVENT, headers)).status == 200
        assert caplog.messages == []
