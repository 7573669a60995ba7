"""Ids as senders write them: numbers with a point, several groups, what can be no id."""

import json
from typing import Any

import pytest

from fastmap.texts import plain_number
from gateway.config import DestinationConfig, DestinationSettings, SourceConfig
from gateway.events import decode, id_text
from gateway.events.mixpanel import decode as decode_records
from gateway.mapping import Mapper, NativeMapper, prepare
from gateway.policy import policy_of
from gateway.sandbox.contract import validate_group
from gateway.telemetry import Telemetry

RECEIVED_MS = 1_790_000_000_000


class Mapped:
    """What a destination makes of one event, given as JSON text."""

    def __init__(self, text: str, **settings: Any) -> None:
        own = DestinationSettings(projectToken="T", **settings)
        mapper = Mapper([DestinationConfig(name="mp", settings=own)], Telemetry())
        received = decode(text.encode())
        prepare(
            received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False
        )
        mapped = mapper.map(["mp"], received.events, received_ms=RECEIVED_MS)
        self.dead = [letter.reason for letter in mapped.dead]
        self.dropped = {field: count for (_, field), count in mapper.dropped_fields().items()}
        self.records: list[tuple[str, Any]] = [
            (entry.queue.endpoint, json.loads(line))
            for entry in mapped.entries
            for line in entry.lines.splitlines()
        ]

    @property
    def properties(self) -> Any:
        [(_, record)] = self.records
        return record["properties"]


NUMBERS = [
    ("55520", "55520"),
    ("55520.0", "55520"),
    ("55520.000", "55520"),
    ("1.2345678E7", "12345678"),
    ("1.2345678e+7", "12345678"),
    ("5E3", "5000"),
    ("1234567890123456789", "1234567890123456789"),
    ("1.5", "1.5"),
    ("1.50", "1.5"),
    ("15e-1", "1.5"),
    ("-7.0", "-7"),
    ("1e400", "1e400"),
    ("1e99999999999999999999", "1e99999999999999999999"),
    ("1" * 100, "1" * 100),
]


@pytest.mark.parametrize(("sent", "expected"), NUMBERS)
def test_number_is_the_same_id_however_it_is_written(sent: str, expected: str) -> None:
    event = f'{{"type":"track","event":"E","userId":{sent},"anonymousId":{sent},"messageId":"m"}}'
    properties = Mapped(event).properties
    for name in ("distinct_id", "$user_id", "$identified_id", "$device_id", "$anon_id", "id"):
        assert properties[name] == expected
    assert id_text(decode(event.encode()).events[0].user_id) == expected
    assert plain_number(sent) == expected


@pytest.mark.parametrize("sent", ['"55520.0"', '"1e5"', '"007"', '"1.2345678E7"'])
def test_text_stays_the_text_that_it_is(sent: str) -> None:
    event = f'{{"type":"track","event":"E","userId":{sent}}}'
    assert Mapped(event).properties["distinct_id"] == json.loads(sent)


@pytest.mark.parametrize("sent", ["0.0", "-1.0", "-0.0", "0e5", "true", "{}", "[1,2]", "[null]"])
def test_what_is_no_id_is_none(sent: str) -> None:
    event = f'{{"type":"track","event":"E","userId":{sent},"anonymousId":"a"}}'
    properties = Mapped(event).properties
    assert properties["distinct_id"] == "a"
    assert "$user_id" not in properties


def test_list_of_one_is_the_id_in_it() -> None:
    event = '{"type":"track","event":"E","userId":[5.0]}'
    assert Mapped(event).properties["distinct_id"] == "5"


def test_user_with_a_number_is_the_same_on_the_profile_and_in_the_link() -> None:
    event = '{"type":"identify","userId":55520.0,"anonymousId":7E1,"traits":{"a":1}}'
    link, profile = (record for _, record in Mapped(event).records)
    assert (link["properties"]["$identified_id"], link["properties"]["$anon_id"]) == ("55520", "70")
    assert profile["$distinct_id"] == "55520"


