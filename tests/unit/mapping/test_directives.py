import json
from typing import Any

import pytest

import fastmap
from fastmap import spec
from gateway.events import decode
from gateway.mapping.actions.common import INPUTS
from gateway.mapping.directives import SourceError, SourceReader, is_blank
from gateway.mapping.objects import object_of
from gateway.mapping.profile import Source

EVENT: dict[str, Any] = {
    "type": "page",
    "name": "Home {{userId}}",
    "userId": "U-1",
    "timestamp": "2024-05-06T07:08:09.000Z",
    "properties": {
        "title": "A Title, a title",
        "price": 12.50,
        "count": "7",
        "flag": False,
        "zero": 0,
        "empty": "",
        "nothing": None,
        "Product Name": "Lamp",
        "a.b": "dotted",
        "items": [{"sku": "x"}, {"sku": "y"}],
        "2024": "year",
        "address": {"city": "Paris", "zip": None},
    },
}
RECEIVED_MS = 1_800_000_000_000
MISSING = "<no value>"


def run(member: spec.Expression | spec.Object, event: dict[str, Any] | None = None) -> Any:
    """Return what a record's member becomes in the compiled core."""
    body = spec.Object((spec.Fields((("v", member),)),))
    plan = fastmap.compile(spec.Mapping(INPUTS, (spec.Record(0, body),)))
    out = fastmap.Buffer()
    plan.run(decode(json.dumps(event or EVENT).encode()).events[0], [out], RECEIVED_MS)
    return json.loads(out.take()).get("v", MISSING)


def value(source: Source, convert: spec.Conversion | None = None) -> Any:
    return run(SourceReader().value(source, convert or spec.Json(), "label", ("field",)))


def problem(source: Source, convert: spec.Conversion | None = None) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        SourceReader().value(source, convert or spec.String(), "label", ("field",))
    return ".".join(map(str, caught.value.place)), caught.value.problem


# --- paths and constants -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$.userId", "U-1"),
        ({"@path": "$.userId"}, "U-1"),
        ({"@path": "userId"}, "U-1"),
        ("$.properties.address.city", "Paris"),
        ("$.properties.Product Name", "Lamp"),
        ('$.properties["a.b"]', "dotted"),
        ("$.properties['a.b']", "dotted"),
        ("$.properties.items[1].sku", "y"),
        ("$.properties.items.0.sku", "x"),
        ("$.properties.items.9.sku", MISSING),
        ('$.properties["2024"]', "year"),
        ("$.properties.2024", MISSING),
        ("$.properties.missing.deeper", MISSING),
        (["$.properties.missing", "$.userId"], "U-1"),
        (["$.properties.missing", "none given"], "none given"),
        ("", MISSING),
        (None, MISSING),
        ([], MISSING),
        ("a constant", "a constant"),
        (5, 5),
        (True, True),
        ({"@literal": "$.userId"}, "$.userId"),
        ({"@literal": 5}, 5),
    ],
)
def test_path_or_constant_gives_its_value(source: Source, expected: object) -> None:
    assert value(source) == expected


def test_plain_path_is_read_and_converted_in_one_step() -> None:
    path = spec.Path("properties", ("price",))
    for source in ("$.properties.price", {"@path": "$.properties.price"}):
        expression = SourceReader().value(source, spec.Number(), "price", ())
        assert expression == spec.Value(path, spec.Number(), "price")


@pytest.mark.parametrize(
    ("source", "convert", "expected"),
    [
        (5, spec.String(), "5"),
        (True, spec.String(), "true"),
        ("5.5", spec.Number(), 5.5),
        ("true", spec.Boolean(), True),
        (0, spec.Boolean(), False),
        ({"@literal": ""}, spec.String(), MISSING),
        ({"@literal": ""}, spec.String(empty=True), ""),
        ("2024-05-06T07:08:09Z", spec.Time(), 1714979289000),
        ("anonymous", spec.String(none_of=("anonymous",)), MISSING),
    ],
)
def test_constant_gets_the_conversion_of_its_field(
    source: Source, convert: spec.Conversion, expected: object
) -> None:
    assert value(source, convert) == expected


def test_time_without_a_readable_value_is_that_of_receipt() -> None:
    assert value(["$.properties.missing", "$.timestamp"], spec.Time()) == 1714979289000
    for source in ("", "$.properties.missing", "$.properties.title", ["$.sentAt", "$.channel"]):
        assert value(source, spec.Time()) == RECEIVED_MS


