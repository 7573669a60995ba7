"""Records of Mixpanel's own SDKs: what is read of them before anything is done with them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import RequestError
from gateway.events import MAX_EVENTS
from gateway.events.depth import MAX_DEPTH
from gateway.events.mixpanel import (
    FAULTS,
    EndpointName,
    NativeRecord,
    decode,
    insert_id_of,
    wrapped,
)

TIME = 1_790_000_000.25


def event(**properties: Any) -> dict[str, Any]:
    return {"event": "E", "properties": {"token": "T", "time": TIME, **properties}}


def one(body: Any, endpoint: Any = "import") -> NativeRecord:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    (record,) = decode(text, endpoint)
    return record


def own_ids(*events: dict[str, Any]) -> list[str | None]:
    return [record.own_id for record in decode(json.dumps(events).encode(), "import")]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"properties":{"token":"a"}}', ["a"]),
        (b' \n[{"properties":{"token":"a"}}, {"properties":{"token":"b"}}]', ["a", "b"]),
        (b'\xef\xbb\xbf[{"properties":{"token":"a"}}]', ["a"]),
        (b'{"properties":{"\\u0074oken":"a"}}', ["a"]),
        (b'{"properties":{"token":"a","\\u0074oken":"b"}}', ["b"]),
        (b'{"properties":{"token":"a"},"properties":{"token":"b"}}', ["b"]),
        (b'{"token":"a","properties":{"$token":"a"}}', [None]),
        (b'[{"properties":{"token":5}},{"properties":{"token":"b"}}]', [None, "b"]),
        (b'[{"properties":[]},{"properties":{"token":"b"}}]', [None, "b"]),
        (b'[{"event":1},{"properties":{"token":"b","$insert_id":[]}}]', [None, "b"]),
        (b'[{"properties":{"token":"a"},"$mp_metadata":7}]', ["a"]),
        (b'[{"properties":null}]', [None]),
        (b"[]", []),
    ],
)
def test_token_of_an_event_is_found(body: bytes, tokens: list[str | None]) -> None:
    records = decode(body, "import")

    assert [record.token for record in records] == tokens
    assert [record.fault for record in records] == [""] * len(tokens)


@pytest.mark.parametrize("endpoint", ["engage", "groups"])
@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"$token":"a","$set":{"$token":"b"}}', "a"),
        (b'{"\\u0024token":"a"}', "a"),
        (b'{"$token":["a"]}', None),
        (b'{"token":"a","properties":{"token":"a"}}', None),
    ],
)
def test_token_of_an_update_is_found(endpoint: Any, body: bytes, token: str | None) -> None:
    assert one(body, endpoint).token == token


@pytest.mark.parametrize("odd", ["5", "null", '"text"', "[]", "[{}]", "true", "1e999"])
def test_element_that_is_no_object_costs_no_other(odd: str) -> None:
    body = f'[{{"properties":{{"token":"a"}}}},{odd},{{"properties":{{"token":"b"}}}}]'.encode()
    records = decode(body, "import")

    assert [record.fault for record in records] == ["", "not_an_object", ""]
    assert [record.token for record in records] == ["a", None, "b"]
    assert json.loads(wrapped(records[1])) == {"element": json.loads(odd)}


def test_line_that_is_no_json_costs_no_other() -> None:
    lines = [b'{"properties":{"token":"a"}}', b"", b'{"a":', b"5", b"[" * 5000, b'{"\xff":1}\r']
    records = decode(b"\n".join(lines), "import", is_lines=True)

    faults = ["", "malformed", "not_an_object", "nested_too_deep", ""]
    assert [record.fault for record in records] == faults
    assert json.loads(wrapped(records[1])) == {"text": '{"a":'}


@pytest.mark.parametrize("deep", [b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_record_that_is_nested_too_deep_costs_no_other(deep: bytes) -> None:
    good = b'{"properties":{"token":"%b","a":"\\ud83d"}}'
    event = b'{"event":"E","properties":{"token":"b","a":%b}}' % deep
    records = decode(b"[%b, %b ,5,%b]" % (good % b"a", event, good % b"c"), "import")

    faults = ["", "nested_too_deep", "not_an_object", ""]
    assert [record.fault for record in records] == faults
    assert [record.token for record in records] == ["a", "b", None, "c"]
    assert json.loads(wrapped(records[1])) == {"text": event.decode()}


@pytest.mark.parametrize(("text", "is_lines"), [(b"[%b,5]", False), (b"%b\n5", True)])
def test_depth_that_a_record_may_have_is_its_own(text: bytes, is_lines: bool) -> None:
    for depth, fault in ((MAX_DEPTH, ""), (MAX_DEPTH + 1, "nested_too_deep")):
        deep = b'{"a":%b%b}' % (b"[" * (depth - 1), b"]" * (depth - 1))
        records = decode(text % deep, "import", is_lines=is_lines)
        assert [record.fault for record in records] == [fault, "not_an_object"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b"[NaN]", "invalid_json"),
        (b'{"a":1}{"a":2}', "invalid_json"),
        (b"[" * 5000, "invalid_json"),
        (b"[" * 5000 + b"]" * 4999, "invalid_json"),
        (b'{"a":' * 5000, "nested_too_deep"),
        (b"[" + b"{}," * MAX_EVENTS + b"{}]", "too_many_events"),
    ],
)
def test_body_that_is_no_json_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body, "import")

    assert caught.value.code == code


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        decode(b"{}\n" * (MAX_EVENTS + 1), "import", is_lines=True)

    assert caught.value.code == "too_many_events"
    assert len(decode(b"{}\n" * MAX_EVENTS, "import", is_lines=True)) == MAX_EVENTS


@pytest.mark.parametrize("bad", [b"\xff", b"\\ud83d", b"\xed\xa0\x80"])
def test_text_that_is_no_unicode_is_mended(bad: bytes) -> None:
    record = one(b'{"event":"%b","properties":{"token":"a"}}' % bad)

    assert "\ufffd" in json.loads(bytes(record.text))["event"]
    assert record.token == "a"


class TestOwnId:
    @pytest.mark.parametrize("insert_id", ["0123456789abcdef", "-0a000000000", "a" * 100])
    def test_event_with_an_id_needs_none(self, insert_id: str) -> None:
        assert own_ids(event(**{"$insert_id": insert_id})) == [None]

    def test_event_with_a_phones_id_needs_none(self) -> None:
        assert own_ids({**event(), "$mp_metadata": {"$mp_event_id": "0123456789abcdef"}}) == [None]

    @pytest.mark.parametrize(
        "insert_id",
        ["", "anonymous", " undefined ", "00000000-0000-0000-0000-000000000000", 5, None],
    )
    def test_event_without_one_gets_one(self, insert_id: object) -> None:
        (found,) = own_ids(event(**{"$insert_id": insert_id}))

        assert found is not None
        assert len(found) == 32

    def test_same_bytes_get_the_same_one(self) -> None:
        assert own_ids(event(a=1), event(a=2)) == own_ids(event(a=1), event(a=2))

    def test_equal_events_of_one_request_get_different_ones(self) -> None:
        first, second, other, third = own_ids(event(a=1), event(a=1), event(a=2), event(a=1))

        assert len({first, second, other, third}) == 4
        assert own_ids(event(a=1), event(a=1), event(a=2), event(a=1)) == [
            *(first, second, other, third)
        ]

    @pytest.mark.parametrize("time", [{}, {"time": None}])
    def test_equal_events_without_a_time_are_different_events(self, time: dict[str, None]) -> None:
        timeless = {"event": "E", "properties": {"token": "T", **time}}

        assert len({*own_ids(timeless), *own_ids(timeless)}) == 2

    def test_updates_need_none(self) -> None:
        assert one({"$token": "a", "$add": {"n": 1}}, "engage").own_id is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (event(**{"$insert_id": "i"}), "i"),
        (event(**{"$insert_id": 5}), ""),
        ({"properties": 5}, ""),
        (5, ""),
    ],
)
def test_id_that_an_event_came_with(body: object, expected: str) -> None:
    assert insert_id_of(one(body)) == expected


def test_faults_say_what_is_wrong() -> None:
    for word, fault in FAULTS.items():
        assert word.islower()
        assert fault.message


def texts(records: Sequence[NativeRecord]) -> list[Any]:
    return [json.loads(bytes(record.text)) for record in records if not record.fault]


class TestDamage:
    ONE = b'{"event":"A","properties":{"token":"T","n":1}}'
    TWO = b'{"event":"B","properties":{"token":"T","l":[{"event":"x","properties":{}}]}}'
    THREE = b'{"event":"C","properties":{"token":"T"}}'

    @pytest.mark.parametrize(
        "damaged",
        [
            b'{"event":"X","properties":{"token":"U","p":tru}}',
            b'{"event":"X","properties":{"token":"U","p":"lost quote}}',
            b'{"event":"X","properties":{"token":"U","l":[{"event":"y","properties":{}},x]}}',
            b'{"event":"X","properties":{"token":"U"}',
            b'{"event":"X',
            b"{",
            b"x",
            b",,",
            b"\0",
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize("is_lines", [False, True])
    def test_damaged_record_costs_no_other(
        self, damaged: bytes, place: int, is_lines: bool
    ) -> None:
        whole = [self.ONE, self.TWO]
        elements = [*whole[:place], damaged, *whole[place:]]
        body = b"\n".join(elements) if is_lines else b"[%b]" % b",".join(elements)
        records = decode(body, "import", is_lines=is_lines)

        assert texts(records) == [json.loads(text) for text in whole]
        lost = [record for record in records if record.fault]
        assert len(lost) == (is_lines or damaged.strip(b",\0{") != b"")
        assert all(record.fault == "malformed" for record in lost)
        if b"token" in damaged:
            assert [record.token for record in lost] == ["U"]
        else:
            assert all(record.token == "T" for record in lost)

    @pytest.mark.parametrize(
        "body",
        [
            b"%(a)b%(b)b",
            b"[%(a)b,%(b)b",
            b"[%(a)b,%(b)b,]",
            b"[,%(a)b%(b)b]\0\0",
            b"\0[%(a)b;%(b)b]",
            b'T","n":{"a":1}}},%(a)b,%(b)b]',
            b"[%(a)b][%(b)b]",
            b"%(a)b\n%(b)b",
        ],
    )
    def test_damage_between_the_records_costs_none(self, body: bytes) -> None:
        records = decode(body % {b"a": self.ONE, b"b": self.TWO}, "import")

        assert [each["event"] for each in texts(records)] == ["A", "B"]

    @pytest.mark.parametrize("is_lines", [False, True])
    def test_tokens_whose_meaning_is_plain_are_mended(self, is_lines: bool) -> None:
        body = b'{"event":"A\n","properties":{"token":"T","n":[NaN,-Infinity,007],"s":"\\x41"}}'
        records = decode(body, "import", is_lines=is_lines)

        properties = {"token": "T", "n": [None, None, 7], "s": "A"}
        assert texts(records) == [{"event": "A\n", "properties": properties}]
        assert (records[0].token, records.nulls) == ("T", 2)

    @pytest.mark.parametrize(
        ("endpoint", "text"),
        [
            ("engage", b'{"$token":"T","$distinct_id":"u","$set":{"a":{"$set":1}}}'),
            ("engage", b'{"$token":"T","$distinct_id":"u","$unset":["a"]}'),
            ("groups", b'{"$token":"T","$group_key":"k","$group_id":"g","$set":{"a":1}}'),
        ],
    )
    def test_updates_are_found_as_well(self, endpoint: EndpointName, text: bytes) -> None:
        records = decode(b"[%b,{x,%b" % (text, text), endpoint)

        assert texts(records) == [json.loads(text)] * 2
        assert decode(b'{"$token":"T",%b,}' % text[12:-1] + text, endpoint)[-1].token == "T"

    def test_lines_that_are_whole_stay_as_they_are(self) -> None:
        lines = [
            b'{"n":1}',
            b"[1]",
            self.ONE,
            b'{"event":"A',
            b'","properties":{}}',
            self.THREE,
            b"5",
        ]
        records = decode(b"\n".join(lines), "import", is_lines=True)

        faults = ["", "not_an_object", "", "", "", "not_an_object"]
        assert [record.fault for record in records] == faults
        assert json.loads(bytes(records[3].text)) == {"event": "A\n", "properties": {}}

    def test_equal_records_are_told_apart(self) -> None:
        text = b'{"event":"A","properties":{"token":"T","time":1600000000}}'
        ids = [record.own_id for record in decode(b"[%b,%b,]" % (text, text), "import")]

        assert len(set(ids)) == 2

    @pytest.mark.parametrize("body", [b"[tru]", b'[{"a":tru}]', b'{"event":"A"', b"\0\0", b"[,]"])
    def test_body_without_a_whole_record_is_refused(self, body: bytes) -> None:
        with pytest.raises(RequestError) as caught:
            decode(body, "import")
        assert caught.value.code == "invalid_json"
