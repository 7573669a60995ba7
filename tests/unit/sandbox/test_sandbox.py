"""The sandbox enforces Mixpanel's documented ingestion contract, and misbehaves when told to."""

import asyncio
import base64
import gzip
import io
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from gateway.sandbox import Fault, Sandbox
from gateway.sandbox.contract import (
    FORBIDDEN_IDS,
    MAX_BODY_BYTES,
    MAX_RECORD_BYTES,
    event_time_ms,
    validate_event,
    validate_group,
    validate_profile,
    validate_tracked,
)
from gateway.sandbox.faults import Faults
from gateway.sandbox.ratelimit import RateLimit
from gateway.sandbox.store import Store

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
MEMBER = gzip.compress(b"\n" * 100)

Start = Callable[..., Coroutine[Any, Any, Sandbox]]


class ManualClock:
    def __init__(self) -> None:
        self.ms = NOW_MS
        self.s = 0.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def start(clock: ManualClock) -> AsyncIterator[Start]:
    running: list[Sandbox] = []

    async def start_one(**options: Any) -> Sandbox:
        sandbox = Sandbox(clock=clock, **options)
        await sandbox.start()
        running.append(sandbox)
        return sandbox

    yield start_one
    for sandbox in running:
        await sandbox.stop()


@pytest.fixture
async def sandbox(start: Start) -> Sandbox:
    return await start(token="TOKEN")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def event(number: int = 0, name: str = "E", /, **changes: Any) -> dict[str, Any]:
    properties = {
        "time": NOW_MS,
        "distinct_id": "u1",
        "$insert_id": f"id-{number}",
        "token": "TOKEN",
        **changes,
    }
    return {"event": name, "properties": {k: v for k, v in properties.items() if v is not ...}}


def profile(**changes: Any) -> dict[str, Any]:
    return {"$token": "TOKEN", "$distinct_id": "u1", "$set": {"a": 1}} | changes


def group(**changes: Any) -> dict[str, Any]:
    return {"$token": "TOKEN", "$group_key": "c", "$group_id": "g", "$set": {"a": 1}} | changes


async def post(
    http: aiohttp.ClientSession,
    sandbox: Sandbox,
    path: str,
    body: Any,
    *,
    user: str = "TOKEN",
    **headers: str,
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {k.replace("_", "-"): v for k, v in headers.items()} | basic(user)
    # As a file, because aiohttp warns of large bytes.
    async with http.post(sandbox.url + path, data=io.BytesIO(data), headers=named) as answer:
        text = await answer.text()
        is_json = answer.content_type == "application/json"
        return answer.status, json.loads(text) if is_json else text


async def import_(
    http: aiohttp.ClientSession, sandbox: Sandbox, *records: Any, strict: int = 1
) -> tuple[int, Any]:
    return await post(http, sandbox, f"/import?strict={strict}", list(records))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.001)


# Rules for events