# --- directives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Viewed {{properties.title}}", "Viewed A Title, a title"),
        ("{{ $.userId }}/{{{properties.price}}}", "U-1/12.5"),
        ("<{{properties.missing}}|{{properties.nothing}}|{{properties.empty}}>", "<||>"),
        ("<{{properties.address}}{{properties.items}}>", "<>"),
        ("{{properties.flag}}", "false"),
        ('{{properties["a.b"]}} {{properties.items[0].sku}}', "dotted x"),
        ("{{{name}}} and {{name}}", "Home {{userId}} and Home {{userId}}"),
        ("nothing to fill in", "nothing to fill in"),
        ('"quoted"\n', '"quoted"\n'),
    ],
)
def test_template_is_filled_in_once(template: str, expected: str) -> None:
    assert value({"@template": template}, spec.String()) == expected


def test_template_that_turns_out_empty_has_no_value_as_a_string() -> None:
    source: Source = {"@template": "{{properties.missing}}{{properties.empty}}"}
    assert value(source, spec.String()) == MISSING
    assert value(source, spec.String(empty=True)) == ""


@pytest.mark.parametrize(
    ("path", "exists", "filled"),
    [
        ("title", True, True),
        ("price", True, True),
        ("address", True, True),
        ("empty", True, False),
        ("zero", True, False),
        ("flag", True, False),
        ("nothing", False, False),
        ("missing", False, False),
    ],
)
def test_if_chooses_by_existence_or_by_blankness(path: str, *, exists: bool, filled: bool) -> None:
    branches = {"then": "yes", "else": "no"}
    tested = {"@path": f"$.properties.{path}"}
    assert value({"@if": {"exists": tested, **branches}}) == ("yes" if exists else "no")
    assert value({"@if": {"blank": tested, **branches}}) == ("yes" if filled else "no")


def test_if_without_the_branch_that_is_chosen_has_no_value() -> None:
    assert value({"@if": {"exists": "$.channel", "then": "yes"}}) == MISSING
    assert value({"@if": {"exists": "$.userId", "else": "no"}}) == MISSING


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"@case": {"operator": "lower", "value": "$.userId"}}, "u-1"),
        ({"@case": {"operator": "upper", "value": {"@path": "$.name"}}}, "HOME {{USERID}}"),
        ({"@case": {"operator": "upper", "value": "$.properties.price"}}, 12.5),
        ({"@case": {"operator": "upper", "value": "$.properties.missing"}}, MISSING),
        ({"@replace": {"pattern": "title", "value": "$.properties.title"}}, "A Title, a "),
    ],
)
def test_text_is_changed_and_anything_else_left_alone(source: Source, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"replacement": "-"}, "A Title, a -"),
        ({"replacement": "-", "ignorecase": True}, "A -, a -"),
        ({"replacement": "-", "ignorecase": True, "global": False}, "A -, a title"),
        ({"replacement": "\\1"}, "A Title, a \\1"),
        ({}, "A Title, a "),
    ],
)
def test_replace_follows_its_options(options: dict[str, Any], expected: str) -> None:
    source = {"@replace": {"pattern": "title", "value": "$.properties.title", **options}}
    assert value(source) == expected


def test_pattern_of_replace_is_no_regular_expression() -> None:
    event = {"type": "track", "event": "a.b axb"}
    source = {"@replace": {"pattern": "a.b", "replacement": "!", "value": "$.event"}}
    expression = SourceReader().value(source, spec.String(), "", ())
    assert run(expression, event) == "! axb"


def test_directives_nest_and_get_the_conversion_of_the_field() -> None:
    digits = {"@replace": {"pattern": "U-", "replacement": "", "value": "$.userId"}}
    source: Source = {
        "@if": {
            "exists": {"@case": {"operator": "lower", "value": "$.userId"}},
            "then": [{"@path": "$.properties.missing"}, digits],
            "else": {"@template": "{{properties.count}}"},
        }
    }
    assert value(source, spec.Number()) == 1
    assert value(source, spec.String()) == "1"
    assert value({"@template": "{{properties.count}}"}, spec.Number()) == 7
    assert value({"@case": {"operator": "upper", "value": "$.userId"}}, spec.Number()) == MISSING


# --- objects -----------------------------------------------------------------------------------


def test_table_of_sources_makes_an_object_without_what_is_missing() -> None:
    table: Source = {
        "city": "$.properties.address.city",
        "zip": "$.properties.address.zip",
        "gone": "$.properties.missing",
        "inner": {"title": {"@case": {"operator": "upper", "value": "$.userId"}}, "n": 5},
        "left out": 1,
    }
    layer = object_of(table, ("field",), SourceReader()).layer(frozenset({"left out"}))
    expected = {"city": "Paris", "zip": None, "inner": {"title": "U-1", "n": 5}}
    assert run(spec.Object((layer,))) == expected