def test_sampling_takes_all_spellings_of_an_id_or_none() -> None:
    source = SourceConfig(name="s", write_key="k", sample_rate=0.5)  # type: ignore[arg-type]
    policy = policy_of(source)
    assert policy is not None
    for number in range(1000, 1100):
        spellings = (f'"{number}"', f"{number}", f"{number}.0", f"{number / 1000}E3")
        reasons = {
            policy.reason_against(decode(f'{{"userId":{one}}}'.encode()).events[0])
            for one in spellings
        }
        assert len(reasons) == 1


# --- groups ------------------------------------------------------------------------------------


def groups_of(group_id: str, traits: str, key: str = "company") -> tuple[list[Any], Mapped]:
    event = f'{{"type":"group","userId":"u","groupId":{group_id},"traits":{traits}}}'
    mapped = Mapped(event, groupKey=key)
    for endpoint, record in mapped.records:
        assert endpoint == "groups"
        assert validate_group(record) is None
        assert isinstance(record["$group_id"], str)
        assert record["$set"] == json.loads(traits)
    return [record["$group_id"] for _, record in mapped.records], mapped


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        ('"acme"', ["acme"]),
        ("5", ["5"]),
        ("55520.0", ["55520"]),
        ("1.2E3", ["1200"]),
        ("true", ["g"]),
        ("false", ["g"]),
        ("{}", ["g"]),
        ('{"id":"acme"}', ["g"]),
        ("[]", ["g"]),
        ("[{}]", ["g"]),
        ("[null,true]", ["g"]),
        ('["acme"]', ["acme"]),
        ("[5.0]", ["5"]),
        ('["acme","globex"]', ["acme", "globex"]),
        ('["acme",{},5.0,null,"",true,["x"]]', ["acme", "5"]),
        ('""', ["g"]),
        ("0", ["g"]),
        ("null", ["g"]),
        ('"a\\u0022\\nb"', ['a"\nb']),
    ],
)
def test_trait_that_names_the_group_is_a_text_or_several(trait: str, expected: list[str]) -> None:
    found, _ = groups_of('"g"', f'{{"company":{trait}}}')
    assert found == expected


def test_trait_that_can_be_no_id_is_counted() -> None:
    _, mapped = groups_of('"g"', '{"company":{"id":1}}')
    assert mapped.dropped == {"group_id": 1}


@pytest.mark.parametrize(
    ("group_id", "expected"),
    [
        ("7.0", ["7"]),
        ('["a"]', ["a"]),
        ('["a","b"]', ["a", "b"]),
        ("[1,2.0]", ["1", "2"]),
    ],
)
def test_group_id_is_a_text_or_several(group_id: str, expected: list[str]) -> None:
    found, _ = groups_of(group_id, '{"plan":"x"}')
    assert found == expected


@pytest.mark.parametrize("group_id", ["true", "{}", "[]", "[{}]", "null", '""'])
def test_group_without_an_id_is_rejected(group_id: str) -> None:
    event = f'{{"type":"group","groupId":{group_id},"traits":{{"company":{{}}}}}}'
    assert Mapped(event, groupKey="company").dead == ["missing_group_id"]


def test_trait_alone_names_the_group() -> None:
    found, _ = groups_of("null", '{"company":"acme"}')
    assert found == ["acme"]


def test_more_groups_than_items_of_an_array_are_rejected() -> None:
    ids = json.dumps([str(number) for number in range(1001)])
    _, mapped = groups_of('"g"', f'{{"company":{ids}}}')
    assert (mapped.records, mapped.dead) == ([], ["too_many_items"])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [('"g"', "g"), ("7.0", "7"), ('["a","b"]', ["a", "b"]), ('["a",{}]', "a"), ("{}", None)],
)
def test_event_belongs_to_one_group_or_to_several(sent: str, expected: object) -> None:
    event = f'{{"type":"track","event":"E","userId":"u","context":{{"groupId":{sent}}}}}'
    assert Mapped(event).properties.get("$group_id") == expected


