import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmap
from fastmap import spec
from gateway.events import decode
from gateway.mapping.actions.common import INPUTS
from gateway.mapping.fql import FqlError, parse, simplify, types_named

EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u-1",
    "properties": {
        "price": 19.5,
        "count": "12",
        "tags": ["new", "vip"],
        "gift": True,
        "empty": "",
        "nothing": None,
        "a.b": {"$c-d": 1},
        "items": [{"sku": "x"}, {"sku": "y"}],
    },
    "traits": {"740107d2-7737": "yes", "Pro": False},
    "context": {"app": {"version": "4.2.0"}},
}


def holds(expression: str | spec.Condition, event: dict[str, Any] = EVENT) -> bool:
    """Whether an event matches, as the compiled core sees it."""
    condition = parse(expression) if isinstance(expression, str) else expression
    record = spec.Record(0, spec.Object((spec.Fields((("matched", spec.Const(True)),)),)))
    mapping = spec.Mapping(INPUTS, (record,))
    plan = fastmap.compile(spec.Choice(((condition, mapping),), unmatched="no"))
    outcome = plan.run(decode(json.dumps(event).encode()).events[0], [fastmap.Buffer()], 0)
    assert outcome in (1, "no")
    return outcome == 1


TRUE = [
    'type = "track"',
    "type = 'track'",
    'event != "Signed Up"',
    'userId = "u-1" and event = "Order Completed"',
    "properties.price = 19.5",
    "properties.price >= 19.5",
    "properties.price < 1e2",
    "properties.price > -3",
    "properties.count > 11",
    "properties.gift = true",
    "traits.Pro = false",
    'traits.740107d2-7737 = "yes"',
    'properties["a.b"].$c-d = 1',
    "properties['a.b']['$c-d'] = 1",
    'properties.items[1].sku = "y"',
    'properties.items.0.sku = "x"',
    'contains(event, "Comp")',
    'contains(properties.tags, "vip")',
    'match(context.app.version, "4.*")',
    'match(event, "?rder*ed")',
    '!contains(event, "Refund")',
    'not match(event, "order*")',
    "anonymousId = null",
    "anonymousId != 'x'",
    "userId != null",
    "properties.nothing = null",
    "properties.empty != null",
    'properties.empty = ""',
    "properties.missing.deeper = null",
    "type = 'page' OR userId != NULL AND properties.gift = TRUE",
]
FALSE = [
    'type = "Track"',
    'event = "order completed"',
    'properties.price = "19.5"',
    "properties.count = 12",
    'properties.gift = "true"',
    "properties.gift = 1",
    "properties.missing < 5",
    "properties.gift < 5",
    'contains(properties.tags, "vi")',
    'contains(properties.price, "1")',
    'match(event, "Order")',
    'match(properties.missing, "*")',
    "anonymousId != null",
    "properties.nothing != null",
    "!(userId != null)",
]


@pytest.mark.parametrize("expression", TRUE)
def test_expression_that_fits_holds(expression: str) -> None:
    assert holds(expression)
    assert not holds(f"not ({expression})")


@pytest.mark.parametrize("expression", FALSE)
def test_expression_that_does_not_fit_does_not_hold(expression: str) -> None:
    assert not holds(expression)
    assert holds(f"!({expression})")


def test_event_name_that_is_a_number_equals_no_text() -> None:
    assert holds('event != "5"', {"type": "track", "event": 5})
    assert holds("event = 5", {"type": "track", "event": 5})


def test_backslash_takes_the_meaning_from_what_follows() -> None:
    event = {"type": "track", "event": 'say "hi" \\ *'}
    assert holds(r'event = "say \"hi\" \\ *"', event)
    assert holds(r'match(event, "say*\\*")', event)
    assert not holds(r'match(event, "*\\?")', event)


ANY, ALL, NONE = 'properties.yes = "y"', 'properties.also = "y"', 'properties.no = "y"'
YES = {"type": "track", "properties": {"yes": "y", "also": "y"}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"{ANY} or {NONE} and {NONE}", True),
        (f"({ANY} or {NONE}) and {NONE}", False),
        (f"{NONE} and {NONE} or {ANY}", True),
        (f"{NONE} and ({NONE} or {ANY})", False),
        (f"not {NONE} and {ANY}", True),
        (f"not ({NONE} or {ANY})", False),
        (f"not not {ANY} and !!{ALL}", True),
        (f"not {ANY} or {ALL}", True),
    ],
)
def test_and_binds_tighter_than_or_and_not_tighter_than_both(
    expression: str, *, expected: bool
) -> None:
    assert holds(expression, YES) is expected


