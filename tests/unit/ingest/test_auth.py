"""Whose events are taken: every way of passing the key, their order, and silence about keys."""

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.config import Secret, SourceConfig
from tests.support.serving import EVENT, KEY, Answer, Serving, message, serving

OTHER = "canary-other-key"
JITSU = "canary-id:canary-secret"
SOURCES = (
    SourceConfig(name="one", write_key=Secret(KEY)),
    SourceConfig(name="two", write_key=Secret(OTHER)),
    SourceConfig(name="jitsu", write_key=Secret(JITSU)),
    SourceConfig(name="accents", write_key=Secret("clé-😀")),
)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path, sources=SOURCES) as running:
        yield running


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def batch(key: str | None = None, event_key: str | None = None) -> bytes:
    event = json.loads(EVENT) | ({"writeKey": event_key} if event_key else {})
    return json.dumps({"batch": [event], **({"writeKey": key} if key else {})}).encode()


def source(served: Serving) -> str:
    """Return the source that the only accepted event was counted for."""
    text = served.telemetry.render().decode()
    (line,) = [one for one in text.splitlines() if one.startswith("gateway_events_received_total{")]
    return line.split('"')[1]


class TestWays:
    @pytest.mark.parametrize(
        "headers",
        [
            basic(f"{KEY}:"),
            basic(KEY),
            {"Authorization": basic(f"{KEY}:")["Authorization"].replace("Basic", "bAsIc")},
            {"X-Write-Key": KEY},
            {"x-write-key": f" {KEY} "},
        ],
    )
    async def test_key_in_a_header_is_found(self, served: Serving, headers: dict[str, str]) -> None:
        assert (await served.post("/v1/batch", batch(), headers)).status == 200
        assert source(served) == "one"

    @pytest.mark.parametrize(
        "query", [f"?writeKey={KEY}", f"?writekey={KEY}", f"?a=b&writeKey={KEY}"]
    )
    async def test_key_in_the_query_is_found(self, served: Serving, query: str) -> None:
        assert (await served.post(f"/v1/batch/{query}", batch(), {})).status == 200
        assert source(served) == "one"

    @pytest.mark.parametrize(
        "body",
        [
            batch(KEY),
            batch(None, KEY),
            b"[" + EVENT[:-1] + b',"writeKey":"' + KEY.encode() + b'"}]',
            EVENT[:-1] + b',"writeKey":"' + KEY.encode() + b'"}',
            b'{"writeKey":"' + KEY.encode() + b'","batch":[' + EVENT + b',{"userId":5}]}',
        ],
    )
    async def test_key_in_the_body_is_found(self, served: Serving, body: bytes) -> None:
        assert (await served.post("/v1/batch", body, {})).status == 200
        assert source(served) == "one"

    @pytest.mark.parametrize("text", [JITSU, f"{JITSU}:"])
    async def test_key_with_a_colon_is_one_key(self, served: Serving, text: str) -> None:
        assert (await served.post("/v1/batch", batch(), basic(text))).status == 200
        assert source(served) == "jitsu"

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            (f"{KEY}:x", "one"),
            (f"{KEY}:x:y", "one"),
            (f"{KEY}::", "one"),
            (f"{KEY}:\n", "one"),
            (f"{KEY}\r\n", "one"),
            (f"{JITSU}:x", "jitsu"),
            (f"{JITSU}:\n", "jitsu"),
            ("clé-😀:clé-😀", "accents"),
            (f"{KEY}\n:", "one"),
            (f" {KEY} : x ", "one"),
            (f"{JITSU} :x", "jitsu"),
        ],
    )
    async def test_password_behind_a_key_means_nothing(
        self, served: Serving, text: str, name: str
    ) -> None:
        assert (await served.post("/v1/batch", batch(), basic(text))).status == 200
        assert source(served) == name

    async def test_password_may_be_in_any_encoding(self, served: Serving) -> None:
        text = base64.b64encode("clé-😀:".encode() + b"p\xe4ss").decode()
        answer = await served.post("/v1/batch", batch(), {"Authorization": f"Basic {text}"})
        assert answer.status == 200
        assert source(served) == "accents"

    @pytest.mark.parametrize(
        "header",
        [
            lambda text: f"Basic {text.rstrip('=')}",
            lambda text: f"Basic {text.rstrip('=')}===",
            lambda text: f"Basic   {text}  ",
            lambda text: f"basic\t{text}",
            lambda text: f"BASIC {text[:9]} {text[9:]}",
            lambda text: f"Basic {text.translate(str.maketrans('+/', '-_'))}",
        ],
    )
    @pytest.mark.parametrize("user", ["clé-😀", "clé-😀:", "clé-😀:?>?>~~", "clé-😀:>>?"])
    async def test_credentials_may_be_written_by_hand(
        self, served: Serving, header: Callable[[str], str], user: str
    ) -> None:
        text = base64.b64encode(user.encode()).decode()
        headers = {"Authorization": header(text)}
        assert (await served.post("/v1/batch", batch(), headers)).status == 200
        assert source(served) == "accents"

    async def test_key_may_hold_any_characters(self, served: Serving) -> None:
        assert (await served.post("/v1/batch", batch(), basic("clé-😀:"))).status == 200
        assert source(served) == "accents"


