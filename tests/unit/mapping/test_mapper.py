"""The mapping of a request: records by destination, and what becomes of all other events."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.config import DestinationConfig, DestinationSettings, SubscriptionConfig
from gateway.events import decode
from gateway.mapping import Mapped, Mapper, prepare
from gateway.mapping.mapper import MAX_MISFIT_BYTES
from gateway.telemetry import Telemetry

RECEIVED_MS = 1_790_000_000_000


def destination(name: str = "mp", **settings: Any) -> DestinationConfig:
    profile = settings.pop("profile", "syft")
    return DestinationConfig(
        name=name,
        profile=profile,
        subscriptions=settings.pop("subscriptions", ()),
        settings=DestinationSettings(projectToken=f"TOKEN-{name}", **settings),
    )


class Rig:
    def __init__(self, *destinations: DestinationConfig) -> None:
        self.telemetry = Telemetry()
        self.names = [one.name for one in destinations]
        self.mapper = Mapper(destinations, self.telemetry)

    def map(
        self, *events: object, to: Sequence[str] | None = None, client_ip: str | None = None
    ) -> Mapped:
        received = decode(json.dumps(events).encode())
        prepare(
            received,
            received_ms=RECEIVED_MS,
            default_type=None,
            client_ip=client_ip,
            is_retry=False,
        )
        return self.mapper.map(
            self.names if to is None else to,
            received.events,
            received_ms=RECEIVED_MS,
            misfits=received.misfits,
        )

    def count(self, metric: str, *labels: str) -> float:
        counter = getattr(self.telemetry, metric).labels(*labels)
        return float(counter._value.get())


def records(mapped: Mapped) -> dict[tuple[str, str], list[Any]]:
    return {
        (entry.queue.destination, entry.queue.endpoint): [
            json.loads(line) for line in entry.lines.split(b"\n")[:-1]
        ]
        for entry in mapped.entries
    }


TRACK = {"type": "track", "event": "E", "userId": "u", "messageId": "m", "timestamp": 1629213675449}
IDENTIFY = {"type": "identify", "userId": "u", "messageId": "m", "traits": {"email": "e"}}


def test_events_of_a_request_become_one_entry_an_endpoint() -> None:
    mapped = Rig(destination()).map(TRACK, IDENTIFY, {**TRACK, "event": "F"})

    found = records(mapped)
    assert [record["event"] for record in found["mp", "import"]] == ["E", "F"]
    assert found["mp", "engage"][0]["$set"] == {"$email": "e"}
    assert [entry.records for entry in mapped.entries] == [2, 1]
    assert mapped.dead == []


def test_each_destination_gets_records_of_its_own() -> None:
    rig = Rig(
        destination("a"), destination("b", profile="segment", sourceName="s"), destination("c")
    )
    found = records(rig.map(TRACK, IDENTIFY, to=["b", "a"]))

    assert set(found) == {("a", "import"), ("a", "engage"), ("b", "import"), ("b", "engage")}
    assert found["a", "engage"][0]["$token"] == "TOKEN-a"
    assert found["a", "import"][0]["properties"]["$source"] == "syft"
    assert found["b", "import"][0]["properties"]["segment_source_name"] == "s"


def test_nothing_of_one_request_shows_in_the_next() -> None:
    rig = Rig(destination())
    rig.map(TRACK, IDENTIFY)

    assert rig.map({"type": "alias"}).entries == []
    assert records(rig.map(TRACK)).keys() == {("mp", "import")}


def test_request_that_fails_in_the_middle_leaves_nothing_to_the_next() -> None:
    rig = Rig(destination())

    class Exploding:
        type = "track"
        event = "E"

        @property
        def user_id(self) -> str:
            raise ZeroDivisionError

    good = decode(json.dumps(TRACK).encode()).events[0]
    with pytest.raises((ZeroDivisionError, AttributeError)):
        rig.mapper.map(["mp"], [good, Exploding()], received_ms=0)  # type: ignore[list-item]

    assert len(records(rig.map(TRACK))["mp", "import"]) == 1


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"type": "track"}, "missing_event_name"),
        ({"type": "track", "event": ""}, "missing_event_name"),
        ({"type": "track", "event": {"a": 1}}, "missing_event_name"),
        ({"type": "identify", "traits": {}}, "missing_id"),
        ({"type": "identify", "userId": "null", "anonymousId": "0"}, "missing_id"),
        ({"type": "group", "userId": "u"}, "missing_group_id"),
        ({"type": "group", "groupId": ""}, "missing_group_id"),
        (
            {"type": "track", "event": "Order Completed", "properties": {"products": [{}] * 1001}},
            "too_many_items",
        ),
    ],
)
def test_event_that_lacks_what_it_needs_is_a_dead_letter_and_costs_no_other(
    event: dict[str, Any], reason: str
) -> None:
    rig = Rig(destination())
    rejected = {**event, "messageId": "rejected", "writeKey": "canary"}
    mapped = rig.map(TRACK, rejected, TRACK)

    (letter,) = mapped.dead
    assert (letter.queue.destination, letter.queue.endpoint) == ("mp", "")
    assert (letter.kind, letter.reason) == ("event", reason)
    assert letter.detail
    assert json.loads(letter.payload) == {**event, "messageId": "rejected"}
    assert len(records(mapped)["mp", "import"]) == 2


def test_order_with_a_thousand_products_becomes_a_thousand_and_one_records() -> None:
    order = {**TRACK, "event": "Order Completed", "properties": {"products": [{}] * 1000}}
    found = records(Rig(destination()).map(order))["mp", "import"]

    assert len(found) == 1001
    assert len({record["properties"]["$insert_id"] for record in found}) == 1001


def test_rejected_event_is_a_dead_letter_of_each_destination() -> None:
    mapped = Rig(destination("a"), destination("b")).map({"type": "track", "writeKey": "canary"})

    assert [letter.queue.destination for letter in mapped.dead] == ["a", "b"]
    for letter in mapped.dead:
        assert b"canary" not in letter.payload


@pytest.mark.parametrize("element", [5, "text", None, True, [1]])
def test_element_that_is_no_object_is_a_dead_letter(element: object) -> None:
    rig = Rig(destination("a"), destination("b"))
    mapped = rig.map(TRACK, element)

    assert [letter.reason for letter in mapped.dead] == ["not_an_object"] * 2
    for letter in mapped.dead:
        assert json.loads(letter.payload) == {"element": element}
    assert len(records(mapped)["a", "import"]) == 1


@pytest.mark.parametrize("kind", ["alias", "merge", "ALIAS"])
def test_event_that_no_subscription_is_for_is_counted(kind: object) -> None:
    rig = Rig(destination())
    mapped = rig.map({**TRACK, "type": kind})

    assert (list(mapped.entries), list(mapped.dead)) == ([], [])
    assert rig.count("events_skipped", "mp", "no_subscription") == 1


@pytest.mark.parametrize("kind", ["Track", "TRACK", " track\n", ["track"]])
def test_type_is_known_however_it_is_written(kind: object) -> None:
    (event,) = records(Rig(destination()).map({**TRACK, "type": kind}))["mp", "import"]

    assert event["event"] == "E"


@pytest.mark.parametrize(
    "kind", ["", "unknown", "t", "tracks", None, 5, {}, True, ["track", "page"]]
)
def test_event_of_no_known_type_is_a_dead_letter(kind: object) -> None:
    rig = Rig(destination("a"), destination("b"))
    mapped = rig.map(TRACK, {**TRACK, "type": kind, "messageId": "odd"})

    assert [letter.reason for letter in mapped.dead] == ["unknown_type"] * 2
    for letter in mapped.dead:
        kept = json.loads(letter.payload)
        assert (kept.get("type"), kept["messageId"]) == (kind, "odd")
    assert len(records(mapped)["a", "import"]) == 1


def test_type_that_a_subscription_names_is_known() -> None:
    audit = SubscriptionConfig(
        name="Audit", subscribe='type = "audit" and event = "Other"', action="trackEvent"
    )
    mapped = Rig(destination(subscriptions=(audit,))).map({**TRACK, "type": "audit"})

    assert mapped.dead == []


@pytest.mark.parametrize(
    "text", [b"{", b'{"type":"track"', b"x", b'{"type":"track"}}', b'{"a":"\xe2\x82', b"{" * 70_000]
)
def test_damaged_element_is_a_dead_letter_of_its_text(text: bytes) -> None:
    mapper = Rig(destination()).mapper
    (letter,) = mapper.map(["mp"], [], received_ms=RECEIVED_MS, misfits=[text]).dead

    kept = json.loads(letter.payload)
    assert letter.reason == "malformed"
    assert kept["malformed"] == text[:MAX_MISFIT_BYTES].decode(errors="replace")
    assert kept.get("bytes") == (len(text) if len(text) > MAX_MISFIT_BYTES else None)


def test_event_that_becomes_nothing_is_counted() -> None:
    rig = Rig(destination())
    mapped = rig.map({"type": "identify", "userId": "u"}, {"type": "group", "groupId": "g"})

    assert (list(mapped.entries), list(mapped.dead)) == ([], [])
    assert rig.count("events_skipped", "mp", "empty") == 2


def test_times_that_are_not_used_are_counted_once_for_each_event() -> None:
    rig = Rig(destination("one"), destination("two"))
    product = {**TRACK, "event": "Order Completed", "properties": {"products": [{}, {}]}}
    times = ("8/17/2021", "0001-01-01T00:00:00", 1, RECEIVED_MS + 3_600_001, None, "2021-08-17")

    mapped = rig.map(*({**TRACK, "timestamp": time} for time in times), {**product, "timestamp": 1})

    found = [record["properties"]["time"] for record in records(mapped)["one", "import"]]
    assert found[:6] == [RECEIVED_MS] * 5 + [1629158400000]
    assert found[6:] == [RECEIVED_MS, RECEIVED_MS - 1, RECEIVED_MS - 2]
    assert rig.count("times_replaced", "", "unreadable") == 1
    assert rig.count("times_replaced", "", "impossible") == 4


def test_values_that_could_not_be_converted_are_counted_by_field() -> None:
    rig = Rig(destination("a"), destination("b"))
    context = {"screen": {"density": "high"}, "ip": "nowhere", "network": {"wifi": "maybe"}}
    rig.map({**TRACK, "context": context, "timestamp": "junk", "userId": {}}, to=["a"])

    # One value may be several fields of the specification; each counts once.
    assert rig.mapper.dropped_fields() == {
        ("a", field): 1
        for field in (
            "screen_width",
            "screen_height",
            "screen_density",
            "ip",
            "wifi",
            "time",
            "user_id",
            "distinct_id",
        )
    }


@pytest.mark.parametrize(
    ("event_ip", "client_ip", "sent"),
    [
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (None, "1.2.3.4", "1.2.3.4"),
        ("unknown", "1.2.3.4", "1.2.3.4"),
        (None, "2001:db8::1", "2001:db8::1"),
        (None, "unknown", 0),
        (None, None, 0),
    ],
)
def test_address_is_the_events_else_the_clients_else_none(
    event_ip: str | None, client_ip: str | None, sent: object
) -> None:
    event = {**TRACK, "context": {"ip": event_ip}}
    found = records(Rig(destination()).map(event, client_ip=client_ip))

    assert found["mp", "import"][0]["properties"]["ip"] == sent


def test_shared_order_properties_do_not_fill_the_memory() -> None:
    """Each of many products repeats the order's properties: the sum has a limit for a request."""
    order = {
        **TRACK,
        "event": "Order Completed",
        "properties": {"note": "x" * 10_000, "products": [{}] * 999},
    }
    mapped = Rig(destination()).map(*[order] * 20, TRACK)

    written = sum(len(entry.lines) for entry in mapped.entries)
    assert written < 48 * 1024 * 1024
    assert {letter.reason for letter in mapped.dead} == {"too_many_items"}
    assert records(mapped)["mp", "import"][-1]["event"] == "E"


