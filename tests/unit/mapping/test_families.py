"""Names and values where the SDKs of each family put them."""

import json
from typing import Any

import pytest

from gateway.config import DestinationConfig, DestinationSettings
from gateway.events import decode
from gateway.events.originals import Originals
from gateway.mapping import Mapper, Remap, prepare
from gateway.model import Origin
from gateway.telemetry import Telemetry

RECEIVED_MS = 1_790_000_000_000

PROFILES = ["syft", "segment"]


def config(profile: Any) -> DestinationConfig:
    return DestinationConfig(
        name="mp", profile=profile, settings=DestinationSettings(projectToken="T")
    )


def records(event: dict[str, Any], profile: str = "syft") -> list[tuple[str, Any]]:
    mapper = Mapper([config(profile)], Telemetry())
    received = decode(json.dumps(event).encode())
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    mapped = mapper.map(["mp"], received.events, received_ms=RECEIVED_MS)
    assert not mapped.dead
    return [
        (entry.queue.endpoint, json.loads(line))
        for entry in mapped.entries
        for line in entry.lines.splitlines()
    ]


def only(event: dict[str, Any], profile: str = "syft") -> Any:
    [(_, record)] = records(event, profile)
    return record


def rudder(kind: str, **members: Any) -> dict[str, Any]:
    """Return an event as RudderStack's mobile SDKs send it."""
    context = {
        "app": {"build": "1", "name": "App", "namespace": "com.app", "version": "1.0"},
        "device": {"id": "d", "manufacturer": "Google", "model": "Pixel", "name": "p", "type": "A"},
        "library": {"name": "com.rudderstack.android.sdk.core", "version": "1.20.0"},
        "network": {"carrier": "c", "bluetooth": False, "cellular": True, "wifi": True},
        "os": {"name": "Android", "version": "14"},
        "screen": {"density": 420, "height": 2400, "width": 1080},
        "timezone": "Europe/Berlin",
        "traits": {"anonymousId": "a-1"},
    }
    return {
        "type": kind,
        "messageId": "m-1",
        "channel": "mobile",
        "originalTimestamp": "2026-09-21T12:00:00.000Z",
        "anonymousId": "a-1",
        "integrations": {"All": True},
        **members,
        "context": {**context, **members.get("context", {})},
    }


# --- names of screens and pages ----------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "members",
    [
        {"event": "Home", "properties": {"name": "Home"}},
        {"event": "Home", "properties": {}},
        {"event": "Home"},
        {"event": "Home", "name": None},
        {"event": "Home", "name": ""},
        {"properties": {"name": "Home"}},
        {"name": "Home"},
        {"name": "Home", "event": "Other"},
    ],
)
def test_screen_of_rudderstack_has_its_name(members: dict[str, Any], profile: str) -> None:
    assert only(rudder("screen", **members), profile)["event"] == "Viewed Home"


def test_screen_of_an_unknown_library_may_have_its_name_in_event() -> None:
    assert only({"type": "screen", "userId": "u", "event": "Home"})["event"] == "Viewed Home"


@pytest.mark.parametrize("name", [{}, 5, None, ["x"]])
def test_name_that_is_no_text_is_none(name: object) -> None:
    assert only(rudder("screen", properties={"name": name}))["event"] == "Viewed "


def test_page_of_rudderstack_may_have_its_name_in_the_properties() -> None:
    event = {**rudder("page", properties={"name": "Home"}), "channel": "web"}
    assert only(event)["event"] == "Viewed Home"


def test_page_of_segment_has_only_its_own_name() -> None:
    event = {"type": "page", "userId": "u", "properties": {"name": "Home"}, "event": "page"}
    assert only(event)["event"] == "Viewed "


# --- traits ------------------------------------------------------------------------------------

TRAITS = {
    "anonymousId": "a-1",
    "userId": "u-1",
    "id": "u-1",
    "firstname": "Ada",
    "lastname": "L",
    "createdat": "2026-01-01",
    "email": "e@example.org",
    "plan": "pro",
}
PROFILE = {
    "$first_name": "Ada",
    "$last_name": "L",
    "$name": "Ada L",
    "$created": "2026-01-01",
    "$email": "e@example.org",
    "plan": "pro",
}


def profile_of(event: dict[str, Any], profile: str = "syft") -> Any:
    return next((each["$set"] for to, each in records(event, profile) if to == "engage"), None)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("traits", [None, {}, [], "", "x", 5, {"missing": True}])
