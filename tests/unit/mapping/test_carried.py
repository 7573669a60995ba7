"""Whatever is in an event, each record is valid JSON, and what is carried over is not altered."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import DestinationConfig, DestinationSettings
from gateway.events import decode
from gateway.mapping import Mapper, prepare
from gateway.mapping.profile import load_fields
from gateway.telemetry import Telemetry
from tests.support.plans import tokens

RESERVED = load_fields().reserved
MAPPERS = {
    profile: Mapper(
        [
            DestinationConfig(
                name="mp", profile=profile, settings=DestinationSettings(projectToken="T")
            )
        ],
        Telemetry(),
    )
    for profile in ("syft", "segment")
}

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXTS | st.sampled_from(
    [
        "time",
        "distinct_id",
        "$insert_id",
        "email",
        "name",
        "created",
        "firstName",
        "products",
        "$source",
        "ip",
        "mp_lib",
        "app",
        "os",
        "version",
        "device",
        "id",
        "library",
        "userAgent",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)


def holding(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return LEAVES | st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)


VALUES = holding(holding(LEAVES))
"""As deep as Mixpanel takes them in the properties of an event."""

OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)
LOOSE = OBJECTS | VALUES
STYLES = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


def by_endpoint(profile: str, event: dict[str, Any], style: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the records of an event; parsing them fails when a key is repeated."""
    received = decode(json.dumps({"batch": [event]}, **style).encode())
    prepare(
        received, received_ms=1_790_000_000_000, default_type=None, client_ip=None, is_retry=False
    )
    mapped = MAPPERS[profile].map(["mp"], received.events, received_ms=1_790_000_000_000)
    assert not mapped.dead
    return {
        entry.queue.endpoint: [
            json.loads(line, object_pairs_hook=distinct) for line in entry.lines.split(b"\n")[:-1]
        ]
        for entry in mapped.entries
    }


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a key is repeated: {[key for key, _ in pairs]}"
    return dict(pairs)


def assert_carried(carried: dict[str, Any], given: object, omitted: list[str]) -> None:
    """Whatever the event says under a key that is not reserved is in the record as it was."""
    for key, value in given.items() if isinstance(given, dict) else ():
        if key not in omitted:
            assert repr(carried[key]) == repr(value)


@pytest.mark.parametrize("profile", MAPPERS)
@settings(deadline=None, max_examples=60)
@given(properties=LOOSE, context=LOOSE, style=STYLES)
def test_properties_of_a_track_are_carried_over(
    profile: str, properties: object, context: object, style: dict[str, Any]
) -> None:
    event = {"type": "track", "event": "E", "properties": properties, "context": context}
    (record,) = by_endpoint(profile, event, style)["import"]

    assert record["event"] == "E"
    assert_carried(record["properties"], properties, RESERVED["event"])
    assert record["properties"]["distinct_id"] == ""


@pytest.mark.parametrize("profile", MAPPERS)
@settings(deadline=None, max_examples=60)
@given(products=st.lists(LOOSE, max_size=4) | LOOSE, own=OBJECTS, style=STYLES)
def test_properties_of_an_order_are_carried_over_to_its_products(
    profile: str, products: object, own: dict[str, Any], style: dict[str, Any]
) -> None:
    properties = {**own, "products": products}
    event = {"type": "track", "event": "Order Completed", "properties": properties}
    order, *bought = by_endpoint(profile, event, style)["import"]

    assert_carried(order["properties"], properties, RESERVED["event"])
    listed = products if isinstance(products, list) else [products]
    if isinstance(products, dict) and products and all(re.fullmatch("[0-9]+", k) for k in products):
        listed = list(products.values())  # as PHP writes a list with gaps
    assert len(bought) == sum(isinstance(item, dict) for item in listed)
    omitted = RESERVED["event"] + RESERVED["product"] + list(load_fields().product)
    for record in bought:
        assert record["event"] == "Product Purchased"
        assert_carried(record["properties"], properties, omitted)


@pytest.mark.parametrize("profile", MAPPERS)
@settings(deadline=None, max_examples=60)
@given(traits=LOOSE, context=LOOSE, style=STYLES)
def test_traits_of_a_user_are_carried_over(
    profile: str, traits: object, context: object, style: dict[str, Any]
) -> None:
    event = {"type": "identify", "userId": "u", "traits": traits, "context": context}
    updates = by_endpoint(profile, event, style).get("engage", [])

    assert len(updates) == (isinstance(traits, dict) and bool(traits))
    for update in updates:
        assert_carried(update["$set"], traits, RESERVED["user"])


@pytest.mark.parametrize("profile", MAPPERS)
@settings(deadline=None, max_examples=60)
@given(traits=LOOSE, style=STYLES)
def test_traits_of_a_group_are_carried_over(
    profile: str, traits: object, style: dict[str, Any]
) -> None:
    event = {"type": "group", "groupId": "g", "traits": traits}
    updates = by_endpoint(profile, event, style).get("groups", [])

    assert len(updates) == isinstance(traits, dict)
    omitted = RESERVED["group"] + RESERVED["group_created"]
    for update in updates:
        assert_carried(update["$set"], traits, omitted)


NUMBERS = ["0", "-0", "1.10", "1e400", "-1E-9", "12345678901234567890", "9" * 400]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_every_digit(number: str) -> None:
    text = f'{{"type":"track","event":"E","properties":{{"n":{number},"l":[{number}]}}}}'
    received = decode(text.encode())
    mapped = MAPPERS["syft"].map(["mp"], received.events, received_ms=1)

    line = tokens(mapped.entries[0].lines)
    assert line["properties"]["n"] == tokens(number)
    assert line["properties"]["l"] == [tokens(number)]