# --- products ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ('{"0":{"sku":"a"},"2":{"sku":"b"}}', ["a", "b"]),
        ('{"10":{"sku":"a"}}', ["a"]),
        ('{"0":{"sku":"a"},"1":5,"2":{"sku":"b"}}', ["a", "b"]),
        ('{ "0" : {"sku":"a"} , "\\u0032" : { "sku":"b"} }', ["a", "b"]),
        ('{"sku":"a"}', ["a"]),
        ('{"0":{"sku":"a"},"sku":"b"}', ["b"]),
        ('{"":{"sku":"a"},"sku":"b"}', ["b"]),
        ("{}", [None]),
    ],
)
def test_products_may_be_an_object_with_numbers_for_keys(products: str, expected: object) -> None:
    event = (
        '{"type":"track","event":"Order Completed","userId":"u","messageId":"m",'
        f'"properties":{{"products":{products}}}}}'
    )
    order, *bought = (record for _, record in Mapped(event).records)
    assert order["properties"]["products"] == json.loads(products)
    assert [one["properties"].get("sku") for one in bought] == expected
    ids = [one["properties"]["$insert_id"] for one in (order, *bought)]
    assert len(set(ids)) == len(ids)


# --- records of Mixpanel's own SDKs ------------------------------------------------------------

COMMANDS = ["$identify", "$create_alias", "$merge"]


def native(identity: Any, *names: str) -> Any:
    config = DestinationConfig(
        name="mp", settings=DestinationSettings(projectToken="T"), identity=identity
    )
    events = [
        {"event": name, "properties": {"token": "T", "distinct_id": "u", "time": 1_790_000_000}}
        for name in names
    ]
    records = decode_records(json.dumps(events).encode(), "import")
    return NativeMapper([config]).map("import", records, received_ms=RECEIVED_MS, client_ip=None)


def names_of(mapped: Any) -> list[str]:
    return [json.loads(line)["event"] for one in mapped.entries for line in one.lines.splitlines()]


def test_identity_events_are_left_out_of_simplified_projects_and_counted() -> None:
    mapped = native("simplified", "A", *COMMANDS, "$identify", "B")
    assert names_of(mapped) == ["A", "B"]
    assert mapped.skipped == {("mp", "simplified_identity"): 4}
    assert (mapped.dead, mapped.verdict.taken, mapped.verdict.problems) == ([], 6, [])


def test_identity_events_of_original_projects_are_sent() -> None:
    mapped = native("original", *COMMANDS)
    assert (names_of(mapped), mapped.skipped) == (COMMANDS, {})


# --- events that bring no id -------------------------------------------------------------------

TRACKED: dict[str, Any] = {
    "event": "E",
    "properties": {"token": "T", "distinct_id": "u", "time": 1_790_000_000},
}
MINUTE_MS = 60_000


def insert_ids(*events: Any, at_ms: int = RECEIVED_MS, is_lines: bool = False) -> list[str]:
    text = "\n".join(map(json.dumps, events)) if is_lines else json.dumps(events)
    records = decode_records(text.encode(), "import", is_lines=is_lines)
    config = DestinationConfig(name="mp", settings=DestinationSettings(projectToken="T"))
    mapped = NativeMapper([config]).map("import", records, received_ms=at_ms, client_ip=None)
    [entry] = mapped.entries
    return [json.loads(line)["properties"]["$insert_id"] for line in entry.lines.splitlines()]


OTHER = {"event": "F", "properties": TRACKED["properties"]}


@pytest.mark.parametrize("is_lines", [False, True])
def test_equal_events_of_different_requests_are_different_events(*, is_lines: bool) -> None:
    requests = ([TRACKED], [TRACKED, OTHER], [OTHER, TRACKED], [TRACKED, TRACKED, TRACKED])
    found = [insert_ids(*events, is_lines=is_lines) for events in requests]
    assert len({one for ids in found for one in ids}) == sum(map(len, requests))


def test_same_bytes_are_sent_again_within_minutes_only() -> None:
    start = RECEIVED_MS // (10 * MINUTE_MS) * 10 * MINUTE_MS
    first = insert_ids(TRACKED, TRACKED, at_ms=start)
    assert insert_ids(TRACKED, TRACKED, at_ms=start + 5 * MINUTE_MS) == first
    assert not set(insert_ids(TRACKED, TRACKED, at_ms=start + 10 * MINUTE_MS)) & set(first)


def test_id_that_an_event_brings_stays() -> None:
    sent = {**TRACKED, "properties": {**TRACKED["properties"], "$insert_id": "own-id-12345"}}
    assert insert_ids(sent, at_ms=0) == insert_ids(sent, sent)[:1] == ["own-id-12345"]
