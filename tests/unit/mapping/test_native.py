"""What becomes of the records of Mixpanel's own SDKs: completed, and otherwise as they were."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import DestinationConfig, DestinationSettings, MixpanelSdksConfig
from gateway.events.mixpanel import decode
from gateway.mapping.native import MAX_RECORD_BYTES, NativeMapped, NativeMapper
from gateway.sandbox.contract import validate_event, validate_group, validate_profile
from tests.support.plans import Token, carried, tokens

RECEIVED_MS = 1_790_000_000_000
TIME = 1_789_999_999.123456
ID = "0123456789abcdef"


def destination(name: str, token: str, **options: Any) -> DestinationConfig:
    return DestinationConfig(name=name, settings=DestinationSettings(projectToken=token), **options)


MAPPER = NativeMapper(
    [
        destination("mp", "T"),
        destination("other", "U"),
        *(
            destination(policy, policy, mixpanel_sdks=MixpanelSdksConfig(ip=policy))
            for policy in ("truncate", "drop")
        ),
    ]
)


def mapped(
    body: object, endpoint: Any = "import", client_ip: str | None = None, **options: Any
) -> NativeMapped:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    records = decode(text, endpoint)
    return MAPPER.map(endpoint, records, received_ms=RECEIVED_MS, client_ip=client_ip, **options)


def lines(result: NativeMapped) -> list[Any]:
    return [carried(line) for entry in result.entries for line in entry.lines.split(b"\n")[:-1]]


def event(**properties: Any) -> dict[str, Any]:
    own = {"token": "T", "time": TIME, "distinct_id": "u", "$insert_id": ID}
    return {"event": "E", "properties": {**own, **properties}}


def properties(body: object, **options: Any) -> dict[str, Any]:
    result = mapped(body, **options)
    assert result.verdict.problems == []
    (record,) = lines(result)
    found: dict[str, Any] = record["properties"]
    return found


def fault(body: object, endpoint: Any = "import", **options: Any) -> str:
    """Return why a record is not taken."""
    result = mapped(body, endpoint, **options)
    (problem,) = result.verdict.problems
    assert result.verdict.taken == 0
    assert not result.entries
    return problem.fault


class TestTime:
    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            ("1789999999", 1_789_999_999_000),
            ("1789999999.5", 1_789_999_999_500),
            ("1789999999.123456", 1_789_999_999_123),
            ("1789999999123", 1_789_999_999_123),
            ("1.789999999e9", 1_789_999_999_000),
            ('"1789999999"', 1_789_999_999_000),
            ('"1789999999123"', 1_789_999_999_123),
            ("31536000", 31_536_000_000),
            ("null", RECEIVED_MS),
            (str(RECEIVED_MS + 3_600_000), RECEIVED_MS + 3_600_000),
            (str(RECEIVED_MS + 3_600_001), RECEIVED_MS),
        ],
    )
    def test_is_milliseconds(self, time: str, expected: int) -> None:
        body = json.dumps(event(time="TIME")).replace('"TIME"', time).encode()

        assert properties(body)["time"] == Token(str(expected))

    def test_is_that_of_receipt_where_there_is_none(self) -> None:
        body = event()
        del body["properties"]["time"]

        assert properties(body)["time"] == Token(str(RECEIVED_MS))

    @pytest.mark.parametrize(
        "time",
        [
            0,
            -1,
            1,
            "2021",
            "20210813",
            20210813,
            "0001-01-01",
            31_535_999,
            10**15,
            1e300,
            "",
            "soon",
            True,
            [1_789_999_999],
            {},
            "2026-11-24",
        ],
    )
    def test_that_mixpanel_would_refuse_is_a_fault(self, time: object) -> None:
        assert fault(event(time=time)) == "invalid_time"


class TestIds:
    @pytest.mark.parametrize("insert_id", [ID, "a", "A-9", "x" * 36])
    def test_valid_insert_id_is_kept(self, insert_id: str) -> None:
        assert properties(event(**{"$insert_id": insert_id}))["$insert_id"] == insert_id

    def test_id_of_a_phones_event_is_used(self) -> None:
        for insert_id in ({}, {"$insert_id": "undefined"}, {"$insert_id": None}):
            body = event(**{"$insert_id": None}) | {"$mp_metadata": {"$mp_event_id": "feedbeef01"}}
            body["properties"].update(insert_id)

            assert properties(body)["$insert_id"] == "feedbeef01"

    @pytest.mark.parametrize(
        "given", ["not valid!", "x" * 37, "anonymous", "", 7, 0, None, [], "0" * 36, "\u00e9" * 12]
    )
    def test_every_other_one_becomes_valid_and_stays_the_same(self, given: object) -> None:
        first, second = (properties(event(**{"$insert_id": given})) for _ in range(2))

        assert first["$insert_id"] == second["$insert_id"]
        found = {**first, "time": TIME, "ip": 0}
        assert validate_event({"event": "E", "properties": found}, RECEIVED_MS) is None

    @pytest.mark.parametrize("distinct_id", ["u", "$device:0-a", " u ", "U+1F600 \U0001f600"])
    def test_distinct_id_is_kept(self, distinct_id: str) -> None:
        assert properties(event(distinct_id=distinct_id))["distinct_id"] == distinct_id

    def test_distinct_id_that_is_a_number_keeps_its_digits(self) -> None:
        body = json.dumps(event(distinct_id="N")).replace('"N"', "12345678901234567890.10").encode()

        assert properties(body)["distinct_id"] == Token("12345678901234567890.10")

    @pytest.mark.parametrize("distinct_id", ["", "undefined", "ANON", None, 0, {}, []])
    def test_distinct_id_that_mixpanel_would_refuse_is_nobodys(self, distinct_id: object) -> None:
        assert properties(event(distinct_id=distinct_id))["distinct_id"] == ""

    def test_commands_about_ids_keep_theirs(self) -> None:
        merge = {"event": "$merge", "properties": {"token": "T", "$distinct_ids": ["a", "b"]}}
        found = properties(merge)

        assert "distinct_id" not in found
        assert found["$distinct_ids"] == ["a", "b"]
        identify = event(**{"$anon_distinct_id": "$device:1", "$identified_id": "u"})
        found = properties({**identify, "event": "$identify"})
        assert found["$anon_distinct_id"] == "$device:1"
        assert found["distinct_id"] == "u"


class TestAddress:
    def test_of_the_request_counts_whatever_the_event_says(self) -> None:
        assert properties(event(ip="9.9.9.9"), client_ip="1.2.3.4")["ip"] == "1.2.3.4"

    @pytest.mark.parametrize("ip", ["9.9.9.9", "", "nowhere"])
    def test_of_the_event_counts_otherwise(self, ip: str) -> None:
        assert properties(event(ip=ip))["ip"] == ip

    @pytest.mark.parametrize("none", [{}, {"ip": None}])
    def test_is_0_where_there_is_none(self, none: dict[str, None]) -> None:
        assert properties(event(**none))["ip"] == Token("0")

    def test_of_an_update_is_its_own_before_that_of_the_request(self) -> None:
        update = {"$token": "T", "$distinct_id": "u", "$set": {}}
        for own, client_ip, expected in (
            ({}, "1.2.3.4", {"$ip": "1.2.3.4"}),
            ({}, None, {}),
            ({"$ip": "9.9.9.9"}, "1.2.3.4", {"$ip": "9.9.9.9"}),
            ({"$ip": "0"}, "1.2.3.4", {"$ip": "0"}),
        ):
            (record,) = lines(mapped({**update, **own}, "engage", client_ip))
            assert record == {**update, **expected}

    @pytest.mark.parametrize(
        ("policy", "own", "client_ip", "expected"),
        [
            ("truncate", "9.9.9.9", None, "9.9.9.0"),
            ("truncate", "9.9.9.9", "1.2.3.4", "1.2.3.0"),
            ("truncate", "2001:db8:1:2::3", None, "2001:db8:1::"),
            ("truncate", "nowhere", None, None),
            ("truncate", None, None, None),
            ("truncate", 0, "1.2.3.4", "1.2.3.0"),
            ("drop", "9.9.9.9", None, None),
            ("drop", None, "1.2.3.4", None),
        ],
    )
    def test_is_kept_only_as_far_as_the_destination_wants_it(
        self, policy: str, own: object, client_ip: str | None, expected: str | None
    ) -> None:
        found = properties(event(token=policy, ip=own), client_ip=client_ip)
        assert found["ip"] == (Token("0") if expected is None else expected)
        late = mapped(event(token=policy, ip=own, time="x"), client_ip=client_ip)
        assert b"9.9.9.9" not in late.dead[0].payload
        assert b"1.2.3.4" not in late.dead[0].payload
        for endpoint, ids in (
            ("engage", {"$distinct_id": "u"}),
            ("groups", {"$group_key": "k", "$group_id": "i"}),
        ):
            update = {"$token": policy, **ids, "$set": {"a": "b"}}
            (record,) = lines(mapped({**update, "$ip": own}, endpoint, client_ip))
            kept = {} if "$ip" not in record else {"$ip": record["$ip"]}
            assert record == {**update, **kept}
            if own in (None, 0, "nowhere") or expected is None:
                assert kept == ({} if expected is None else {"$ip": expected})
            else:
                assert kept == {"$ip": "2001:db8:1::" if ":" in str(own) else "9.9.9.0"}


class TestFaults:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (event(token=None), "missing_token"),
            (event(token=5), "missing_token"),
            ({"event": "E"}, "missing_token"),
            (event(token="V"), "unknown_token"),
            (event(token="t"), "unknown_token"),
            (5, "not_an_object"),
        ],
    )
    def test_without_a_destination_nothing_is_kept(self, body: object, expected: str) -> None:
        assert fault(body) == expected
        result = mapped(body)
        assert (result.dead, result.nobodys) == ([], [expected])

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"event": ""}, "missing_event_name"),
            ({"event": None}, "missing_event_name"),
            ({"event": {}}, "missing_event_name"),
            ({"properties": event(time="x", n=1)["properties"]}, "invalid_time"),
            ({"big": "x" * MAX_RECORD_BYTES}, "too_large"),
        ],
    )
    def test_with_a_destination_the_record_is_kept_as_it_would_be_sent(
        self, change: dict[str, Any], expected: str
    ) -> None:
        sent = event(n=1) | change
        result = mapped(sent, client_ip="1.2.3.4")

        (letter,) = result.dead
        assert (letter.reason, letter.kind) == (expected, "record")
        assert letter.queue == ("mp", "import")
        kept = json.loads(letter.payload)
        assert kept["properties"]["n"] == 1
        assert kept["properties"]["ip"] == "1.2.3.4"
        assert kept["properties"]["$insert_id"] == ID
        assert kept["properties"]["time"] == ("x" if expected == "invalid_time" else 1789999999123)

    @pytest.mark.parametrize("value", [5, [], "x", None])
    def test_properties_that_are_no_object_are_a_fault(self, value: object) -> None:
        body = {"event": "E", "properties": value}

        assert fault(body, destination="mp") == "missing_properties"

    def test_of_elements_that_are_no_objects(self) -> None:
        result = mapped([5, event()], destination="other")

        assert [letter.payload for letter in result.dead] == [b'{"element":5}']
        assert result.dead[0].queue == ("other", "import")
        assert result.verdict.taken == 1

    @pytest.mark.parametrize(
        ("endpoint", "body", "expected"),
        [
            ("engage", {"$token": "T", "$set": {}}, "missing_distinct_id"),
            ("engage", {"$token": "T", "$distinct_id": "", "$set": {}}, "missing_distinct_id"),
            ("groups", {"$token": "T", "$group_key": "k", "$set": {}}, "missing_group"),
            ("groups", {"$token": "T", "$group_id": "i", "$set": {}}, "missing_group"),
            ("engage", {"$distinct_id": "u"}, "missing_token"),
        ],
    )
    def test_of_updates(self, endpoint: Any, body: object, expected: str) -> None:
        assert fault(body, endpoint) == expected

    def test_are_placed_by_index_and_cost_no_other(self) -> None:
        result = mapped([event(n=0), event(token="V"), event(n=2), event(time="x"), event(n=4)])

        assert [record["properties"]["n"].text for record in lines(result)] == ["0", "2", "4"]
        assert [(each.index, each.fault) for each in result.verdict.problems] == [
            (1, "unknown_token"),
            (3, "invalid_time"),
        ]
        assert {each.insert_id for each in result.verdict.problems} == {ID}


class TestDestinations:
    def test_records_of_a_request_go_where_their_tokens_say(self) -> None:
        result = mapped([event(token="U"), event(token="T"), event(token="U")])

        found = {entry.queue: entry.records for entry in result.entries}
        assert found == {("mp", "import"): 1, ("other", "import"): 2}

    def test_token_is_that_of_the_first_that_takes_it(self) -> None:
        mapper = NativeMapper(
            [
                destination("shut", "T", mixpanel_sdks=MixpanelSdksConfig(enabled=False)),
                destination("first", "T"),
                destination("second", "T"),
                destination("closed", "U", mixpanel_sdks=MixpanelSdksConfig(enabled=False)),
            ]
        )
        records = decode(json.dumps([event(), event(token="U")]).encode(), "import")
        result = mapper.map("import", records, received_ms=RECEIVED_MS, client_ip=None)

        assert [entry.queue.destination for entry in result.entries] == ["first"]
        assert [each.fault for each in result.verdict.problems] == ["unknown_token"]

    def test_nothing_of_a_request_is_in_the_next_one(self) -> None:
        mapped([event(token="U"), event()])

        assert [entry.records for entry in mapped(event()).entries] == [1]

    def test_nothing_of_a_request_that_failed_is_in_the_next_one(self) -> None:
        records = decode(json.dumps([event(), event()]).encode(), "import")
        records[1].text = None  # type: ignore[assignment]  # a bug of ours
        with pytest.raises(TypeError):
            MAPPER.map("import", records, received_ms=RECEIVED_MS, client_ip=None)

        assert [entry.records for entry in mapped(event()).entries] == [1]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXTS | st.sampled_from(
    ["time", "distinct_id", "$insert_id", "ip", "token", "$ip", "event", "$set", "$add", "$delete"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)
STYLES = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])
COMPLETED = {"time", "distinct_id", "$insert_id", "ip"}


@settings(deadline=None, max_examples=300)
@given(
    own=OBJECTS,
    rest=OBJECTS,
    metadata=VALUES,
    style=STYLES,
    client_ip=st.sampled_from([None, "1.2.3.4"]),
)
def test_whatever_an_event_has_arrives(
    own: dict[str, Any],
    rest: dict[str, Any],
    metadata: object,
    style: dict[str, Any],
    client_ip: str | None,
) -> None:
    sent = {
        **rest,
        "$mp_metadata": metadata,
        "event": "E",
        "properties": {**own, "token": "T"},
    }
    text = json.dumps(sent, **style).encode()
    first, again = (mapped(b"[%b]" % text, client_ip=client_ip) for _ in range(2))
    if first.dead:
        (letter,) = first.dead
        assert letter.reason in {"invalid_time", "too_deep"}
        assert validate_event(json.loads(letter.payload), RECEIVED_MS) is not None
        record = carried(first.dead[0].payload)
    else:
        (record,) = lines(first)
        assert_mixpanel_takes_what_was_completed(json.loads(first.entries[0].lines))
    was = tokens(text)

    assert set(record) == set(was) - {"$mp_metadata"}
    for name in record.keys() - {"properties"}:
        assert record[name] == was[name]
    for name in was["properties"].keys() - COMPLETED:
        assert record["properties"][name] == was["properties"][name]
    if isinstance(own.get("time"), int | float) and not isinstance(own["time"], bool):
        assert [each.lines for each in again.entries] == [each.lines for each in first.entries]


def assert_mixpanel_takes_what_was_completed(record: dict[str, Any]) -> None:
    found = {name: record["properties"][name] for name in COMPLETED} | {"ip": 0}
    if not isinstance(found["distinct_id"], dict | list):
        assert validate_event({"event": "E", "properties": found}, RECEIVED_MS) is None


@settings(deadline=None, max_examples=200)
@given(
    endpoint=st.sampled_from(["engage", "groups"]),
    own=OBJECTS,
    style=STYLES,
    client_ip=st.sampled_from([None, "1.2.3.4"]),
)
def test_whatever_an_update_has_arrives(
    endpoint: Any, own: dict[str, Any], style: dict[str, Any], client_ip: str | None
) -> None:
    ids = {"$token": "T", "$distinct_id": "u", "$group_key": "k", "$group_id": "i"}
    text = json.dumps({**own, **ids}, **style).encode()
    result = mapped(text, endpoint, client_ip)
    if result.dead:
        (letter,) = result.dead
        assert letter.reason == "invalid_operation"
        validate = validate_profile if endpoint == "engage" else validate_group
        assert validate(json.loads(text)) is not None
        return
    (record,) = lines(result)
    was = tokens(text)

    if client_ip is not None and was.get("$ip") is None:
        was["$ip"] = client_ip
    assert record == was


@pytest.mark.parametrize("number", ["0", "-0", "1.10", "1e400", "1E-9", "9" * 400, "0.1e0"])
def test_numbers_keep_every_digit(number: str) -> None:
    body = json.dumps(event(n="N", l=["N"])).replace('"N"', number).encode()
    found = properties(body)

    assert found["n"] == Token(number)
    assert found["l"] == [Token(number)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"\\u0074oken":"T","token":"T","time":1,"\\u0074ime":1789999999}', "1789999999000"),
        (b'{"token":"U","tok\\u0065n":"T","time":1789999999,"time":1789999998}', "1789999998000"),
    ],
)
def test_key_that_comes_twice_or_escaped_is_one(text: bytes, expected: str) -> None:
    (record,) = lines(mapped(b'{"event":"E","properties":%b}' % text))

    assert record["properties"]["time"] == Token(expected)
    assert record["properties"]["token"] == "T"
