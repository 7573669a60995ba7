"""Damaged requests through the server: what is whole is delivered, the rest is a dead letter."""

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.config import DestinationConfig, DestinationSettings
from gateway.http.body import inflated
from tests.support.serving import KEY, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SYFT = '{{"events":[{}],"sentAt":"2023-11-14T22:13:20Z","version":"0.0.1","userAgentData":"M"}}'


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    settings = DestinationSettings(projectToken="TOKEN")
    config = DestinationConfig(name="mp", settings=settings)
    async with serving(tmp_path, destinations=(config,)) as running:
        yield running


def track(name: str, **members: Any) -> str:
    members = {"type": "track", "event": name, "userId": "u", "messageId": f"id-{name}", **members}
    return json.dumps(members)


def native(name: str) -> str:
    return json.dumps({"event": name, "properties": {"token": "TOKEN", "distinct_id": "u"}})


BROKEN = '{"type":"track","event":"X","userId":"u","messageId":"x","properties":{"p":tru}}'
BATCH = f'{{"batch":[{track("A")},{BROKEN},{track("B")}],"writeKey":"{KEY}"}}'


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import", "/batch", "/v1/track", "/v1"])
@pytest.mark.parametrize("is_zipped", [False, True])
async def test_batch_is_delivered_but_for_what_is_damaged(
    served: Serving, path: str, is_zipped: bool
) -> None:
    body, headers = BATCH.encode(), {}
    if is_zipped:
        body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
    answer = await served.post(path, body, headers)

    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert await served.names() == ["A", "B"]
    (letter,) = await served.letters()
    assert letter.reason == "malformed"
    assert json.loads(letter.payload) == {"malformed": BROKEN}
    ledger = served.spool.ledger()["mp"]
    assert (ledger.accepted, ledger.dead_lettered, ledger.gap) == (3, 1, 0)


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/api/s/s2s/batch", "/api/syft"])
@pytest.mark.parametrize("end", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
async def test_compressed_body_that_ends_too_early_is_what_is_there_of_it(
    served: Serving, path: str, end: float, headers: dict[str, str]
) -> None:
    names = [f"E{n}" for n in range(60)]
    events = [track(name, properties={"x": hashlib.sha256(name.encode()).hexdigest()})
              for name in names]  # fmt: skip
    body = gzip.compress(f'{{"batch":[{",".join(events)}]}}'.encode())
    cut = body[: int(len(body) * end)]
    answer = await served.post(path, cut, AUTH | headers)
    assert (answer.status, answer.json()["success"]) == (200, True)

    found = await served.names()
    assert 0 < len(found) < 60
    assert found == names[: len(found)]
    letters = await served.letters()
    ledger = served.spool.ledger()["mp"]
    assert (ledger.accepted, ledger.gap) == (len(found) + len(letters), 0)
    # The same text, cut off without being compressed, has the same end.
    text = b"".join(inflated(cut, "gzip", 1 << 20))
    assert zlib.decompressobj(31).decompress(cut).startswith(text)
    assert (await served.post(path, text, AUTH)).status == 200
    assert await served.names() == found * 2
    assert [letter.reason for letter in letters] == ["malformed"]
    one, other = await served.letters()
    assert one.payload == other.payload


async def test_compressed_body_whose_connection_breaks_is_not_taken(served: Serving) -> None:
    body = gzip.compress(BATCH.encode())
    for headers, sent in (
        ({"Content-Length": str(len(body))}, body[:-1]),
        ({"Transfer-Encoding": "chunked"}, b"%x\r\n%b\r\n" % (len(body) - 1, body[:-1])),
        ({"Transfer-Encoding": "chunked"}, b"%x\r\n%b" % (len(body), body[:-1])),
    ):
        async with served.connection() as connection:
            head = message("/v1/b", headers=AUTH | headers, has_length=False)
            await connection.send(head + sent)
            connection._writer.write_eof()
            answer = await connection.answer()
        assert (answer.status, answer.code) == (400, "incomplete_body")
    assert await served.names() == []
    assert await served.letters() == []


@pytest.mark.parametrize("where", [0.5, 0.99])
async def test_compressed_body_that_was_changed_is_not_taken(served: Serving, where: float) -> None:
    body = bytearray(gzip.compress(BATCH.encode(), 0 if where == 0.5 else 9))
    body[int(len(body) * where)] ^= 1
    answer = await served.post("/v1/b", bytes(body), AUTH)

    assert (answer.status, answer.code) == (400, "invalid_encoding")
    assert await served.names() == []


@pytest.mark.parametrize("end", [0.5, 0.95])
async def test_compressed_body_of_mixpanels_that_ends_too_early(
    served: Serving, end: float
) -> None:
    names = [f"E{n}" for n in range(60)]
    body = gzip.compress(f"[{','.join(map(native, names))}]".encode())
    answer = await served.post("/track", body[: int(len(body) * end)], {})

    assert answer.body == b"1"
    found = await served.names()
    assert found == names[: len(found)]
    assert 0 < len(found) < 60
    ledger = served.spool.ledger()["mp"]
    assert (ledger.accepted, ledger.gap) == (len(found) + len(await served.letters()), 0)


async def test_numbers_that_are_none_are_null_and_counted(served: Serving) -> None:
    body = track("A", properties={"a": float("nan"), "b": [float("-inf")], "c": 1}).encode()
    assert (await served.post("/v1/track", body, AUTH)).status == 200

    ((_, record),) = await served.records()
    assert [record["properties"].get(name, "?") for name in "abc"] == [None, [None], 1]
    metrics = served.telemetry.render().decode()
    assert 'gateway_numbers_nulled_total{source="sdk"} 2.0' in metrics
    assert await served.letters() == []


async def test_what_is_kept_of_a_damaged_event_holds_no_key(served: Serving) -> None:
    lost = f'{{"type":"track","writeKey":"{KEY}","properties":{{"u":"?k={KEY}&"}},"p":tru}}'
    body = f'{{"batch":[{track("A")},{lost}],"writeKey":"{KEY}"}}'
    assert (await served.post("/v1/batch", body.encode(), {})).status == 200

    (letter,) = await served.letters()
    assert KEY.encode() not in letter.payload
    assert b"malformed" in letter.payload


@pytest.mark.parametrize(
    "body",
    [
        f'{{"batch":[{track("A")},{track("B")},{BROKEN[:40]}',
        f'"x":1}},{track("A")},{track("B")}]}}',
        f'{{"batch":[{track("A")},{track("B")}],"writeKey":"{KEY[:5]}',
    ],
)
async def test_key_that_a_damaged_body_has_lost(served: Serving, body: str) -> None:
    # Phones keep for ever what is answered 401.
    answer = await served.post("/v1/b", body.encode(), {})
    assert (answer.status, answer.code) == (400, "invalid_json")
    assert (await served.post("/v1/b", body.encode(), AUTH)).status == 200
    assert await served.names() == ["A", "B"]
    answer = await served.post("/v1/b", BATCH.replace(KEY, "wrong").encode(), {})
    assert (answer.status, answer.code) == (401, "unknown_write_key")


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/import", "/v1", "/beacon/v1/batch"])
@pytest.mark.parametrize(
    "body", ["{}", '{"batch":null}', '{"a":[{"id":1}]}', f'{{"writeKey":"{KEY}"}}', '{"Batch":5}']
)
async def test_body_without_events_is_refused(served: Serving, path: str, body: str) -> None:
    answer = await served.post(path, body.encode(), AUTH)

    assert (answer.status, answer.code) == (400, "no_events")
    assert await served.still_works()


@pytest.mark.parametrize("body", ['{"batch":[]}', "[]"])
async def test_empty_batch_is_accepted(served: Serving, body: str) -> None:
    assert (await served.post("/v1/batch", body.encode(), AUTH)).status == 200


@pytest.mark.parametrize("name", ["messages", "events", "Batch", "BATCH"])
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/api/s/s2s/batch", "/api/syft"])
async def test_list_of_events_may_have_another_name(served: Serving, name: str, path: str) -> None:
    body = f'{{"{name}":[{track("A")},{track("B")}],"sentAt":"2023-11-14T22:13:20Z"}}'
    assert (await served.post(path, body.encode(), AUTH)).status == 200
    assert await served.names() == ["A", "B"]


@pytest.mark.parametrize(
    "path",
    ["/v1/batch", "/v1/b", "/v1/import", "/v1/track", "/beacon/v1/batch", "/api/s/s2s/batch",
     "/api/s/event", "/api/syft", f"/api/syft/{KEY}"],
)  # fmt: skip
@pytest.mark.parametrize("first", ["batch", "events"])
@pytest.mark.parametrize("second", ["batch", "events", "Messages"])
@pytest.mark.parametrize("rest", ["", ',"userAgentData":"M","version":"1"', ',"x":tru'])
async def test_events_of_every_list_are_accepted(
    served: Serving, path: str, first: str, second: str, rest: str
) -> None:
    events = (track("A"), track("B"))
    body = f'{{"{first}":[{events[0]}],"{second}":[{events[1]}]{rest}}}'
    assert (await served.post(path, body.encode(), AUTH)).status == 200

    assert await served.names() == ["A", "B"]
    ledger = served.spool.ledger()["mp"]
    assert (ledger.accepted, ledger.gap) == (2, 0)


async def test_event_of_a_second_list_that_cannot_be_mapped_is_kept_as_it_came(
    served: Serving,
) -> None:
    lost = track("", properties={"a": 1}, unknown="u")
    body = f'{{"batch":[{track("A")}],"batch":[{lost},7]}}'
    assert (await served.post("/v1/batch", body.encode(), AUTH)).status == 200

    assert await served.names() == ["A"]
    first, second = await served.letters()
    assert {first.reason, second.reason} == {"missing_event_name", "not_an_object"}
    letter = first if first.reason == "missing_event_name" else second
    assert json.loads(letter.payload) == json.loads(lost)


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/track", "/api/s/s2s/batch"])
@pytest.mark.parametrize("empty", ["[]", "null", "[ ]"])
async def test_empty_batch_hides_no_other_list(served: Serving, path: str, empty: str) -> None:
    for n, name in enumerate(("messages", "Batch", "items")):
        body = f'{{"batch":{empty},"{name}":[{track(f"E{n}")}]}}'
        assert (await served.post(path, body.encode(), AUTH)).status == 200
    assert await served.names() == ["E0", "E1", "E2"]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/api/s/s2s/batch", "/api/s/event"])
async def test_types_are_known_in_any_case_and_others_are_kept(served: Serving, path: str) -> None:
    kinds = ["Track", " TRACK ", "t", 5, None, "unknown"]
    events = [track(f"E{n}", type=kind) for n, kind in enumerate(kinds)]
    body = f'{{"batch":[{",".join(events)},{{"batch":[{track("nested")}]}}]}}'
    assert (await served.post(path, body.encode(), AUTH)).status == 200

    assert await served.names() == ["E0", "E1"]
    letters = await served.letters()
    assert [letter.reason for letter in letters] == ["unknown_type"] * 5
    assert [json.loads(letter.payload).get("event") for letter in letters[:4]] == [
        "E2", "E3", "E4", "E5",
    ]  # fmt: skip
    assert "nested" in letters[4].payload.decode()


@pytest.mark.parametrize("path", ["/api/s/track", "/api/s/s2s/track", "/api/s/s2s/batch"])
async def test_damage_in_jitsus_requests(served: Serving, path: str) -> None:
    answer = await served.post(path, f"{track('A')}{BROKEN}{track('B')}".encode(), AUTH)

    assert answer.json()["ok"]
    assert await served.names() == ["A", "B"]
    assert [letter.reason for letter in await served.letters()] == ["malformed"]


async def test_damage_in_syfts_uploads(served: Serving) -> None:
    for events in (f"{track('A')},{BROKEN},{track('B', properties={'n': float('nan')})}",):
        answer = await served.post("/api/syft", SYFT.format(events).encode(), AUTH)
        assert answer.status == 200
    items = [
        '{"eventName":"C","userId":"u","installationId":"i","n":007}',
        '{"eventName":"X","userId":"u","installationId":"i","n":tru}',
        '{"eventName":"D","userId":"u","installationId":"i"}',
    ]
    assert (await served.post("/api/syft", f"[{','.join(items)}]".encode(), AUTH)).status == 200

    assert await served.names() == ["A", "B", "C", "D"]
    assert [letter.reason for letter in await served.letters()] == ["malformed"] * 2


NATIVE = [
    f"[{native('A')},{{x}},{native('B')}]",
    f"{native('A')}{native('B')}",
    f"[{native('A')},{native('B')}",
    f"[{native('A')},{native('B')},]\0\0",
    f'ct_id":"u"}}}},{native("A")},{native("B")}]',
]


@pytest.mark.parametrize("path", ["/track", "/_mp/api/track", "/import", "/_mp/api/import"])
@pytest.mark.parametrize("body", NATIVE)
@pytest.mark.parametrize("form", ["json", "data", "base64"])
async def test_damage_on_mixpanels_paths(served: Serving, path: str, body: str, form: str) -> None:
    headers = {"Authorization": f"Basic {base64.b64encode(b'TOKEN:').decode()}"}
    sent = body.encode()
    if form != "json":
        sent = b"data=" + quote(base64.b64encode(sent) if form == "base64" else sent).encode()
        headers |= FORM
    answer = await served.post(f"{path}?strict=1", sent, headers)

    assert await served.names() == ["A", "B"]
    lost = await served.letters()
    assert len(lost) == ("{x}" in body or body.startswith("ct_id"))
    if "import" not in path or form != "json":
        assert (answer.status, answer.body) == (200, b"1")
    else:
        assert answer.status == (400 if lost else 200)
        assert answer.json()["num_records_imported"] == 2
    assert all(letter.reason == "malformed" for letter in lost)


@pytest.mark.parametrize("whole", ["json", "base64", "body"])
async def test_data_that_cannot_be_read_costs_no_other(served: Serving, whole: str) -> None:
    sent = native("A").encode()
    if whole == "body":
        answer = await served.post("/track?data=%21%21%21", sent, {})
    else:
        data = quote(base64.b64encode(sent) if whole == "base64" else sent)
        answer = await served.post("/track", f"data=%21%21%21&data={data}".encode(), FORM)

    assert (answer.status, answer.body) == (200, b"1")
    assert await served.names() == ["A"]
    assert [letter.reason for letter in await served.letters()] == ["malformed"]


async def test_base64_with_a_wrong_character_costs_one_record(served: Serving) -> None:
    text = base64.b64encode(f"[{native('A')},{native('X')},{native('B')}]".encode()).decode()
    middle = len(text) // 2
    for wrong in ("!", "~", "_"):
        damaged = f"{text[:middle]}{wrong}{text[middle + 1 :]}"
        answer = await served.post("/track", f"data={quote(damaged)}".encode(), FORM)
        assert answer.body == b"1"
    assert [name for name in await served.names() if name in "AB"] == ["A", "B"] * 3


async def test_numbers_of_mixpanels_that_are_none(served: Serving) -> None:
    body = native("A").replace('"u"', '"u","n":NaN')
    assert (await served.post("/track", f"[{body}]".encode(), {})).body == b"1"

    ((_, record),) = await served.records()
    assert record["properties"]["n"] is None
    metrics = served.telemetry.render().decode()
    assert 'gateway_numbers_nulled_total{source="(Mixpanel\'s SDKs)"} 1.0' in metrics


def half(text: str) -> bytes:
    return text.replace('"u"', '"\\ud83d"').encode()


SEGMENTS = track("A")
ODD_BODIES: dict[str, Callable[[str], bytes]] = {
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "half": half,
    "nan": lambda text: text.replace('"u"', '"u","n":NaN').encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "latin": lambda text: text.replace('"u"', '"\xe4"').encode("latin-1"),
    "zeros": lambda text: b"\0\0" + text.encode() + b"\0",
    "comma": lambda text: text.encode() + b",",
    "control": lambda text: text.replace('"u"', '"u\n"').encode(),
}


class TestFamilies:
    """/track and /import are Segment's and Mixpanel's; what is in them tells whose they are."""

    @pytest.mark.parametrize("odd", ODD_BODIES)
    @pytest.mark.parametrize("path", ["/track", "/import"])
    @pytest.mark.parametrize("shape", ["{}", '{{"batch":[{}]}}', "[{}]"])
    async def test_odd_body_of_segments_is_one(
        self, served: Serving, odd: str, path: str, shape: str
    ) -> None:
        body = ODD_BODIES[odd](shape.format(SEGMENTS))
        for target, headers in ((path, AUTH), (f"{path}?writeKey={KEY}", {})):
            answer = await served.post(target, body, headers)
            assert (answer.status, answer.body) == (200, b'{"success":true}')
        assert await served.names() == ["A", "A"]
        answer = await served.post(path, body, {})
        assert answer.code in ("missing_write_key", "invalid_json")

    @pytest.mark.parametrize("odd", ODD_BODIES)
    @pytest.mark.parametrize("shape", ["{}", "[{}]"])
    async def test_odd_body_of_mixpanels_is_one(
        self, served: Serving, odd: str, shape: str
    ) -> None:
        body = ODD_BODIES[odd](shape.format(native("A")))
        assert (await served.post("/track", body, {})).body == b"1"
        assert await served.names() == ["A"]

    @pytest.mark.parametrize(
        "body",
        [
            BATCH,
            BATCH[: -len(KEY) - 20],
            BATCH[3:],
            BATCH[20:],
            f"{BROKEN}{track('A')}{track('B')}",
        ],
    )
    async def test_damaged_body_of_segments_is_one(self, served: Serving, body: str) -> None:
        for path in ("/track", "/import"):
            answer = await served.post(f"{path}?writeKey={KEY}", body.encode(), {})
            assert answer.body == b'{"success":true}'
        assert set(await served.names()) <= {"A", "B"}
        assert len(await served.names()) >= 2

    async def test_what_cannot_be_read_is_refused_by_whose_it_was(self, served: Serving) -> None:
        answer = await served.post("/track", BROKEN.encode(), {})
        assert (answer.status, answer.code) == (400, "invalid_json")
        body = b'[{"event":"A","properties":{"token":"TOKEN",x}}]'
        answer = await served.post("/track", body, {})
        assert answer.body == b"0"
