"""What a source may send: the rate holds, others do not notice, and the SDK sends again."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import (
    DestinationConfig,
    DestinationSettings,
    MixpanelSdksConfig,
    Secret,
    SourceConfig,
)
from gateway.errors import RequestError
from gateway.ingest.rates import Rate
from tests.support.letters import ManualClock
from tests.support.serving import KEY, Answer, Serving, message, serving

EVENT = b'{"type":"track","event":"E","userId":"u"}'
PAGE = {"Origin": "https://shop.example"}


def basic(user: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:'.encode()).decode()}"}


def batch(events: int, **members: Any) -> bytes:
    return json.dumps({"batch": [json.loads(EVENT)] * events, **members}).encode()


def records(token: str, count: int = 1) -> bytes:
    properties = {"token": token, "time": 1_789_999_999, "distinct_id": "u"}
    return json.dumps([{"event": "E", "properties": properties}] * count).encode()


def source(**limits: Any) -> SourceConfig:
    return SourceConfig(name="loud", write_key=Secret(KEY), **limits)


QUIET = SourceConfig(name="quiet", write_key=Secret("quiet:key"))


def project(name: str, token: str, **limits: Any) -> DestinationConfig:
    return DestinationConfig(
        name=name,
        settings=DestinationSettings(projectToken=token),
        mixpanel_sdks=MixpanelSdksConfig(**limits),
    )


def refused(served: Serving, limit: str, *, source: str = "", destination: str = "") -> float:
    labels = {"source": source, "destination": destination, "limit": limit}
    return served.telemetry.registry.get_sample_value("gateway_rate_limited_total", labels) or 0


def assert_comes_back(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert 1 <= int(answer.headers["Retry-After"]) <= 300


class TestRate:
    """The arithmetic, without a server."""

    def rate(self, clock: ManualClock, **limits: Any) -> tuple[Rate, list[str]]:
        counted: list[str] = []
        return Rate(source(**limits), clock, counted.append), counted

    def passes(self, rate: Rate, events: int = 1) -> int:
        """Return 0 when a request is let in, else after how many seconds it may come back."""
        try:
            rate.admit(429)
        except RequestError as error:
            return error.retry_after_s or -1
        rate.charge(events)
        return 0

    @pytest.mark.parametrize("per_second", [0.5, 1, 3, 7])
    def test_as_many_pass_as_are_allowed(self, per_second: float) -> None:
        clock = ManualClock()
        rate, counted = self.rate(clock, max_requests_per_second=per_second)
        passed = 0
        for _ in range(1000):
            passed += self.passes(rate) == 0
            clock.ms += 100
        burst = max(1.0, per_second)
        assert per_second * 100 - 1 <= passed <= per_second * 100 + burst
        assert counted == ["requests"] * (1000 - passed)

    @pytest.mark.parametrize("size", [1, 7, 100, 2500])
    def test_batches_of_any_size_pass_and_are_paid_off(self, size: int) -> None:
        clock = ManualClock()
        rate, counted = self.rate(clock, max_events_per_second=50)
        passed = 0
        for _ in range(100_000):
            passed += size * (self.passes(rate, size) == 0)
            clock.ms += 10
        assert 50 * 1000 - size <= passed <= 50 * 1001 + size
        assert set(counted) == {"events"}

    def test_who_waits_as_long_as_told_is_let_in(self) -> None:
        clock = ManualClock()
        rate, _ = self.rate(clock, max_events_per_second=10, max_requests_per_second=1)
        assert self.passes(rate, 100) == 0
        waits = [self.passes(rate) for _ in range(10)]
        assert all(9 <= wait <= 14 for wait in waits)
        assert len(set(waits)) > 1  # they do not all come back together
        clock.ms += 1000 * (min(waits) + 1)
        assert self.passes(rate) == 0

    def test_nobody_is_told_to_wait_longer_than_sdks_do(self) -> None:
        rate, _ = self.rate(ManualClock(), max_events_per_second=0.01)
        self.passes(rate, 10_000)
        assert {self.passes(rate) for _ in range(10)} == {300}


FAMILIES = [
    ("/v1/batch", batch(1), {"X-Write-Key": KEY}, 429),
    ("/v1/b", batch(1, writeKey=KEY), {}, 429),
    ("/v1/t", EVENT, PAGE | basic(KEY), 429),
    ("/v1/t", json.dumps({**json.loads(EVENT), "writeKey": KEY}).encode(), PAGE, 503),
    ("/track", EVENT, basic(KEY), 429),
    ("/beacon/v1/batch?writeKey=" + KEY, batch(1), PAGE, 429),
    ("/api/s/track", EVENT, {"X-Write-Key": KEY}, 503),
    ("/api/s/s2s/track", EVENT, {"X-Write-Key": KEY}, 503),
    (f"/api/syft/{KEY}", b'{"events":[%b]}' % EVENT, {}, 503),
]


@pytest.mark.parametrize("limit", ["requests", "events"])
@pytest.mark.parametrize(("target", "body", "headers", "status"), FAMILIES)
async def test_each_sdk_is_told_in_the_way_that_makes_it_come_back(
    tmp_path: Path, target: str, body: bytes, headers: dict[str, str], status: int, limit: str
) -> None:
    loud = source(**{f"max_{limit}_per_second": 0.02})
    async with serving(tmp_path, sources=(loud, QUIET)) as served, served.connection() as one:
        answers = []
        for _ in range(4):  # on one connection, whose head is known after the first
            await one.send(message(target, body, headers))
            answers.append(await one.answer())
        other = await served.post(headers={"X-Write-Key": "quiet:key"})
        assert len(await served.names()) == 2

        assert [answer.status for answer in answers] == [200] + [status] * 3
        for answer in answers[1:]:
            assert_comes_back(answer, status)
            assert answer.code == "rate_limited"
        assert other.status == 200
        assert refused(served, limit, source="loud") == 3


async def test_image_is_refused_as_one(tmp_path: Path) -> None:
    target = f"/v1/pixel/track?writeKey={KEY}&event=E&userId=u"
    async with serving(tmp_path, sources=(source(max_requests_per_second=0.02),)) as served:
        request = message(target, method="GET", has_length=False)
        answers = [await served.exchange(request) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert_comes_back(answers[1], 429)
    assert answers[1].headers["Content-Type"] == "image/gif"


async def test_large_batch_is_taken_whole_and_what_follows_waits(tmp_path: Path) -> None:
    async with serving(tmp_path, sources=(source(max_events_per_second=10),)) as served:
        assert (await served.post(body=batch(200))).status == 200
        later = await served.post(body=batch(1))
        assert_comes_back(later, 429)
        assert int(later.headers["Retry-After"]) >= 19
        assert len(await served.names()) == 200


async def test_after_a_while_more_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, sources=(source(max_requests_per_second=2),)) as served:
        statuses = []
        for _ in range(12):
            statuses.append((await served.post()).status)
            await asyncio.sleep(0.1)
    assert statuses[0] == 200
    assert 429 in statuses
    assert 200 in statuses[statuses.index(429) :]


@pytest.mark.parametrize("limit", ["requests", "events"])
@pytest.mark.parametrize("path", ["/track", "/_mp/api/track", "/engage", "/groups"])
async def test_token_has_the_limits_of_its_project(tmp_path: Path, path: str, limit: str) -> None:
    record = {
        "/engage": b'{"$token":"%b","$distinct_id":"u","$set":{"a":1}}',
        "/groups": b'{"$token":"%b","$group_key":"k","$group_id":"g","$set":{"a":1}}',
    }.get(path, b'{"event":"E","properties":{"token":"%b"}}')
    loud = project("loud", "LOUD", **{f"max_{limit}_per_second": 0.02})
    async with serving(tmp_path, destinations=(loud, project("quiet", "QUIET"))) as served:
        answers = [await served.post(path, record % b"LOUD", {}) for _ in range(3)]
        other = await served.post(path, record % b"QUIET", {})
        mixed = await served.post(path, b"[%b,%b]" % (record % b"QUIET", record % b"LOUD"), {})
        unknown = await served.post(path, record % b"WRONG", {})

        assert [answer.status for answer in answers] == [200, 503, 503]
        for answer in (*answers[1:], mixed):
            assert_comes_back(answer, 503)
        assert (other.status, other.body) == (200, b"1")
        assert (unknown.status, unknown.body) == (200, b"0")
        assert len(await served.records()) == 2
        assert refused(served, limit, destination="loud") == 3


@pytest.mark.parametrize("limit", ["requests", "events"])
@pytest.mark.parametrize(
    ("target", "headers"),
    [("/import", basic("LOUD")), ("/_mp/api/import/?api_key=LOUD", {}), ("/import", {})],
)
async def test_imports_are_told_as_mixpanel_does(
    tmp_path: Path, target: str, headers: dict[str, str], limit: str
) -> None:
    loud = project("loud", "LOUD", **{f"max_{limit}_per_second": 0.02})
    body = records("LOUD", 3)
    if target == "/import" and not headers:
        body = b"api_key=LOUD&data=" + base64.urlsafe_b64encode(body)
    async with serving(tmp_path, destinations=(loud, project("quiet", "QUIET"))) as served:
        answers = [await served.post(target, body, headers) for _ in range(2)]
        other = await served.post("/import", records("QUIET"), basic("QUIET"))

        assert [answer.status for answer in answers] == [200, 429]
        assert_comes_back(answers[1], 429)
        assert answers[1].json()["code"] == 429
        assert answers[1].json()["status"] == "Too Many Requests"
        assert other.status == 200
        assert len(await served.names()) == 4
        labels = {"destination": "", "reason": "rate_limited"}
        name = "gateway_events_rejected_total"
        assert served.telemetry.registry.get_sample_value(name, labels) is None


async def test_operators_are_told_once_who_sends_too_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loud = project("loud-project", "LOUD", max_events_per_second=0.02)
    sources = (source(max_requests_per_second=0.02),)
    async with serving(tmp_path, sources=sources, destinations=(loud,)) as served:
        for _ in range(5):
            await served.post()
            await served.post("/track", records("LOUD"), {})
    lines = [record.getMessage() for record in caplog.records if "came than" in record.getMessage()]
    assert len(lines) == 2
    assert lines[0].startswith("source loud: more came than max_requests_per_second allows")
    assert lines[1].startswith("destination loud-project: mixpanel_sdks: more came than max_events")
    assert KEY not in caplog.text


async def test_without_limits_nothing_is_limited(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        statuses = {(await served.post(body=batch(100))).status for _ in range(50)}
    assert statuses == {200}
