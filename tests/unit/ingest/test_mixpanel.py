"""Mixpanel's own SDKs over HTTP: every encoding they use, and the answers that they understand."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from gateway.config import (
    DestinationConfig,
    DestinationSettings,
    MixpanelSdksConfig,
    Secret,
    ServiceAccount,
    SourceConfig,
)
from tests.support.serving import KEY, Answer, Serving, message, serving

ID = "0123456789abcdef"
EVENT: dict[str, Any] = {
    "event": "E",
    "properties": {"token": "TOKEN", "time": 1_789_999_999, "distinct_id": "u", "$insert_id": ID},
}
UPDATE = {"$token": "TOKEN", "$distinct_id": "u", "$set": {"a": "é+&=% 🚀"}}
GROUP = {"$token": "TOKEN", "$group_key": "k", "$group_id": "i", "$union": {"l": [1]}}
BY_PATH: dict[str, Any] = {"/track": EVENT, "/engage": UPDATE, "/groups": GROUP}
ORIGIN = {"Origin": "https://shop.example"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def as_base64(value: object) -> str:
    return base64.b64encode(as_json(value)).decode()


def as_browser(value: object) -> bytes:
    """Return JSON as the SDK for browsers encodes it: a character for each half of an emoji."""
    units = memoryview(json.dumps(value, ensure_ascii=False).encode("utf-16-le")).cast("H")
    return "".join(map(chr, units)).encode("utf-8", "surrogatepass")


def basic(user: str, password: str = "") -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def get(target: str, headers: dict[str, str] | None = None) -> bytes:
    return message(target, headers=headers or {}, method="GET", has_length=False)


async def announce(served: Serving, target: str, size: int) -> Answer:
    """Send the head of a request with so many bytes, and nothing else."""
    headers = {**basic("TOKEN"), **ORIGIN, "Content-Length": str(size)}
    return await served.exchange(message(target, headers=headers, has_length=False))


def metric(served: Serving, sample: str) -> float:
    for line in served.telemetry.render().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name == f"gateway_{sample}":
            return float(value)
    return 0.0


def as_multipart(fields: dict[str, str], *, end: str = "\r\n", boundary: str = "-=+ab") -> bytes:
    """Return a form as ``curl -F`` sends it."""
    parts = (
        f'--{boundary}{end}Content-Disposition: form-data; name="{name}"{end}{end}{value}{end}'
        for name, value in fields.items()
    )
    return f"{''.join(parts)}--{boundary}--{end}".encode()


ENCODINGS: dict[str, Any] = {
    "multipart with JSON": lambda value: (
        as_multipart({"verbose": "0", "data": json.dumps(value, ensure_ascii=False, indent=1)}),
        {"Content-Type": 'multipart/form-data; boundary="-=+ab"'},
    ),
    "multipart with base64": lambda value: (
        as_multipart({"data": as_base64(value), "ip": "0"}),
        {"Content-Type": "multipart/form-data; boundary=-=+ab"},
    ),
    "multipart that nothing announces": lambda value: (
        as_multipart({"data": json.dumps(value)}, end="\n", boundary="x"),
        FORM,
    ),
    "multipart with a file": lambda value: (
        b'--b\r\ncontent-disposition: form-data; filename="name=verbose"; name=data\r\n'
        b"Content-Type: application/json\r\n\r\n" + as_json(value) + b"\r\n--b--",
        {"Content-Type": "multipart/form-data; boundary=b"},
    ),
    "form with base64": lambda value: (f"data={quote(as_base64(value), safe='')}", FORM),
    "form with base64 that is not percent-encoded": lambda value: (f"data={as_base64(value)}", {}),
    "form with base64 without padding": lambda value: (f"data={as_base64(value).rstrip('=')}", {}),
    "form with base64 of split characters": lambda value: (
        f"data={quote(base64.b64encode(as_browser(value)), safe='')}",
        FORM,
    ),
    "form with JSON": lambda value: (urlencode({"data": json.dumps(value)}), FORM),
    "form with JSON and options": lambda value: (
        urlencode({"data": json.dumps(value), "verbose": 0, "ip": 0, "api_key": "k"}),
        FORM,
    ),
    "form with JSON that is hardly percent-encoded": lambda value: (
        f"data={json.dumps(value).replace('%', '%25').replace('&', '%26').replace('+', '%2B')}",
        {},
    ),
    "beacon": lambda value: (
        f"data={quote(as_base64(value), safe='')}",
        {"Content-Type": "text/plain;charset=UTF-8"},
    ),
    "JSON": lambda value: (json.dumps(value), {"Content-Type": "application/json"}),
    "JSON as text": lambda value: (json.dumps(value), {"Content-Type": "text/plain"}),
    "JSON called a form": lambda value: (f"\ufeff {json.dumps(value, ensure_ascii=False)}", FORM),
}


@pytest.mark.parametrize("is_gzipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("is_list", [False, True], ids=["object", "list"])
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_is_understood_on_every_path(
    served: Serving, encoding: str, is_list: bool, is_gzipped: bool
) -> None:
    for path, record in BY_PATH.items():
        text, headers = ENCODINGS[encoding]([record] if is_list else record)
        body = text if isinstance(text, bytes) else text.encode()
        if is_gzipped:
            body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
        for target in (path, f"{path}/", f"/_mp/api{path}/?ip=0&_=1789999999"):
            answer = await served.post(target, body, headers)
            assert (target, answer.status, answer.body) == (target, 200, b"1")

    found = await served.records()
    sent = {"import": [], "engage": [UPDATE] * 3, "groups": [GROUP] * 3}
    for endpoint in ("engage", "groups"):
        assert [record for name, record in found if name == endpoint] == sent[endpoint]
    events = [record for name, record in found if name == "import"]
    expected = EVENT["properties"] | {"ip": 0, "time": 1_789_999_999_000}
    assert events == [{"event": "E", "properties": expected}] * 3


@pytest.mark.parametrize("path", BY_PATH)
@pytest.mark.parametrize(
    "element",
    [lambda one: [one, one], as_base64, json.dumps, lambda _: 7],
    ids=["list", "base64", "text", "number"],
)
async def test_element_that_is_no_record_is_a_dead_letter_of_the_others_project(
    served: Serving, path: str, element: Callable[[object], object]
) -> None:
    answer = await served.post(path, as_json([BY_PATH[path], element(BY_PATH[path])]))

    assert answer.status == 200
    assert [letter.reason for letter in await served.letters()] == ["not_an_object"]
    ledger = served.spool.ledger()["mp"]
    assert (ledger.accepted, ledger.pending, ledger.dead_lettered) == (2, 1, 1)


TWO = [UPDATE | {"$distinct_id": each} for each in ("1", "2")]
ONE_OF_TWO, OTHER_OF_TWO = (quote(as_base64([each]), safe="") for each in TWO)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", f"data={ONE_OF_TWO}&data={OTHER_OF_TWO}".encode()),
        (f"?data={ONE_OF_TWO}", f"data={OTHER_OF_TWO}".encode()),
        (f"?data={OTHER_OF_TWO}", as_json(TWO[0])),
        (f"?data={OTHER_OF_TWO}&data={OTHER_OF_TWO}", as_json(TWO[:1])),
        ("", b"".join(b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n%b\r\n'
                      % as_json(each) for each in TWO) + b"--b--\r\n"),
    ],
    ids=["form", "query and form", "query and JSON", "query twice", "multipart"],
)  # fmt: skip
async def test_records_that_come_in_two_ways_at_once_all_count(
    served: Serving, query: str, body: bytes
) -> None:
    answer = await served.post(f"/engage{query}", body)

    assert (answer.status, answer.body) == (200, b"1")
    found = [record["$distinct_id"] for _, record in await served.records()]
    assert sorted(found) == ["1", "2"]


@pytest.mark.parametrize("plus", ["+", "%2B", "-", " "])
@pytest.mark.parametrize("slash", ["/", "%2F", "_"])
async def test_either_alphabet_of_base64_is_understood(
    served: Serving, plus: str, slash: str
) -> None:
    text = as_base64(UPDATE | {"$set": {"a": ">>>>???>", "b": "~~~~~"}})
    assert {"+", "/"} < set(text)
    body = f"data={text.replace('+', plus).replace('/', slash)}".encode()

    assert (await served.post("/engage", body, FORM)).body == b"1"
    assert [record["$set"]["b"] for _, record in await served.records()] == ["~~~~~"]


@pytest.mark.parametrize("path", BY_PATH)
async def test_record_can_come_with_get(served: Serving, path: str) -> None:
    query = urlencode({"data": as_base64(BY_PATH[path]), "ip": 0, "verbose": 0})
    answer = await served.exchange(get(f"{path}/?{query}"))

    assert (answer.status, answer.body) == (200, b"1")
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(await served.records()) == 1


async def test_record_that_comes_with_get_may_be_long(served: Serving) -> None:
    long = EVENT | {"properties": EVENT["properties"] | {"text": "x" * 8000}}
    answer = await served.exchange(get(f"/track/?{urlencode({'data': as_base64(long)})}"))

    assert (answer.status, answer.body) == (200, b"1")
    assert len(await served.records()) == 1


async def test_head_stores_nothing(served: Serving) -> None:
    query = urlencode({"data": as_base64(EVENT)})
    request = message(f"/track?{query}", method="HEAD", has_length=False)
    answer = await served.exchange(request, has_body=False)

    assert answer.status == 200
    assert await served.records() == []


@pytest.mark.parametrize(
    ("target", "options", "good", "bad"),
    [
        ("/track", {}, (b"1", "text/plain"), (b"0", "text/plain")),
        ("/track?verbose=0", {}, (b"1", "text/plain"), (b"0", "text/plain")),
        ("/track?verbose=1", {}, (b'{"status":1,"error":null}', "application/json"), None),
        ("/track", {"verbose": 1}, (b'{"status":1,"error":null}', "application/json"), None),
        (
            "/track?callback=a.b",
            {},
            (b"a.b(1);", "text/javascript"),
            (b"a.b(0);", "text/javascript"),
        ),
        ("/track?callback=alert(1)", {}, (b"1", "text/plain"), (b"0", "text/plain")),
        ("/track?test=1", {}, (b"1", "text/plain"), (b"0", "text/plain")),
    ],
)
async def test_answer_has_the_form_that_is_asked_for(
    served: Serving,
    target: str,
    options: dict[str, int],
    good: tuple[bytes, str],
    bad: tuple[bytes, str] | None,
) -> None:
    wrong = EVENT | {"properties": {"token": "WRONG"}}
    for record, expected in ((EVENT, good), (wrong, bad)):
        body = urlencode({"data": json.dumps(record), **options}).encode()
        answer = await served.post(target, body, FORM)
        found = (answer.body, answer.headers.get_content_type())
        if expected is None:
            assert answer.json() == {
                "status": 0,
                "error": "the token is that of none of the destinations",
            }
        else:
            assert found == expected
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/track", "/engage", "/groups"])
@pytest.mark.parametrize("form", ["query", "body", "multipart"])
@pytest.mark.parametrize("data", ["", "not base64!", "{"])
async def test_what_cannot_be_read_is_answered_in_that_form_too(
    served: Serving, path: str, form: str, data: str
) -> None:
    fields = {"data": data, "verbose": "1", "callback": "f"}
    body, query = b"", ""
    match form:
        case "query":
            query = f"?{urlencode(fields)}"
        case "body":
            body = urlencode(fields).encode()
        case _:
            body = as_multipart(fields)
    answer = await served.post(path + query, body, {})

    assert (answer.status, answer.headers.get_content_type()) == (200, "text/javascript")
    assert answer.body.startswith(b'f({"status":0,"error":"')


async def test_image_is_one_whatever_becomes_of_the_record(served: Serving) -> None:
    for data in (as_base64(EVENT), "", "nonsense"):
        answer = await served.exchange(get(f"/track/?{urlencode({'data': data, 'img': 1})}"))
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
        assert answer.body.startswith(b"GIF89a")
    assert len(await served.records()) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "missing_data"),
        (b"dat=x", "missing_data"),
        (b"data=", "missing_data"),
        (b"data=%%%", "invalid_data"),
        (b"data=not base64!", "invalid_data"),
        (b"data=AAAAA", "invalid_data"),
        (b"data=" + b"%" * 2000, "invalid_form"),
        (b"data=" + base64.b64encode(b"[{]"), "invalid_json"),
        (b"data=" + base64.b64encode(b"no JSON"), "invalid_json"),
        (b"[]", "no_records"),
        (b"[{]", "invalid_json"),
        (b"[" * 5000, "invalid_json"),
        (b'{"a":' * 5000, "nested_too_deep"),
        (b'[{"a":' * 5000 + b"1" + b"}]" * 5000, "nested_too_deep"),
        (b"data=" + base64.b64encode(b"[" + b"{}," * 200_001 + b"{}]"), "too_many_values"),
        (b"[" + b"{}," * 20_000 + b"{}]", "too_many_events"),
        (b"\x1f\x8b" * 10, "invalid_encoding"),
        (b"\xff\xfe\xfd", "missing_data"),
    ],
)
async def test_body_that_can_never_be_read_is_given_up_by_the_sdk(
    served: Serving, body: bytes, reason: str
) -> None:
    answer = await served.post("/track/?verbose=1", body, FORM)

    assert (answer.status, answer.json()["status"]) == (200, 0)
    assert answer.json()["error"]
    sample = f'events_rejected_total{{destination="",reason="{reason}"}}'
    assert metric(served, sample) == 1
    assert await served.records() == []


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_compression_that_cannot_be_read_is_given_up_by_the_sdk(
    served: Serving, encoding: str
) -> None:
    answer = await served.post("/track", b"data=abc", {"Content-Encoding": encoding})

    assert (answer.status, answer.body) == (200, b"0")


class TestTooLarge:
    async def post(self, tmp_path: Path, headers: dict[str, str]) -> Answer:
        async with serving(tmp_path, max_body_bytes=4096) as served:
            return await served.post("/track/?verbose=1", b"data=" + b"A" * 5000, headers)

    async def test_browser_is_told_to_send_less_at_once(self, tmp_path: Path) -> None:
        answer = await self.post(tmp_path, ORIGIN)

        assert answer.status == 413
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]

    async def test_phone_does_not_send_it_for_ever(self, tmp_path: Path) -> None:
        answer = await self.post(tmp_path, {})

        assert (answer.status, answer.json()["status"]) == (200, 0)


class TestFaultyRecords:
    async def test_others_of_the_batch_are_taken_and_the_batch_is_not_sent_again(
        self, served: Serving
    ) -> None:
        nameless = {"event": "", "properties": EVENT["properties"]}
        stray = {"event": "E", "properties": {"token": "WRONG"}}
        body = as_json([EVENT, nameless, 5, stray, EVENT])
        answer = await served.post("/track/?verbose=1", body, {})

        assert answer.json() == {"status": 1, "error": None}
        assert await served.names() == ["E", "E"]
        (letter,) = await served.letters()
        assert letter.reason == "missing_event_name"
        assert letter.queue == ("mp", "import")
        ledger = served.spool.ledger()["mp"]
        assert (ledger.accepted, ledger.dead_lettered, ledger.gap) == (3, 1, 0)
        for destination, reason in (
            ("mp", "missing_event_name"),
            ("", "not_an_object"),
            ("", "unknown_token"),
        ):
            labels = f'destination="{destination}",reason="{reason}"'
            assert metric(served, f"events_rejected_total{{{labels}}}") == 1

    async def test_of_nothing_else_is_answered_0_and_kept(self, served: Serving) -> None:
        late = EVENT | {"properties": EVENT["properties"] | {"time": "soon"}}
        answer = await served.post("/track/?verbose=1", as_json([late]), {})

        assert answer.json()["status"] == 0
        assert "time" in answer.json()["error"]
        assert [letter.reason for letter in await served.letters()] == ["invalid_time"]


class TestImport:
    DESTINATIONS = (
        DestinationConfig(
            name="one",
            settings=DestinationSettings(
                projectToken="TOKEN",
                apiSecret=Secret("s3cret"),
                serviceAccount=ServiceAccount(
                    username="robot", secret=Secret("pa:ss"), projectId="7"
                ),
            ),
            mixpanel_sdks=MixpanelSdksConfig(api_key=Secret("former")),
        ),
        DestinationConfig(
            name="two",
            settings=DestinationSettings(
                projectToken="OTHER",
                serviceAccount=ServiceAccount(
                    username="robot", secret=Secret("pa:ss"), projectId="8"
                ),
            ),
        ),
        DestinationConfig(
            name="shut",
            mixpanel_sdks=MixpanelSdksConfig(enabled=False),
            settings=DestinationSettings(projectToken="SHUT"),
        ),
    )
    BODY = as_json([{"event": "E", "properties": {"time": 1_600_000_000, "$insert_id": ID}}])

    @pytest.fixture
    async def served(self, tmp_path: Path) -> AsyncIterator[Serving]:
        async with serving(tmp_path, destinations=self.DESTINATIONS) as running:
            yield running

    @pytest.mark.parametrize(
        ("target", "credentials", "destination"),
        [
            ("/import", ("TOKEN",), "one"),
            ("/import/?strict=1", ("s3cret",), "one"),
            ("/import?project_id=7", ("robot", "pa:ss"), "one"),
            ("/import?project_id=8", ("robot", "pa:ss"), "two"),
            ("/_mp/api/import?strict=0", ("OTHER",), "two"),
            ("/import?api_key=former", (), "one"),
            ("/import/?api_key=s3cret&strict=1", (), "one"),
            ("/_mp/api/import?api_key=OTHER", (), "two"),
            ("/import?api_key=wrong", ("OTHER",), "two"),
        ],
    )
    async def test_credentials_say_where_events_go(
        self, served: Serving, target: str, credentials: tuple[str, ...], destination: str
    ) -> None:
        headers = basic(*credentials) if credentials else {}
        answer = await served.post(target, self.BODY, headers)

        assert answer.status == 200
        assert answer.json() == {"code": 200, "num_records_imported": 1, "status": "OK"}
        (queue,) = served.spool.queues()
        assert queue == (destination, "import")

    @pytest.mark.parametrize(
        ("target", "headers"),
        [
            ("/import", {}),
            ("/import", basic("")),
            ("/import", basic("token")),
            ("/import", basic("TOKEN", "x")),
            ("/import", basic("SHUT")),
            ("/import", basic("robot", "pa:ss")),
            ("/import?project_id=9", basic("robot", "pa:ss")),
            ("/import?project_id=7", basic("robot", "pa")),
            ("/import", {"Authorization": "Bearer TOKEN"}),
            ("/import", {"Authorization": "Basic !"}),
            ("/import?api_key=", {}),
            ("/import?api_key=pa:ss", {}),
            ("/import?api_key=SHUT", {}),
            ("/_mp/api/import?api_key=wrong", {}),
            ("/import?api_key=TOKEN", basic("wrong")),
        ],
    )
    async def test_others_are_refused(
        self, served: Serving, target: str, headers: dict[str, str]
    ) -> None:
        answer = await served.post(target, self.BODY, headers)

        assert answer.status == 401
        assert answer.json() == {
            "code": 401,
            "error": "Invalid credentials",
            "status": "Unauthorized",
        }
        assert await served.records() == []

    @pytest.mark.parametrize("path", ["/import", "/import/", "/_mp/api/import"])
    @pytest.mark.parametrize(
        ("key", "destination"), [("former", "one"), ("OTHER", "two"), ("wrong", None), ("", None)]
    )
    async def test_key_of_old_programs_may_come_in_the_form(
        self, served: Serving, path: str, key: str, destination: str | None
    ) -> None:
        body = urlencode({"data": as_base64(json.loads(self.BODY)), "api_key": key, "verbose": 1})
        answer = await served.post(path, body.encode(), FORM)

        if destination is None:
            assert (answer.status, answer.json()["error"]) == (401, "Invalid credentials")
            assert not served.spool.queues()
        else:
            assert (answer.status, answer.json()) == (200, {"status": 1, "error": None})
            assert list(served.spool.queues()) == [(destination, "import")]

    @pytest.mark.parametrize("path", ["/import", "/_mp/api/import"])
    @pytest.mark.parametrize("is_gzipped", [False, True], ids=["plain", "gzip"])
    async def test_request_may_be_as_large_as_mixpanel_takes_it(
        self, served: Serving, path: str, is_gzipped: bool
    ) -> None:
        text = "x" * 4800
        events = [
            {"event": "E", "properties": {"time": 1_600_000_000 + i, "text": text}}
            for i in range(2000)
        ]
        body = as_json(events)
        assert 9_000_000 < len(body) < 10_000_000
        headers = basic("TOKEN")
        if is_gzipped:
            body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
        answer = await served.post(path, body, headers)

        assert answer.status == 200
        assert answer.json()["num_records_imported"] == 2000
        too_large = await announce(served, path, 10_485_761)
        assert too_large.status == 413
        assert too_large.json() == {
            "code": 413,
            "error": "request exceeds max limit of 10485760 bytes",
            "status": "Request Entity Too Large",
        }
        for other in ("/track", "/engage", "/groups"):  # no more than ever
            assert (await announce(served, other, 4_194_305)).status in (400, 413)

    async def test_lines_are_taken_one_by_one(self, served: Serving) -> None:
        line = self.BODY[1:-1]
        body = b"\n".join([line, b'{"event":', b"", b"7", line])
        headers = basic("TOKEN") | {"Content-Type": "application/x-ndjson"}
        answer = await served.post("/import?strict=1", body, headers)

        assert answer.status == 400
        found = answer.json()
        assert found["num_records_imported"] == 2
        assert [(each["index"], each["message"]) for each in found["failed_records"]] == [
            (1, "the record is not valid JSON"),
            (2, "a record must be a JSON object"),
        ]
        assert [letter.reason for letter in await served.letters()] == [
            "malformed",
            "not_an_object",
        ]
        ledger = served.spool.ledger()["one"]
        assert (ledger.accepted, ledger.dead_lettered, ledger.gap) == (4, 2, 0)

    @pytest.mark.parametrize(
        ("strict", "status"), [("", 400), ("strict=1", 400), ("strict=0", 200)]
    )
    async def test_faults_are_listed_unless_it_is_not_wanted(
        self, served: Serving, strict: str, status: int
    ) -> None:
        bad = {"event": "E", "properties": {"time": "x", "$insert_id": "i-1"}}
        body = as_json([bad, json.loads(self.BODY)[0]])
        answer = await served.post(f"/import?{strict}", body, basic("TOKEN"))

        found = answer.json()
        assert answer.status == found["code"] == status
        assert found["num_records_imported"] == 1
        if status == 400:
            assert found["status"] == "Bad Request"
            assert found["failed_records"] == [
                {
                    "index": 0,
                    "insert_id": "i-1",
                    "field": "properties.time",
                    "message": "the time must be epoch seconds or milliseconds",
                }
            ]

    async def test_older_sdks_get_the_answer_of_track(self, served: Serving) -> None:
        event = json.loads(self.BODY)[0]
        form = urlencode({"data": json.dumps(event), "verbose": 1, "ip": 0}).encode()
        answer = await served.post("/import", form, basic("TOKEN") | FORM)
        assert (answer.status, answer.body) == (200, b'{"status":1,"error":null}')

        query = urlencode({"data": as_base64(event), "ip": 0, "verbose": 0})
        answer = await served.exchange(get(f"/import?{query}", basic("TOKEN")))
        assert (answer.status, answer.body) == (200, b"1")
        assert await served.names() == ["E", "E"]

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"data=!"])
    async def test_body_that_can_never_be_read_is_refused(
        self, served: Serving, body: bytes
    ) -> None:
        answer = await served.post("/import", body, basic("TOKEN"))

        assert answer.status == answer.json()["code"] == 400
        assert answer.json()["error"]

    async def test_body_that_is_too_large_is_refused_as_such(self, tmp_path: Path) -> None:
        async with serving(tmp_path, max_import_bytes=4096) as served:
            answer = await served.post("/import", b"[" * 5000, basic("TOKEN"))

        assert answer.status == answer.json()["code"] == 413
        assert "4096" in answer.json()["error"]


@pytest.mark.parametrize(
    ("target", "status"), [("/import", 200), ("/_mp/api/import", 200), ("/_mp/api/track", 503)]
)
async def test_large_import_may_take_longer_in_proportion(
    tmp_path: Path, target: str, status: int
) -> None:
    body = as_json([EVENT]) + b" " * 3000
    limits: dict[str, Any] = {
        "max_body_bytes": 4096,
        "max_import_bytes": 40_960,
        "body_timeout_s": 0.8,
    }
    async with serving(tmp_path, **limits) as served, served.connection() as connection:
        await connection.send(message(target, body, basic("TOKEN"))[: -len(body)])
        for start in range(0, len(body), len(body) // 8 + 1):
            await asyncio.sleep(0.25)
            await connection.send(body[start : start + len(body) // 8 + 1])
        assert (await connection.answer()).status == status


@pytest.mark.parametrize("target", ["/track", "/engage", "/groups", "/import"])
async def test_what_cannot_be_stored_now_is_to_be_sent_again(tmp_path: Path, target: str) -> None:
    async with serving(tmp_path, min_free_bytes=2**60) as served:
        record = BY_PATH.get(target, EVENT)
        headers = basic("TOKEN") | ORIGIN if target == "/import" else ORIGIN
        answer = await served.post(target, as_json([record]), headers)

        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"]
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]


class TestAddress:
    BODY = as_json([{"event": "E", "properties": {"token": "TOKEN", "time": 1_789_999_999}}])

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("/track/?ip=1", "203.0.113.9"),
            ("/track/?ip=0", 0),
            ("/track/", 0),
        ],
    )
    async def test_is_that_of_the_client_where_it_is_asked_for(
        self, tmp_path: Path, target: str, expected: object
    ) -> None:
        headers = {"X-Forwarded-For": "203.0.113.9"}
        async with serving(tmp_path, trusted_proxies=("127.0.0.0/8",)) as served:
            await served.post(target, self.BODY, headers)
            ((_, record),) = await served.records()

        assert record["properties"]["ip"] == expected

    async def test_is_not_what_a_client_makes_up(self, served: Serving) -> None:
        await served.post("/track?ip=1", self.BODY, {"X-Forwarded-For": "203.0.113.9"})
        await served.post("/engage?ip=1", as_json(UPDATE), {"X-Real-IP": "203.0.113.9"})

        found = dict(await served.records())
        assert found["import"]["properties"]["ip"] == "127.0.0.1"
        assert found["engage"]["$ip"] == "127.0.0.1"


async def test_pages_with_credentials_may_read_every_answer(served: Serving) -> None:
    data = quote(as_base64([EVENT]), safe="")
    for body in (f"data={data}".encode(), b"data=!"):
        answer = await served.post("/track/?verbose=1&ip=1", body, ORIGIN | FORM)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Vary"] == "Origin"


async def test_same_bytes_make_the_same_records(served: Serving) -> None:
    events = [
        {"event": "E", "properties": {"token": "TOKEN", "time": 1_789_999_999}},
        {
            "event": "E",
            "properties": {"token": "TOKEN", "time": 1_789_999_999_123},
            "$mp_metadata": {"$mp_event_id": "feedbeefcafe", "$mp_session_seq_id": 3},
        },
        EVENT,
    ]
    body = f"data={quote(as_base64(events), safe='')}".encode()
    for target in ("/track?ip=0", "/track/?ip=0&_=17"):
        assert (await served.post(target, body, {})).body == b"1"

    found = [record for _, record in await served.records()]
    assert found[:3] == found[3:]
    assert len({record["properties"]["$insert_id"] for record in found}) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_decide_is_gone_as_at_mixpanel(served: Serving, method: str) -> None:
    answer = await served.exchange(message("/decide/?token=TOKEN", method=method))

    assert answer.status == 410


class TestSharedPaths:
    """Segment's SDKs have /track and /import as well."""

    SEGMENTS = b'{"event":"S","userId":"u","messageId":"m"}'

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (SEGMENTS, {"X-Write-Key": KEY}),
            (SEGMENTS, basic(KEY)),
            (SEGMENTS[:-1] + b',"writeKey":"%b"}' % KEY.encode(), {}),
            (b'{"event":"S","properties":{}}', basic(KEY)),
            (b'[{"event":"S","properties":{}}]', {"X-Write-Key": KEY}),
        ],
    )
    async def test_event_of_segments_is_one(
        self, served: Serving, body: bytes, headers: dict[str, str]
    ) -> None:
        answer = await served.post("/track", body, headers)

        assert (answer.status, answer.body) == (200, b'{"success":true}')
        assert await served.names() == ["S"]
        assert metric(served, 'http_requests_total{family="segment",status="200"}') == 1

    async def test_batch_of_segments_is_one(self, served: Serving) -> None:
        body = b'{"batch":[%b]}' % self.SEGMENTS.replace(b'"event"', b'"type":"track","event"')
        answer = await served.post("/import/", body, basic(KEY))

        assert answer.body == b'{"success":true}'
        assert await served.names() == ["S"]

    @pytest.mark.parametrize("target", ["/track", "/import"])
    async def test_wrong_key_of_segments_is_told_as_segment_does(
        self, served: Serving, target: str
    ) -> None:
        for headers in (basic("wrong"), {"X-Write-Key": "wrong"}, {}):
            answer = await served.post(target, self.SEGMENTS, headers)
            assert answer.status == 401
            assert answer.code in ("unknown_write_key", "missing_write_key")
        assert metric(served, 'http_requests_total{family="segment",status="401"}') == 3

    async def test_unreadable_body_with_a_key_of_segments_is_refused_as_segment_does(
        self, served: Serving
    ) -> None:
        for body in (b"{", b"[1"):
            answer = await served.post("/track", body, basic(KEY))
            assert (answer.status, answer.code) == (400, "invalid_json")
        answer = await served.post("/track", b"x", basic(KEY) | {"Content-Encoding": "gzip"})
        assert (answer.status, answer.code) == (400, "invalid_encoding")

    async def test_key_that_is_also_a_token_does_not_hide_mixpanels(self, tmp_path: Path) -> None:
        source = SourceConfig(name="sdk", write_key=Secret("TOKEN"))
        async with serving(tmp_path, sources=(source,)) as served:
            answer = await served.post("/import", as_json([EVENT]), basic("TOKEN"))
            assert answer.json()["num_records_imported"] == 1
            answer = await served.post("/track", self.SEGMENTS, basic("TOKEN"))
            assert answer.body == b'{"success":true}'


async def test_switched_off_destination_takes_nothing_of_mixpanels_sdks(tmp_path: Path) -> None:
    settings = DestinationSettings(projectToken="TOKEN")
    destination = DestinationConfig(
        name="mp", mixpanel_sdks=MixpanelSdksConfig(enabled=False), settings=settings
    )
    async with serving(tmp_path, destinations=(destination,)) as served:
        answer = await served.post("/track", as_json([EVENT]), {})
        assert answer.body == b"0"
        assert await served.records() == []
        assert await served.still_works()


async def test_requests_and_records_are_counted(served: Serving) -> None:
    await served.post("/track", as_json([EVENT, EVENT]), {})
    await served.post("/engage", b"data=", {})

    assert metric(served, 'http_requests_total{family="mixpanel",status="200"}') == 2
    source = "(Mixpanel's SDKs)"
    assert metric(served, f'events_received_total{{source="{source}"}}') == 2
