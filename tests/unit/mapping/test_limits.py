"""What Mixpanel certainly refuses is found when it is mapped, record by record."""

import json
from typing import Any

import pytest

from gateway.config import DestinationConfig, DestinationSettings, SubscriptionConfig
from gateway.events import decode
from gateway.events.mixpanel import FAULTS
from gateway.events.mixpanel import decode as decode_records
from gateway.mapping import Mapper, NativeMapper, prepare
from gateway.mapping.mapper import EXPLANATIONS
from gateway.mapping.preview import Preview
from gateway.sandbox.contract import MAX_RECORD_BYTES, validate_event, validate_profile
from gateway.telemetry import Telemetry

RECEIVED_MS = 1_790_000_000_000


def destination(*subscriptions: SubscriptionConfig) -> DestinationConfig:
    settings = DestinationSettings(projectToken="T")
    return DestinationConfig(name="mp", settings=settings, subscriptions=subscriptions)


def mapped(text: bytes, config: DestinationConfig) -> tuple[list[Any], list[str]]:
    """Return the records and the reasons of rejections."""
    received = decode(text)
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    result = Mapper([config], Telemetry()).map(["mp"], received.events, received_ms=RECEIVED_MS)
    assert all(letter.detail == EXPLANATIONS[letter.reason] for letter in result.dead)
    lines = (line for entry in result.entries for line in entry.lines.split(b"\n")[:-1])
    return [json.loads(line) for line in lines], [letter.reason for letter in result.dead]


def event(properties: Any, **members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "E", "userId": "u", "properties": properties, **members}


def numbered(count: int) -> dict[str, int]:
    return {str(number): 1 for number in range(count)}


def nested(levels: int, inside: Any = 1, *, in_lists: bool = False) -> Any:
    for _ in range(levels):
        inside = {"a": [inside] if in_lists else inside}
    return inside


# Properties, and why an event with them is refused.  Our own are eight.
SHAPES: list[tuple[Any, str]] = [
    ({}, ""),
    (numbered(200), ""),
    (numbered(255), "too_many_members"),
    (numbered(2000), "too_many_members"),
    ({"o": numbered(254)}, ""),
    ({"o": numbered(255)}, "too_many_members"),
    ({"o": [numbered(254), numbered(254)]}, ""),
    ({"o": [1, [numbered(255)]]}, "too_many_members"),
    ({"o": {"p": numbered(254)}}, ""),
    ({"o": {"p": numbered(255)}}, "too_many_members"),
    (nested(4), ""),
    (nested(5), "too_deep"),
    (nested(4, in_lists=True), ""),
    (nested(5, in_lists=True), "too_deep"),
    ({"l": [[[[[[[1]]]]]]]}, ""),
    ({"l": [nested(3)] * 300}, ""),
    ({"l": [{}] * 1000}, ""),
    ({"l": [*[{}] * 1000, nested(4)]}, "too_deep"),
    ({"t": '{":{":{":{":{":{":{"' * 100}, ""),
    ({'{{{{{{":': '\\"{{{{{{{', "o": {"p": "}}}}"}}, ""),
]


@pytest.mark.parametrize(("properties", "reason"), SHAPES)
def test_event_is_taken_as_mixpanel_takes_it(properties: Any, reason: str) -> None:
    records, reasons = mapped(json.dumps(event(properties)).encode(), destination())
    assert reasons == ([reason] if reason else [])
    assert all(validate_event(record, RECEIVED_MS) is None for record in records)
    assert len(records) == (not reason)


@pytest.mark.parametrize(("properties", "reason"), SHAPES)
def test_event_of_mixpanels_sdks_is_taken_as_mixpanel_takes_it(
    properties: Any, reason: str
) -> None:
    own = {"token": "T", "time": 1_790_000_000, "distinct_id": "u", "$insert_id": "i-1"}
    sent = [
        {"event": "E", "properties": own},
        {"event": "F", "properties": {**properties, **own}},
    ]
    found, faults = native(sent)
    assert faults == ([reason] if reason else [])
    assert all(validate_event(record, RECEIVED_MS) is None for record in found)
    assert [record["event"] for record in found] == (["E"] if reason else ["E", "F"])


def native(sent: Any, endpoint: Any = "import") -> tuple[list[Any], list[str]]:
    records = decode_records(json.dumps(sent).encode(), endpoint)
    result = NativeMapper([destination()]).map(
        endpoint, records, received_ms=RECEIVED_MS, client_ip=None
    )
    faults = [problem.fault for problem in result.verdict.problems]
    assert [(letter.reason, letter.detail) for letter in result.dead] == [
        (fault, FAULTS[fault].message) for fault in faults
    ]
    for letter in result.dead:
        json.loads(letter.payload)
    lines = (line for entry in result.entries for line in entry.lines.split(b"\n")[:-1])
    return [json.loads(line) for line in lines], faults


def test_number_of_properties_counts_those_of_the_mapping() -> None:
    for count in range(230, 262):
        sent = event({f"p{number}": 1 for number in range(count)}, anonymousId="a", messageId="m")
        records, reasons = mapped(json.dumps(sent).encode(), destination())
        assert len(records) + len(reasons) == 1
        if records:
            assert len(records[0]["properties"]) <= 254
        else:
            assert (reasons, count > 240) == (["too_many_members"], True)


def test_repeated_keys_count_once() -> None:
    repeated = ",".join(['"a":1'] * 1000)
    text = f'{{"type":"track","event":"E","userId":"u","properties":{{"o":{{{repeated}}}}}}}'
    records, reasons = mapped(text.encode(), destination())
    assert (len(records), reasons) == (1, [])