@pytest.mark.parametrize(
    ("expression", "position", "expected"),
    [
        ("", 1, "a field"),
        ("   ", 4, "a field"),
        ('type = "track', 8, "the closing quote"),
        ("type", 5, "one of = != < <= > >="),
        ("type == 'x'", 7, "a quoted text, a number, true, false or null"),
        ('type "x"', 6, "one of ="),
        ('type = "a" type = "b"', 12, '"and", "or" or the end'),
        ('type = "a" and', 15, "a field"),
        ('(type = "a"', 12, '"and", "or" or ")"'),
        ('type = "a")', 11, '"and", "or" or the end'),
        ("type = track", 8, "a quoted text"),
        ('properties.a < "5"', 16, "a number"),
        ("properties.a = 1e999", 16, "a number below"),
        ("event.name = 'x'", 1, "event without members"),
        ("writeKey = 'x'", 1, "a path that starts with one of type, event"),
        ("message.event = 'x'", 1, "a path that starts with one of"),
        ("contains(event 'x')", 16, '","'),
        ("contains(event, 5)", 17, "a quoted text"),
        ("match(event, 'x'", 17, '")"'),
        ("match event, 'x'", 7, '"("'),
        ("event ~ 'x'", 7, "a field, a value or a sign"),
        ("properties[x] = 1", 11, '[0] or ["name"]'),
        ("properties. = 1", 11, "a name after the dot"),
        ("true", 1, "a path that starts with one of"),
        ("!" * 51 + "event = null", 51, "at most 50 levels"),
    ],
)
def test_mistake_is_reported_with_its_position_and_what_is_expected(
    expression: str, position: int, expected: str
) -> None:
    with pytest.raises(FqlError) as caught:
        parse(expression)
    assert caught.value.position == position
    assert caught.value.expected.startswith(expected)
    assert str(caught.value).startswith(f"character {position}: expected {expected}")
    assert "(found " in str(caught.value)


@given(st.text(alphabet="abet ye=!<>()[].\"'\\,0-5orandnt", max_size=40))
def test_any_text_is_read_or_refused_with_a_position_inside_it(text: str) -> None:
    position = 1
    try:
        parse(text)
    except FqlError as error:
        position = error.position
    assert 1 <= position <= len(text) + 1


# --- what is left for one type -----------------------------------------------------------------

EVENT_IS_X = parse('event = "x"')


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ('type = "track"', "track", True),
        ('type = "track"', "page", False),
        ('type = "track"', None, False),
        ('type != "track"', "track", False),
        ('type != "track"', None, True),
        ('type = "track" and event = "x"', "track", EVENT_IS_X),
        ('type = "track" and event = "x"', "page", False),
        ('type = "track" or event = "x"', "track", True),
        ('type = "track" or event = "x"', "page", EVENT_IS_X),
        ('not (type = "page" or event = "x")', "track", spec.Not(EVENT_IS_X)),
        ('type = "page" or type = "screen"', "screen", True),
        ("type != null", "track", True),
        ("type = null", "track", False),
        ('event = "x"', "track", EVENT_IS_X),
    ],
)
def test_comparisons_of_the_type_are_decided_beforehand(
    expression: str, kind: str | None, expected: spec.Condition | bool
) -> None:
    assert simplify(parse(expression), kind) == expected


def test_types_are_named_by_equality_alone() -> None:
    condition = parse('type = "a" or not (type != "b") and contains(type, "c") or type = 5')
    assert types_named(condition) == {"a", "b"}


_ATOMS = st.sampled_from(
    ['type = "track"', 'type != "page"', 'event = "x"', 'contains(type, "a")', "type != null"]
)
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        inner.map(lambda one: f"not {one}"),
    ),
    max_leaves=6,
)


@given(_EXPRESSIONS, st.sampled_from(["track", "page", "alias", ""]), st.sampled_from(["x", "y"]))
def test_simplified_condition_means_the_same(expression: str, kind: str, name: str) -> None:
    condition = parse(expression)
    event = {"type": kind, "event": name}
    left = simplify(condition, kind if kind in types_named(condition) else None)
    assert (left if isinstance(left, bool) else holds(left, event)) == holds(condition, event)