@pytest.mark.parametrize("source", ["$.properties.address", {"city": "$.properties.address.city"}])
def test_object_from_either_notation_is_read_the_same_way(source: Source) -> None:
    found = object_of(source, ("field",), SourceReader())
    assert run(found.member("city", spec.Json())) == "Paris"
    assert run(found.member_called(spec.Const("city"))) == "Paris"
    assert run(found.member_called(spec.Const("other"))) == MISSING
    assert run(spec.If(found.is_filled(), spec.Const(1))) == 1
    assert run(spec.If(found.exists(), spec.Const(1))) == 1
    assert run(spec.If(found.has_more_than(2), spec.Const(1))) == MISSING


def test_object_without_members_is_not_filled() -> None:
    sources: list[Source] = ["", "$.traits", {"a": "$.properties.missing"}]
    for source in sources:
        found = object_of(source, ("field",), SourceReader())
        assert run(spec.If(found.is_filled(), spec.Const(1))) == MISSING


@pytest.mark.parametrize("source", [5, "text", ["$.traits"], {"@template": "x"}])
def test_source_that_can_be_no_object_is_refused(source: Source) -> None:
    with pytest.raises(SourceError, match="expected a path or a table"):
        object_of(source, ("field",), SourceReader())


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        ("$.message", "field", "expected a path that starts with one of type, event"),
        ("$.writeKey", "field", "expected a path that starts with one of"),
        ("$.event.name", "field", "expected event without members"),
        ("$.properties[x]", "field", 'expected .name, [0] or ["name"] at character 13'),
        ("$.", "field", "expected .name"),
        ({"@path": 5}, "field.@path", "expected a path as text (got 5)"),
        ({"@path": "$.foo"}, "field.@path", "expected a path that starts with"),
        (["$.userId", "$.foo"], "field.1", "expected a path that starts with"),
        ({}, "field", "expected one directive (got a table with nothing in it); accepted: @path"),
        ({"@flatten": 1}, "field", "expected one directive (got a table with @flatten)"),
        ({"a": 1}, "field", "expected one directive"),
        ({"@path": "$.event", "@literal": 1}, "field", "expected one directive"),
        ({"@literal": {}}, "field.@literal", "expected a text, a number, true or false"),
        ({"@template": 5}, "field.@template", "expected a text (got 5)"),
        ({"@template": "{{foo}}"}, "field.@template", "expected a path that starts with"),
        ({"@template": "{{ }}"}, "field.@template", "expected .name"),
        ({"@template": "{{event}} {{x"}, "field.@template", "expected {{path}}"),
        ({"@if": 5}, "field.@if", "expected a table with exists, blank, then, else"),
        ({"@if": {"then": 1}}, "field.@if", 'expected "exists" or "blank"'),
        (
            {"@if": {"exists": "$.event", "blank": "$.event", "then": 1}},
            "field.@if",
            'expected "exists" or "blank"',
        ),
        ({"@if": {"exists": "$.event"}}, "field.@if", 'expected "then", "else" or both'),
        ({"@if": {"exist": 1}}, "field.@if.exist", "unknown; accepted: exists, blank"),
        (
            {"@if": {"exists": "$.event", "then": {"@path": "$.x"}}},
            "field.@if.then.@path",
            "expected a path that starts with",
        ),
        (
            {"@case": {"operator": "title", "value": "$.event"}},
            "field.@case.operator",
            'expected "lower" or "upper" (got \'title\')',
        ),
        ({"@case": {"operator": "lower"}}, "field.@case.value", "missing"),
        (
            {"@replace": {"pattern": "", "value": "$.event"}},
            "field.@replace.pattern",
            "expected a text that is not empty",
        ),
        (
            {"@replace": {"pattern": "a", "value": "$.event", "global": "yes"}},
            "field.@replace.global",
            "expected true or false (got 'yes')",
        ),
        (
            {"@replace": {"pattern": 5, "value": "$.event"}},
            "field.@replace.pattern",
            "expected a text (got 5)",
        ),
        ({"@arrayPath": ["$.x"]}, "field.@arrayPath", "only the field products"),
    ],
)
def test_mistake_is_reported_with_its_place_and_what_is_expected(
    source: Source, place: str, expected: str
) -> None:
    at, found = problem(source)
    assert at == place
    assert found.startswith(expected)


def test_constant_that_can_never_fit_its_field_is_a_mistake() -> None:
    assert problem("wide", spec.Number()) == ("field", "expected a number (got 'wide')")
    assert problem(True, spec.Number()) == ("field", "expected a number (got true)")
    assert problem("maybe", spec.Boolean()) == ("field", "expected true or false (got 'maybe')")


def test_blank_sources_are_nothing_and_an_empty_text() -> None:
    sources: list[Source] = [None, "", 0, False, []]
    assert [is_blank(source) for source in sources] == [True, True, False, False, False]