def test_bad_event_costs_no_other() -> None:
    batch = {"batch": [event({"n": 1}), event(nested(5)), event({"n": 2}), event(numbered(300))]}
    records, reasons = mapped(json.dumps(batch).encode(), destination())
    assert [record["properties"]["n"] for record in records] == [1, 2]
    assert reasons == ["too_deep", "too_many_members"]


@pytest.mark.parametrize("kind", ["track", "identify", "group"])
def test_record_of_a_megabyte_is_a_dead_letter(kind: str) -> None:
    def outcome(size: int) -> tuple[int, list[str]]:
        big = {"a": "x" * size}
        sent: dict[str, Any] = {
            "type": kind,
            "event": "E",
            "userId": "u",
            "groupId": "g",
            "messageId": "m",
        }
        sent |= {"properties": big} if kind == "track" else {"traits": big}
        records, reasons = mapped(json.dumps(sent).encode(), destination())
        assert all(
            len(json.dumps(one, separators=(",", ":"))) < MAX_RECORD_BYTES for one in records
        )
        return len(records), reasons

    assert outcome(MAX_RECORD_BYTES - 1000) == (1, [])
    assert outcome(MAX_RECORD_BYTES) == (0, ["too_large"])


def test_order_with_a_product_that_is_refused_is_a_dead_letter() -> None:
    sent = event({"products": [{"sku": "x" * MAX_RECORD_BYTES}]}, event="Order Completed")
    assert mapped(json.dumps(sent).encode(), destination()) == ([], ["too_large"])


def test_traits_may_be_many_and_deep() -> None:
    sent = {"type": "identify", "userId": "u", "traits": {**numbered(1000), "d": nested(9)}}
    [record], reasons = mapped(json.dumps(sent).encode(), destination())
    assert (validate_profile(record), reasons) == (None, [])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("$.properties.o", "too_deep"),
        ("$.properties.o.a", ""),
        ({"@path": "$.properties.o"}, "too_deep"),
        ({"@if": {"exists": "$.userId", "then": "$.properties.o"}}, "too_deep"),
    ],
)
def test_objects_that_a_mapping_of_ones_own_takes_over_count(source: Any, reason: str) -> None:
    own = SubscriptionConfig(
        action="trackEvent",
        subscribe='type = "track"',
        mapping={"event_properties": {"deep": source}},
    )
    config = DestinationConfig(
        name="mp",
        settings=DestinationSettings(projectToken="T"),
        presets=False,
        subscriptions=(own,),
    )
    sent = json.dumps(event({"o": nested(4)})).encode()
    records, reasons = mapped(sent, config)
    assert (len(records), reasons) == (not reason, [reason] if reason else [])


@pytest.mark.parametrize("properties", [numbered(300), nested(6), {"a": "x" * MAX_RECORD_BYTES}])
def test_account_of_a_mapping_agrees(properties: Any) -> None:
    [sent] = decode(json.dumps(event(properties)).encode()).events
    preview = Preview(destination())
    assert preview.map(sent, RECEIVED_MS).is_rejected
    preview.explain(sent, RECEIVED_MS)


OPERATIONS: list[tuple[str, Any, bool]] = [
    ("$set", {"a": "b"}, True),
    ("$set", {}, True),
    ("$set", "a", False),
    ("$set", [{"a": 1}], False),
    ("$set", None, False),
    ("$set_once", 5, False),
    ("$append", {"a": [1]}, True),
    ("$append", "a", False),
    ("$remove", [], False),
    ("$add", {"a": 1, "b": -1.5}, True),
    ("$add", {}, True),
    ("$add", {"a": "1"}, False),
    ("$add", {"a": 1, "b": None}, False),
    ("$add", {"a": True}, False),
    ("$add", {"a": {"b": 1}}, False),
    ("$add", 5, False),
    ("$union", {"a": ["b"]}, True),
    ("$union", {"a": "b"}, False),
    ("$unset", ["a"], True),
    ("$unset", [], True),
    ("$unset", ["a", 5], False),
    ("$unset", {"a": 1}, False),
    ("$unset", "a", False),
    ("$delete", "", True),
    ("$delete", None, True),
]


@pytest.mark.parametrize(("operation", "operand", "is_taken"), OPERATIONS)
def test_operation_is_taken_as_mixpanel_takes_it(
    operation: str, operand: Any, is_taken: bool
) -> None:
    update = {"$token": "T", "$distinct_id": "u", operation: operand}
    assert (validate_profile(update) is None) == is_taken
    good = {"$token": "T", "$distinct_id": "u", "$set": {"a": 1}}
    found, faults = native([good, update, good], "engage")
    assert found == ([good, update, good] if is_taken else [good, good])
    assert faults == ([] if is_taken else ["invalid_operation"])


@pytest.mark.parametrize("distinct_id", ["null", "anonymous", "undefined", [], {}, True])
@pytest.mark.parametrize("name", ["$identify", "$create_alias", "$merge"])
def test_command_about_nobody_is_a_dead_letter(name: str, distinct_id: Any) -> None:
    sent = {"event": name, "properties": {"token": "T", "distinct_id": distinct_id, "alias": "a"}}
    found, faults = native([sent])
    expected = [] if distinct_id == [] or distinct_id == {} else ["invalid_distinct_id"]
    assert faults == expected or faults == ["invalid_distinct_id"]
    assert len(found) == (not faults)


@pytest.mark.parametrize("distinct_id", [True, {}, [], None, ""])
def test_update_about_nobody_is_a_dead_letter(distinct_id: Any) -> None:
    update = {"$token": "T", "$distinct_id": distinct_id, "$set": {"a": 1}}
    assert native([update], "engage") == ([], ["missing_distinct_id"])