def test_traits_of_rudderstack_are_found_in_the_context(traits: Any, profile: str) -> None:
    members = {} if traits == {"missing": True} else {"traits": traits}
    event = rudder("identify", userId="u-1", event="identify", **members)
    event["context"]["traits"] = TRAITS
    assert profile_of(event, profile) == PROFILE


def test_traits_in_the_context_are_rudderstacks_whatever_else_is_there() -> None:
    event = {"type": "identify", "userId": "u-1", "traits": None, "context": {"traits": TRAITS}}
    assert profile_of(event) == PROFILE


def test_traits_of_rudderstack_may_stand_beside_the_context() -> None:
    assert profile_of(rudder("identify", userId="u-1", traits=TRAITS)) == PROFILE


def test_names_of_the_specification_win_over_rudderstacks() -> None:
    traits = {"firstName": "A", "firstname": "B", "createdAt": "1", "createdat": "2", "name": "N"}
    event = rudder("identify", userId="u", context={"traits": traits})
    assert profile_of(event) == {"$first_name": "A", "$created": "1", "$name": "N"}


@pytest.mark.parametrize("profile", PROFILES)
def test_traits_of_segment_stay_as_in_the_original(profile: str) -> None:
    event = {"type": "identify", "userId": "u-1", "traits": TRAITS}
    expected = {**TRAITS, "$email": TRAITS["email"]}
    del expected["email"]
    assert profile_of(event, profile) == expected


@pytest.mark.parametrize("traits", [{}, None, []])
def test_ids_alone_make_no_traits(traits: Any) -> None:
    event = rudder("identify", userId="u-1", traits=traits)
    assert profile_of(event) in (None, {})


def test_family_is_the_gateways_whatever_the_client_sent() -> None:
    event = {"type": "identify", "userId": "u", "traits": {"id": 1}, "(family)": "rudder"}
    assert profile_of(event) == {"id": 1}


# --- groups and browsers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"groupId": "g"},  # Jitsu
        {"context": {"groupId": "g"}},  # Segment and Syft
        {"groupId": "other", "context": {"groupId": "g"}},
    ],
)
def test_event_names_its_group(members: dict[str, Any]) -> None:
    event = {"type": "track", "event": "E", "userId": "u", **members}
    assert only(event)["properties"]["$group_id"] == "g"


def test_browser_is_named_as_rudderstacks_sdk_for_browsers_does() -> None:
    context = {"ua-ch": {"mobile": False, "platform": "macOS", "bitness": "64"}}
    event = {"type": "track", "event": "E", "userId": "u", "context": context}
    properties = only(event, "segment")["properties"]
    assert (properties["$mobile"], properties["$platform"]) == (False, "macOS")


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:443", "203.0.113.9"),
        (" 203.0.113.9 ", "203.0.113.9"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("unknown, 203.0.113.9:80,10.0.0.1", "203.0.113.9"),
        (["203.0.113.9", "10.0.0.1"], "203.0.113.9"),
        (["unknown", None, 5, "203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        ("", 0),
        ("unknown", 0),
        ([], 0),
        ({}, 0),
        (5, 0),
        (["a"] * 1000 + ["203.0.113.9"], 0),
        ("," * 100 + "203.0.113.9", 0),
    ],
)
def test_address_is_found_in_what_proxies_write(ip: object, expected: object) -> None:
    event = {"type": "track", "event": "E", "userId": "u", "context": {"ip": ip}}
    assert only(event)["properties"]["ip"] == expected
    [profile] = (
        record
        for endpoint, record in records({**event, "type": "identify", "traits": {"a": 1}})
        if endpoint == "engage"
    )
    assert profile.get("$ip", 0) == expected


@pytest.mark.parametrize(("ip", "dropped"), [("unknown", 1), ({}, 1), ("1.2.3.4:5", 0), ("", 0)])
def test_address_that_is_none_is_counted_once(ip: object, dropped: int) -> None:
    mapper = Mapper([config("syft")], Telemetry())
    event = {"type": "track", "event": "E", "userId": "u", "context": {"ip": ip}}
    received = decode(json.dumps(event).encode())
    mapper.map(["mp"], received.events, received_ms=RECEIVED_MS)
    assert mapper.dropped_fields().get(("mp", "ip"), 0) == dropped


# --- dead letters ------------------------------------------------------------------------------


def test_what_was_found_elsewhere_is_found_again_when_an_event_is_mapped_again() -> None:
    received = decode(json.dumps(rudder("screen", event="Home")).encode())
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    text = Originals(received, "a-key-of-some-length")(received.events[0])
    remapped = Remap([config("syft")])("mp", text, Origin(source="s", received_ms=RECEIVED_MS))
    assert json.loads(remapped.entries[0].lines)["event"] == "Viewed Home"