def test_forbidden_ids_count_as_absent() -> None:
    event = {**TRACK, "userId": " NULL\n", "anonymousId": "00000000-0000-0000-0000-000000000000"}
    (record,) = records(Rig(destination()).map(event))["mp", "import"]

    assert record["properties"]["distinct_id"] == ""
    for name in ("id", "$user_id", "$identified_id", "$device_id", "$anon_id"):
        assert name not in record["properties"]


@pytest.mark.parametrize(
    ("member", "kind"), [("properties", "track"), ("context", "track"), ("traits", "identify")]
)
@pytest.mark.parametrize("value", ["text", 5, 0, True, False, [1], [{"a": 1}], -1.5, " "])
def test_what_comes_in_place_of_an_object_is_counted(member: str, kind: str, value: object) -> None:
    rig = Rig(destination("a"), destination("b"))
    odd = {**TRACK, "type": kind, member: value}
    mapped = rig.map(odd, {**odd, member: {"a": 1}}, odd, {**TRACK, "type": kind})

    assert mapped.dead == []
    assert len(records(mapped)) >= 2
    assert rig.mapper.dropped_fields() == {("a", member): 2, ("b", member): 2}


@pytest.mark.parametrize("member", ["properties", "context", "traits"])
@pytest.mark.parametrize("value", [None, {}, {"a": 1}, [], ""])
def test_what_is_empty_in_place_of_an_object_is_not_missed(member: str, value: object) -> None:
    rig = Rig(destination())
    rig.map({**TRACK, member: value}, {**IDENTIFY, member: value})

    assert rig.mapper.dropped_fields() == {}


@pytest.mark.parametrize(
    ("of_batch", "dropped"), [({"a": 1}, 1), ({}, 1), ([], 1), (None, 1), (5, 2), (["odd"], 2)]
)
def test_context_that_gives_way_to_what_the_request_tells_is_counted(
    of_batch: object, dropped: int
) -> None:
    rig = Rig(destination())
    received = decode(
        json.dumps(
            {"context": of_batch, "batch": [TRACK, {**TRACK, "context": "odd"}, {"context": []}]}
        ).encode()
    )
    prepare(
        received,
        received_ms=RECEIVED_MS,
        default_type="track",
        client_ip=None,
        user_agent="Mozilla/5.0",
        is_retry=False,
    )
    events, odd = received.events, received.odd_contexts
    rig.mapper.map(["mp"], events, received_ms=RECEIVED_MS, odd_contexts=odd)

    assert rig.mapper.dropped_fields() == {("mp", "context"): dropped}