def problem(candidate: object) -> str | None:
    found = validate_event(candidate, NOW_MS)
    return None if found is None else found.field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, None),
        ({"time": NOW_MS / 1000}, None),
        ({"time": NOW_MS // 1000}, None),
        ({"time": str(NOW_MS)}, None),
        ({"time": "1700000000.5"}, None),
        ({"time": 31_536_000}, None),
        ({"time": 31_535_999}, "properties.time"),
        ({"time": 31_536_000_000}, None),
        ({"time": NOW_MS + 3_600_000}, None),
        ({"time": NOW_MS + 3_600_001}, "properties.time"),
        ({"time": NOW_MS // 1000 + 3_601}, "properties.time"),
        ({"time": ...}, "properties.time"),
        ({"time": None}, "properties.time"),
        ({"time": True}, "properties.time"),
        ({"time": "2023-11-14T22:13:20Z"}, "properties.time"),
        ({"time": 10**400}, "properties.time"),
        ({"time": float("inf")}, "properties.time"),
        ({"distinct_id": ""}, None),
        ({"distinct_id": 7}, None),
        ({"distinct_id": 0}, "properties.distinct_id"),
        ({"distinct_id": ...}, "properties.distinct_id"),
        ({"distinct_id": None}, "properties.distinct_id"),
        ({"distinct_id": True}, "properties.distinct_id"),
        ({"distinct_id": " Anonymous "}, "properties.distinct_id"),
        ({"$insert_id": "x" * 36}, None),
        ({"$insert_id": "x" * 37}, "$insert_id"),
        ({"$insert_id": "a_b"}, "$insert_id"),
        ({"$insert_id": "é"}, "$insert_id"),
        ({"$insert_id": ""}, "$insert_id"),
        ({"$insert_id": ...}, "$insert_id"),
        ({"$insert_id": 5}, "$insert_id"),
        ({"$insert_id": "Undefined"}, "$insert_id"),
        ({"$insert_id": "id\n"}, "$insert_id"),
        ({"long": "x" * 5000, "list": [0] * 5000}, None),
        ({"a": {"b": {"c": 1}}}, None),
        ({"a": [{"b": {"c": {"d": 1}}}]}, None),
        ({"a": {"b": {"c": {"d": 1}}}}, None),
        ({"a": {"b": {"c": {"d": {}}}}}, "properties.a"),
        ({"a": [[{"b": {"c": {"d": {}}}}]]}, "properties.a"),
        ({"a": {str(i): i for i in range(254)}}, None),
        ({"a": {str(i): i for i in range(255)}}, "properties.a"),
        ({f"p{i}": i for i in range(250)}, None),
        ({f"p{i}": i for i in range(251)}, "properties"),
    ],
)
def test_event_property_is_accepted_or_names_the_field(
    changes: dict[str, Any], field: str | None
) -> None:
    assert problem(event(**changes)) == field


@pytest.mark.parametrize("value", sorted(FORBIDDEN_IDS))
def test_forbidden_id_is_refused_in_any_case(value: str) -> None:
    for spelling in (value, value.upper()):
        assert problem(event(distinct_id=spelling)) == "properties.distinct_id"
        assert problem(event(**{"$insert_id": spelling})) == "$insert_id"


@pytest.mark.parametrize(
    ("candidate", "field"),
    [
        (5, ""),
        ({"properties": event()["properties"]}, "event"),
        ({"event": "", "properties": event()["properties"]}, "event"),
        ({"event": "E"}, "properties"),
        ({"event": "E", "properties": []}, "properties"),
        (event() | {"$mp_metadata": {}}, None),
        ({"event": "$merge", "properties": {"$distinct_ids": ["a", "b"]}}, None),
        ({"event": "$identify", "properties": {"$anon_id": "a", "time": "x"}}, "properties.time"),
    ],
)
def test_event_envelope_is_accepted_or_names_the_field(candidate: object, field: str) -> None:
    assert problem(candidate) == field


def test_time_in_seconds_and_milliseconds_is_the_same_time() -> None:
    assert {event_time_ms(t) for t in (NOW_MS, NOW_MS / 1000, str(NOW_MS // 1000))} == {NOW_MS}


def test_tracked_event_needs_a_token_but_no_ids() -> None:
    bare: dict[str, Any] = {"distinct_id": ..., "$insert_id": ..., "time": ...}
    assert validate_tracked(event(**bare)) is None
    wrong: list[dict[str, Any]] = [{"token": ...}, {"token": ""}, {"time": "x"}]
    for changes in [*wrong, {"a": {"b": {"c": {"d": {}}}}}]:
        assert validate_tracked(event(**changes)) is not None
    assert validate_tracked(event(0, "$merge")) is not None
    assert validate_tracked(None) is not None


# Rules for profile updates


@pytest.mark.parametrize(
    ("operation", "good", "bad"),
    [
        ("$set", {"a": None}, []),
        ("$set_once", {}, "x"),
        ("$add", {"n": 1.5}, {"n": "1"}),
        ("$union", {"l": [1]}, {"l": 1}),
        ("$append", {"l": 1}, [1]),
        ("$remove", {"l": 1}, None),
        ("$unset", ["a"], {"a": 1}),
    ],
)
def test_operation_takes_its_own_kind_of_operand(operation: str, good: Any, bad: Any) -> None:
    update = {"$token": "T", "$distinct_id": "u", operation: good}
    assert validate_profile(update) is None
    assert validate_profile(update | {operation: bad}) is not None
    of_group = {"$token": "T", "$group_key": "k", "$group_id": 3, operation: good}
    assert (validate_group(of_group) is None) == (operation != "$append")


@pytest.mark.parametrize(
    "changes",
    [{"$token": ""}, {"$token": 1}, {"$distinct_id": ""}, {"$distinct_id": None}, {"$add": {}}],
)
def test_profile_without_token_id_or_single_operation_is_refused(changes: dict[str, Any]) -> None:
    assert validate_profile(profile()) is None
    assert validate_profile(profile(**{"$delete": ""})) is not None
    assert validate_profile(profile(**changes)) is not None
    assert validate_profile([]) is not None
    assert validate_profile({"$token": "T", "$distinct_id": "u"}) is not None


@pytest.mark.parametrize("missing", ["$token", "$group_key", "$group_id", "$set"])
def test_group_without_a_required_key_is_refused(missing: str) -> None:
    assert validate_group(group()) is None
    assert validate_group({k: v for k, v in group().items() if k != missing}) is not None


# /import


async def test_valid_events_are_imported_and_shown(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    status, answer = await import_(http, sandbox, event(1), event(2, "F"))
    assert (status, answer) == (200, {"code": 200, "num_records_imported": 2, "status": "OK"})
    async with http.get(f"{sandbox.url}/records") as shown:
        body = await shown.json()
    assert [r["record"] for r in body["records"]] == [event(1), event(2, "F")]
    assert body["records"][0] | {"record": 0} == {
        "endpoint": "/import",
        "received_ms": NOW_MS,
        "duplicate": False,
        "record": 0,
    }
    assert body["counts"]["/import"]["unique"] == 2
    async with http.get(f"{sandbox.url}/stats") as stats:
        assert await stats.json() == {"counts": body["counts"]}


async def test_strict_import_takes_the_valid_and_names_the_others(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    status, answer = await import_(http, sandbox, event(1, time=...), event(2), 7)
    assert status == 400
    failed = answer.pop("failed_records")
    assert answer == {
        "code": 400,
        "error": "some data points in the request failed validation",
        "status": "Bad Request",
        "num_records_imported": 1,
    }
    assert failed == [
        {
            "index": 0,
            "insert_id": "id-1",
            "field": "properties.time",
            "message": "'properties.time' is invalid: must be specified as seconds since epoch",
        },
        {
            "index": 2,
            "insert_id": "",
            "field": "",
            "message": "record is invalid: must be a JSON object",
        },
    ]
    counts = sandbox.store.counts["/import"]
    assert (counts.received, counts.rejected) == (1, 2)


async def test_lenient_import_drops_the_invalid_silently(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    status, answer = await import_(http, sandbox, event(1, time=...), event(2), strict=0)
    assert (status, answer["num_records_imported"]) == (200, 1)
    assert sandbox.store.counts["/import"].rejected == 1


async def test_ignored_event_is_dropped_without_a_word(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    flags: list[Any] = [True, "x", False, ""]
    ignored = [event(i, **{"$ignore": flag}) for i, flag in enumerate(flags)]
    assert (await import_(http, sandbox, *ignored))[0] == 200
    counts = sandbox.store.counts["/import"]
    assert (counts.ignored, counts.received) == (2, 2)


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_import_reads_arrays_and_lines_plain_and_gzipped(
    sandbox: Sandbox, http: aiohttp.ClientSession, kind: str, encoding: str
) -> None:
    if kind == "application/json":
        body = json.dumps([event(1), event(2)]).encode()
    else:
        body = b"\n".join(json.dumps(event(i)).encode() for i in (1, 2)) + b"\n\n"
    if encoding:
        body = gzip.compress(body) + MEMBER  # members in a row are one body
    answer = await post(
        http, sandbox, "/import/?strict=1", body, Content_Type=kind, Content_Encoding=encoding
    )
    assert answer == (200, {"code": 200, "num_records_imported": 2, "status": "OK"})


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"[]", {}),
        (b'{"event": "E"}', {}),
        (b'"text"', {}),
        (b"[{},]", {}),
        (b'[{"a": NaN}]', {}),
        (b"[" * 100_000, {}),
        (b'{"a": 1}\n{"b"\n', {"Content_Type": "application/x-ndjson"}),
        (b"no gzip", {"Content_Encoding": "gzip"}),
        (gzip.compress(b"[{}]" * 99, mtime=0)[:-9], {"Content_Encoding": "gzip"}),
        (gzip.compress(b"[{}]", mtime=0) + b"trailing", {"Content_Encoding": "gzip"}),
        (b"[{}]", {"Content_Encoding": "br"}),
        (json.dumps([event()] * 2001).encode(), {}),
    ],
)
async def test_unreadable_import_is_refused_as_a_whole(
    sandbox: Sandbox, http: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
) -> None:
    status, answer = await post(http, sandbox, "/import?strict=1", body, **headers)
    assert status == 400
    assert answer.keys() == {"code", "error", "status"}
    assert (answer["code"], answer["status"]) == (400, "Bad Request")
    assert (await import_(http, sandbox, event()))[0] == 200


async def test_two_thousand_records_are_accepted(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    status, answer = await import_(http, sandbox, *[event(i) for i in range(2000)])
    assert (status, answer["num_records_imported"]) == (200, 2000)


@pytest.mark.parametrize("flaw", [b"\\ud800 and more", b"\xff", b"1e400"])
@pytest.mark.parametrize("separator", [b",", b"\n"])
async def test_text_that_is_no_utf8_fails_one_record(
    sandbox: Sandbox, http: aiohttp.ClientSession, separator: bytes, flaw: bytes
) -> None:
    bad = b'{"event": "E", "properties": {"x": %s}}' % (
        flaw if flaw == b"1e400" else b'"%s"' % flaw
    )
    body = json.dumps(event()).encode() + separator + bad
    kind = "application/x-ndjson" if separator == b"\n" else "application/json"
    body = body if separator == b"\n" else b"[%s]" % body
    status, answer = await post(http, sandbox, "/import?strict=1", body, Content_Type=kind)
    assert (status, answer["num_records_imported"]) == (400, 1)
    assert [f["index"] for f in answer["failed_records"]] == [1]


async def test_event_of_one_megabyte_fails_alone(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    room = MAX_RECORD_BYTES - len(json.dumps(event(1, x="")))
    status, answer = await import_(http, sandbox, event(1, x="x" * room), event(2))
    assert (status, answer["num_records_imported"]) == (400, 1)
    assert (await import_(http, sandbox, event(1, x="x" * (room - 1))))[0] == 200


@pytest.mark.parametrize("depth", [500, *range(900, 1000, 10)])
async def test_lists_in_lists_of_any_depth_are_answered(
    sandbox: Sandbox, http: aiohttp.ClientSession, depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    body = json.dumps([event(x=0, distinct_id=1)]).encode()
    for flat in (b'"x": 0', b'"distinct_id": 1'):
        deep = body.replace(flat, flat[:-1] + nested)
        for path in ("/import?strict=1", "/track"):
            assert (await post(http, sandbox, path, deep))[0] in (200, 400)


TOO_LARGE = {
    "code": 413,
    "error": "request exceeds max limit of 2097152 bytes",
    "status": "Request Entity Too Large",
}


@pytest.mark.parametrize("path", ["/import", "/track", "/engage", "/groups"])
@pytest.mark.parametrize("excess", [1, 5 * MAX_BODY_BYTES])
async def test_body_over_the_limit_gets_413(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, excess: int
) -> None:
    body = b"[" + b" " * (MAX_BODY_BYTES - 2 + excess) + b"]"
    assert await post(http, sandbox, path, body) == (413, TOO_LARGE)
    assert (await import_(http, sandbox, event()))[0] == 200


async def test_body_without_end_gets_413(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)

    async with asyncio.timeout(10):
        async with http.post(f"{sandbox.url}/engage", data=endless()) as answer:
            assert (answer.status, await answer.json()) == (413, TOO_LARGE)
    assert (await import_(http, sandbox, event()))[0] == 200


async def test_body_at_the_limit_is_read(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    text = json.dumps([event()]).encode()
    body = text + b" " * (MAX_BODY_BYTES - len(text))
    assert (await post(http, sandbox, "/import", body))[0] == 200


@pytest.mark.parametrize("path", ["/import", "/track"])
async def test_gzip_bomb_gets_413_at_once(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str
) -> None:
    bomb = gzip.compress(bytes(64 * 2**20)) * 60  # 4 GB in 4 MB
    began = time.monotonic()
    assert await post(http, sandbox, path, bomb, Content_Encoding="gzip") == (413, TOO_LARGE)
    assert time.monotonic() - began < 2


ACCOUNT = ("robot", "s3cret")


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        (basic("TOKEN"), "", 200),
        (basic("SECRET"), "", 200),
        (basic(*ACCOUNT), "?project_id=1", 200),
        (basic(*ACCOUNT), "", 401),
        (basic("robot", "wrong"), "?project_id=1", 401),
        (basic("TOKEN", "x"), "", 401),
        (basic("OTHER"), "", 401),
        (basic(""), "", 401),
        ({"Authorization": "Basic ***"}, "", 401),
        ({"Authorization": "Bearer TOKEN"}, "", 401),
        ({}, "", 401),
    ],
)
async def test_import_checks_credentials(
    start: Start, http: aiohttp.ClientSession, header: dict[str, str], query: str, status: int
) -> None:
    sandbox = await start(token="TOKEN", api_secret="SECRET", service_account=ACCOUNT)
    async with http.post(
        f"{sandbox.url}/import{query}", json=[event()], headers=header
    ) as response:
        assert response.status == status
        if status == 401:
            assert await response.json() == {
                "code": 401,
                "error": "Invalid credentials",
                "status": "Unauthorized",
            }


async def test_import_without_configured_credentials_takes_any_user(
    start: Start, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    assert (await post(http, sandbox, "/import", [event()], user="x"))[0] == 200
    assert (await post(http, sandbox, "/import", [event()], user=""))[0] == 401


async def test_secrets_are_not_in_the_repr() -> None:
    sandbox = Sandbox(api_secret="SECRET", service_account=ACCOUNT)
    assert "SECRET" not in repr(vars(sandbox))
    assert "s3cret" not in repr(vars(sandbox))


async def test_form_import_is_answered_like_track(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    form = f"data={quote(json.dumps(event()))}&verbose=1".encode()
    kind = "application/x-www-form-urlencoded"
    answer = await post(http, sandbox, "/import", form, Content_Type=kind)
    assert answer == (200, {"status": 1, "error": None})


# Duplicates


async def test_event_sent_again_is_a_duplicate(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await import_(http, sandbox, event(1), event(1), event(1, time=NOW_MS / 1000))
    await import_(http, sandbox, event(1, "F"), event(1, time=NOW_MS - 1), event(1, distinct_id=""))
    await import_(http, sandbox, event(2))
    await post(http, sandbox, "/track", event(2))
    assert sandbox.store.counts["/import"].unique == 5
    assert sandbox.store.counts["/import"].duplicates == 2
    assert sandbox.store.counts["/track"].duplicates == 1
    assert [kept.duplicate for kept in sandbox.store.records()][:3] == [False, True, True]


async def test_tracked_event_without_id_or_time_is_never_a_duplicate(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    without: list[dict[str, Any]] = [{"$insert_id": ...}, {"time": ...}]
    for changes in without:
        await post(http, sandbox, "/track", [event(**changes)] * 2)
    assert sandbox.store.counts["/track"].unique == 4


def test_memory_for_duplicates_is_bounded_and_forgets_the_oldest() -> None:
    store = Store(keep=0, dedupe_keys=10)
    for number in [*range(10), 9, 5, 10, 0]:
        store.add_event("/import", event(number), b"{}", NOW_MS)
    assert store.counts["/import"].duplicates == 2


# /track, /engage, /groups

RECORDS = [("/track", event()), ("/engage", profile()), ("/groups", group())]


def as_form(record: Any) -> list[bytes]:
    text = json.dumps(record)
    packed = base64.b64encode(text.encode()).decode()
    return [
        text.encode(),
        f"[{text}]".encode(),
        f"data={quote(text)}".encode(),
        f"data={quote(f'[{text}]')}".encode(),
        f"ip=0&data={quote(packed)}".encode(),
        f"data={packed}".encode(),
    ]


@pytest.mark.parametrize(("path", "record"), RECORDS)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_encoding_of_the_sdks_is_read(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any, slash: str
) -> None:
    record = record | {"x": "~~~"}
    assert b"+" in as_form(record)[-1]  # not percent-encoded, so it arrives as a space
    for body in as_form(record):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
            answer = await post(http, sandbox, path + slash, body, Content_Type=kind)
            assert answer == (200, "1")
    assert {bytes(kept.record) for kept in sandbox.store.records()} == {json.dumps(record).encode()}


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_get_with_data_is_read(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    packed = base64.b64encode(json.dumps(record).encode()).decode()
    async with http.get(f"{sandbox.url}{path}/", params={"data": packed}) as answer:
        assert (answer.status, await answer.text()) == (200, "1")
    assert len(sandbox.store.records(endpoint=path)) == 1


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_gzip_is_read_on_track_only(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    body = gzip.compress(b"data=" + quote(json.dumps(record)).encode())
    answer = await post(http, sandbox, path, body, Content_Encoding="gzip")
    assert answer == (200, "1" if path == "/track" else "0")


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_verbose_in_query_or_form_answers_json(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    good = json.dumps(record).encode()
    success = (200, {"status": 1, "error": None})
    assert await post(http, sandbox, f"{path}?verbose=1", good) == success
    assert await post(http, sandbox, path, b"verbose=1&data=" + quote(good).encode()) == success
    for bad in (b"verbose=1&data=%7B", b"verbose=1&data={}", b"verbose=1&data=***", b"verbose=1"):
        status, answer = await post(http, sandbox, path, bad)
        assert (status, answer["status"]) == (200, 0)
        assert answer["error"]


@pytest.mark.parametrize("path", ["/track", "/engage", "/groups"])
@pytest.mark.parametrize("body", [b"", b"[]", b"[1]", b"{", b"\xff=1", b"[{}]", b"data="])
async def test_body_without_a_valid_record_answers_0(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: bytes
) -> None:
    assert await post(http, sandbox, path, body) == (200, "0")


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_some_valid_records_answer_1(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    assert await post(http, sandbox, path, [{}, record]) == (200, "1")
    counts = [c for c in sandbox.store.counts.values() if c.requests]
    assert [(c.received, c.rejected) for c in counts] == [(1, 1)]


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_more_than_2000_records_answer_0(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    assert await post(http, sandbox, path, [record] * 2001) == (200, "0")
    assert sandbox.store.records() == []


@pytest.mark.parametrize(("path", "record"), RECORDS)
async def test_record_for_another_project_is_answered_1_and_not_taken(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, record: Any
) -> None:
    other = json.dumps(record).replace("TOKEN", "OTHER").encode()
    assert await post(http, sandbox, path, other) == (200, "1")
    counts = [c for c in sandbox.store.counts.values() if c.requests]
    assert [(c.wrong_token, c.received) for c in counts] == [(1, 0)]


async def test_track_drops_events_older_than_five_days(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    old, young = event(1, time=NOW_MS - 5 * DAY_MS - 1), event(2, time=NOW_MS - 5 * DAY_MS)
    identify = {"event": "$identify", "properties": {"token": "TOKEN", "$anon_id": "a"}}
    assert await post(http, sandbox, "/track", [old, young, identify]) == (200, "1")
    counts = sandbox.store.counts["/track"]
    assert (counts.too_old, counts.received) == (1, 2)


async def test_track_answers_a_pixel_or_a_callback(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{sandbox.url}/track?img=1", json=event()) as answer:
        assert answer.content_type == "image/gif"
        assert (await answer.read()).startswith(b"GIF89a")
    async with http.post(f"{sandbox.url}/track?callback=a.b", json=event()) as answer:
        assert answer.content_type == "text/javascript"
        assert await answer.text() == "a.b(1);"
    async with http.post(f"{sandbox.url}/track?callback=<b>", json=event()) as answer:
        assert await answer.text() == "1"


# Rate limit

RATE_LIMITED = {
    "code": 429,
    "error": "Project exceeded rate limits. Please retry the request with exponential backoff.",
    "status": "Too Many Requests",
}


async def test_records_over_the_rate_get_429_until_time_passes(
    start: Start, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox = await start(max_records_per_second=10)
    assert (await import_(http, sandbox, *[event(i) for i in range(10)]))[0] == 200
    assert await import_(http, sandbox, event(10)) == (429, RATE_LIMITED)
    assert await post(http, sandbox, "/engage", profile()) == (429, RATE_LIMITED)
    clock.s += 0.1
    assert (await import_(http, sandbox, event(10)))[0] == 200
    assert sandbox.store.counts["/import"].received == 11


async def test_rate_limit_says_retry_after_only_when_told_to(
    start: Start, http: aiohttp.ClientSession
) -> None:
    for seconds, header in ((None, None), (7, "7")):
        sandbox = await start(max_records_per_second=1, retry_after_s=seconds)
        await import_(http, sandbox, event(0))
        async with http.post(f"{sandbox.url}/track", json=event(1)) as answer:
            assert (answer.status, answer.headers.get("Retry-After")) == (429, header)


def test_request_larger_than_the_rate_passes_and_is_paid_off(clock: ManualClock) -> None:
    limit = RateLimit(10, clock)
    assert limit.take(30)
    clock.s += 2.9
    assert not limit.take(30)
    clock.s += 0.1
    assert limit.take(10)


# Faults


async def set_faults(http: aiohttp.ClientSession, sandbox: Sandbox, *rules: Any) -> int:
    async with http.put(f"{sandbox.url}/faults", json=rules) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (429, RATE_LIMITED),
        (413, TOO_LARGE),
        (401, {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"}),
        (500, "<html><body><h1>500</h1></body></html>"),
        (503, "<html><body><h1>503</h1></body></html>"),
    ],
)
async def test_status_fault_answers_as_documented_and_takes_nothing(
    sandbox: Sandbox, http: aiohttp.ClientSession, status: int, expected: Any
) -> None:
    rule = {"action": "status", "status": status, "count": 1, "retry_after_s": 3}
    assert await set_faults(http, sandbox, rule) == 200
    async with http.post(f"{sandbox.url}/import", json=[event()], headers=basic("TOKEN")) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (status, "3")
        is_json = answer.content_type == "application/json"
        assert (await answer.json() if is_json else await answer.text()) == expected
    assert sandbox.store.counts["/import"].received == 0
    assert (await import_(http, sandbox, event()))[0] == 200
    assert sandbox.store.counts["/import"].misbehaved == 1


async def test_status_fault_sends_the_given_body(start: Start, http: aiohttp.ClientSession) -> None:
    sandbox = await start(faults=[Fault(action="status", status=200, body="0")])
    assert await post(http, sandbox, "/engage", profile()) == (200, "0")


@pytest.mark.parametrize("after", [False, True])
async def test_reset_cuts_the_connection_before_or_after_the_records_are_taken(
    start: Start, http: aiohttp.ClientSession, after: bool
) -> None:
    sandbox = await start(faults=[Fault(action="reset", after=after, count=1)])
    with pytest.raises(aiohttp.ClientOSError, match="reset"):
        await import_(http, sandbox, event())
    assert sandbox.store.counts["/import"].received == after
    assert (await import_(http, sandbox, event()))[0] == 200
    assert sandbox.store.counts["/import"].duplicates == after


async def test_status_after_the_records_are_taken_makes_duplicates_on_retry(
    start: Start, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(faults=[Fault(action="status", status=500, after=True, count=2)])
    answers = [(await import_(http, sandbox, event()))[0] for _ in range(3)]
    assert answers == [500, 500, 200]
    counts = sandbox.store.counts["/import"]
    assert (counts.unique, counts.duplicates) == (1, 2)


async def test_stall_ends_with_the_ordinary_answer(
    start: Start, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(faults=[Fault(action="stall", stall_s=0.05)])
    began = time.monotonic()
    assert (await import_(http, sandbox, event()))[0] == 200
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("after", [False, True])
async def test_client_that_leaves_during_a_stall_has_sent_nothing_unless_after(
    start: Start, http: aiohttp.ClientSession, after: bool
) -> None:
    sandbox = await start(faults=[Fault(action="stall", stall_s=0.3, after=after)])
    sent = asyncio.create_task(import_(http, sandbox, event()))
    await until(lambda: sandbox.store.counts["/import"].misbehaved == 1)
    sent.cancel()
    # A second stall that began later ends later: by then the first one would have been answered.
    await import_(http, sandbox, event(2))
    assert sandbox.store.counts["/import"].received == 1 + after


async def test_stop_ends_a_stall(start: Start, http: aiohttp.ClientSession) -> None:
    sandbox = await start(faults=[Fault(action="stall", stall_s=3600)])
    sent = asyncio.create_task(import_(http, sandbox, event()))
    await until(lambda: sandbox.store.counts["/import"].misbehaved == 1)
    async with asyncio.timeout(2):
        await sandbox.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await sent
    assert sandbox.store.counts["/import"].received == 0


async def test_fault_applies_to_its_endpoints_only(
    start: Start, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(faults=[Fault(action="status", endpoints=("/engage", "/groups"))])
    assert (await import_(http, sandbox, event()))[0] == 200
    assert (await post(http, sandbox, "/engage", profile()))[0] == 500


def test_share_of_requests_go_wrong_and_the_seed_repeats_them() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults([Fault(action="reset", share=0.2)], random.Random(seed))
        return [faults.choose("/import") is not None for _ in range(1000)]

    assert run(1) == run(1) != run(2)
    assert 150 < sum(run(1)) < 250


async def test_faults_are_shown_with_what_is_left_and_replaced(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await set_faults(http, sandbox, {"action": "status", "count": 3})
    await import_(http, sandbox, event())
    async with http.get(f"{sandbox.url}/faults") as answer:
        assert [(r["action"], r["count"]) for r in await answer.json()] == [("status", 2)]
    assert await set_faults(http, sandbox) == 200
    assert (await import_(http, sandbox, event()))[0] == 200


@pytest.mark.parametrize(
    "rule",
    [{}, {"action": "explode"}, {"action": "reset", "share": 2}, {"action": "reset", "typo": 1}],
)
async def test_impossible_fault_is_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, rule: dict[str, Any]
) -> None:
    assert await set_faults(http, sandbox, rule) == 400
    assert sandbox.faults.rules() == ()


# Looking inside


async def test_records_are_filtered_and_the_newest_last(
    start: Start, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox = await start(keep=4)
    for number in range(5):
        clock.ms = NOW_MS + number
        await import_(http, sandbox, event(number, "even" if number % 2 == 0 else "odd"))
    await post(http, sandbox, "/engage", profile())

    async def ids(**query: Any) -> list[str]:
        async with http.get(f"{sandbox.url}/records", params=query) as answer:
            records = [shown["record"] for shown in (await answer.json())["records"]]
        return [r["properties"]["$insert_id"] if "event" in r else "update" for r in records]

    assert await ids() == ["id-2", "id-3", "id-4", "update"]
    assert await ids(endpoint="import", limit=2) == ["id-3", "id-4"]
    assert await ids(event="even") == ["id-2", "id-4"]
    assert await ids(since=NOW_MS + 4) == ["id-4", "update"]
    assert await ids(limit=0) == []
    for bad in ({"limit": "x"}, {"since": "-1"}, {"endpoint": "/nope"}):
        async with http.get(f"{sandbox.url}/records", params=bad) as answer:
            assert (answer.status, list(await answer.json())) == (400, ["error"])


async def test_delete_forgets_records_counts_and_duplicates(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await import_(http, sandbox, event(), event())
    async with http.delete(f"{sandbox.url}/records") as answer:
        assert answer.status == 200
    assert sandbox.store.records() == []
    await import_(http, sandbox, event())
    assert sandbox.store.counts["/import"].unique == 1
    assert sandbox.store.counts["/import"].requests == 1


async def test_root_says_what_to_try(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.get(sandbox.url) as answer:
        help_ = await answer.json()
    assert "Mixpanel" in help_["what"]
    assert await set_faults(http, sandbox, *help_["try"]["PUT /faults"]) == 200


@pytest.mark.parametrize("trailing", [b"", b"\n"])
async def test_sink_counts_lines_without_looking(
    start: Start, http: aiohttp.ClientSession, trailing: bytes
) -> None:
    sandbox = await start(validate=False)
    body = gzip.compress(b"{}\n" * 4 + b"{}" + trailing)
    headers = {"Content_Type": "application/x-ndjson", "Content_Encoding": "gzip"}
    answer = await post(http, sandbox, "/import", body, **headers)
    assert answer == (200, {"code": 200, "num_records_imported": 5, "status": "OK"})
    assert await post(http, sandbox, "/track", [1, 2]) == (200, "1")
    assert sandbox.store.counts["/import"].received == 5
    assert sandbox.store.counts["/track"].received == 2
    assert sandbox.store.records() == []


async def test_port_and_url_need_a_running_sandbox() -> None:
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="start"):
        _ = sandbox.url
    await sandbox.start()
    assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
    other = Sandbox()
    with pytest.raises(OSError, match="address"):
        await other.start(port=sandbox.port)
    await sandbox.stop()
    await sandbox.stop()