class TestOrder:
    @pytest.mark.parametrize(
        ("headers", "query", "body"),
        [
            (basic(f"{KEY}:") | {"X-Write-Key": OTHER}, f"?writeKey={OTHER}", batch(OTHER, OTHER)),
            ({"X-Write-Key": KEY}, f"?writeKey={OTHER}", batch(OTHER, OTHER)),
            ({}, f"?writeKey={KEY}&writekey={OTHER}", batch(OTHER, OTHER)),
            ({}, "", batch(KEY, OTHER)),
        ],
    )
    async def test_first_of_several_keys_counts(
        self, served: Serving, headers: dict[str, str], query: str, body: bytes
    ) -> None:
        assert (await served.post(f"/v1/batch{query}", body, headers)).status == 200
        assert source(served) == "one"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer token"},
            basic(":"),
            basic(""),
            {"Authorization": "Basic ###"},
            {"Authorization": "Basic /w=="},
            {"Authorization": ""},
            {"Authorization": " "},
            {"Authorization": "Basic"},
            {"Authorization": "Basic a"},
        ],
    )
    async def test_header_without_a_key_leaves_it_to_the_next_place(
        self, served: Serving, headers: dict[str, str]
    ) -> None:
        assert (await served.post("/v1/batch", batch(KEY), headers)).status == 200

    async def test_wrong_key_is_not_made_good_by_a_right_one_in_another_place(
        self, served: Serving
    ) -> None:
        answer = await served.post("/v1/batch", batch(KEY), {"X-Write-Key": "wrong"})
        assert answer.status == 401


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (batch(), {"X-Write-Key": "canary-wrong"}),
            (batch(), basic("canary-wrong:")),
            (batch(), basic("canary-wrong:password")),
            (batch(), basic(f"x:{KEY}")),
            (batch(), {"Authorization": f"Bearer {KEY}", "X-Write-Key": "canary-wrong"}),
            (batch(), {"X-Write-Key": KEY.upper()}),
            (batch(), {"X-Write-Key": KEY[:-1]}),
            (batch(), {"X-Write-Key": "\udcff\udcfe"}),
            (batch("canary-wrong"), {}),
            (batch(None, "canary-wrong"), {}),
        ],
    )
    async def test_unknown_key_is_answered_401(
        self, served: Serving, body: bytes, headers: dict[str, str]
    ) -> None:
        answer = await served.post("/v1/batch", body, headers)

        self.assert_refused(answer, "unknown_write_key")
        assert await served.records() == []

    @pytest.mark.parametrize(
        "body", [batch(), EVENT, b"[]", b'{"writeKey":null}', b'{"writeKey":{}}']
    )
    async def test_missing_key_is_answered_401(self, served: Serving, body: bytes) -> None:
        self.assert_refused(await served.post("/v1/batch", body, {}), "missing_write_key")

    async def test_key_of_a_later_event_does_not_count(self, served: Serving) -> None:
        body = json.dumps([json.loads(EVENT), {"writeKey": KEY}]).encode()
        self.assert_refused(await served.post("/v1/batch", body, {}), "missing_write_key")

    async def test_wrong_key_is_refused_before_the_body_is_read(self, served: Serving) -> None:
        head = message(
            "/v1/batch",
            headers={"X-Write-Key": "canary-wrong", "Content-Length": "1000"},
            has_length=False,
        )
        self.assert_refused(await served.exchange(head), "unknown_write_key")

    def assert_refused(self, answer: Answer, code: str) -> None:
        assert (answer.status, answer.code) == (401, code)
        assert b"canary" not in answer.body
        assert "WWW-Authenticate" not in answer.headers  # a browser would ask its user


async def test_keys_are_in_no_log_metric_or_file(
    served: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rejected = b'{"type":"track","writeKey":"' + KEY.encode() + b'"}'
    for body, headers in [
        (batch(KEY, KEY), basic(f"{KEY}:")),
        (batch(KEY, KEY)[:-1], {"X-Write-Key": KEY}),
        (b'{"batch":[' + rejected + b',5],"writeKey":"' + KEY.encode() + b'"}', {}),
        (rejected, {}),
        (batch("canary-wrong"), {"X-Write-Key": "canary-wrong"}),
        (batch(), {"X-Write-Key": "canary " * 3000}),
        (b"\x1f\x8bcanary", {"X-Write-Key": KEY, "Content-Encoding": "gzip"}),
        (batch(), {"X-Write-Key": KEY, "Content-Encoding": "canary"}),
    ]:
        answer = await served.post(f"/v1/batch?writeKey={KEY}", body, headers)
        assert b"canary" not in answer.body

    assert len(await served.letters()) == 3
    assert "canary" not in caplog.text
    assert b"canary" not in served.telemetry.render()
    assert "canary" not in repr(vars(served.ingest))
    for file in (tmp_path / "spool").iterdir():
        assert b"canary" not in file.read_bytes()
