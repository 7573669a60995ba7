"""The compiled core gives what the reference gives, for random mappings of random events."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

import fastmap
from fastmap import reference, spec
from fastmap.reference import Numeral
from tests.support.fastmap_strategies import OUTPUTS, Case, Sent, cases

RECEIVED_MS = 1_790_000_000_000
SKEW_MS = -250_000

# FASTMAP_EXAMPLES=1000000 searches for longer, and elsewhere each time.
LONG = int(os.environ.get("FASTMAP_EXAMPLES", "0"))

searching = settings(
    max_examples=LONG or 3000,
    derandomize=not LONG,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)


class Members(dict[str, Any]):
    """An object that knows whether a key was repeated."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.is_repetitive = len(self) < len(pairs)


def parsed(line: bytes) -> Any:
    return json.loads(line, parse_int=Numeral, parse_float=Numeral, object_pairs_hook=Members)


def assert_no_repeated_keys(made: Any, carried: set[tuple[str, ...]], at: tuple[str, ...]) -> None:
    """Look at the objects that the mapping made, not at those that it carried over."""
    if isinstance(made, Members) and at not in carried:
        assert not made.is_repetitive, f"a key is repeated in {at or 'the record'}: {list(made)}"
        for key, value in made.items():
            assert_no_repeated_keys(value, carried, (*at, key))


def assert_same(
    outcome: int | str, written: Sequence[Sequence[bytes]], expected: reference.Result
) -> None:
    assert outcome == (len(expected.records) if expected.reason is None else expected.reason)
    found = [[parsed(line) for line in lines] for lines in written]
    for output in range(OUTPUTS):
        assert found[output] == [record for to, record in expected.records if to == output]
    in_order = [iter(records) for records in found]
    for number, (output, _) in enumerate(expected.records):
        notes = [note for note in expected.notes if note.record == number and not note.lost]
        assert_no_repeated_keys(next(in_order[output]), {note.keys for note in notes}, ())


def compare(wanted: spec.Mapping | spec.Choice, sent: Sequence[Sent]) -> None:
    """Run a mapping on events one after the other, in the core and by the reference."""
    plan = fastmap.compile(wanted)
    outputs = [fastmap.Buffer() for _ in range(OUTPUTS)]
    dropped: Counter[str] = Counter()
    for each in sent:
        outcome = plan.run(each, outputs, RECEIVED_MS, SKEW_MS)
        counts = [out.records for out in outputs]
        written = [out.take() for out in outputs]
        assert [text.count(b"\n") for text in written] == counts
        expected = reference.run(wanted, each, RECEIVED_MS, SKEW_MS)
        assert_same(outcome, [text.split(b"\n")[:-1] for text in written], expected)
        dropped.update(expected.dropped)
        assert plan.dropped() == dropped


@searching
@given(cases())
def test_random_mapping_compiled_gives_what_the_reference_gives(case: Case) -> None:
    note(f"{case[0]!r}\nof {case[1]!r}")
    compare(*case)


def at(*keys: str | int, convert: spec.Conversion | None = None, label: str = "") -> spec.Value:
    return spec.Value(spec.Path("properties", keys), convert or spec.Json(), label)


def made_of(*layers: spec.Layer, each: spec.Path | None = None) -> spec.Record:
    return spec.Record(0, spec.Object(layers), each=each)


def only(expression: spec.Expression) -> spec.Record:
    return made_of(spec.Fields((("k", expression),)))


ITEM = spec.Value(spec.Path(spec.ITEM, ("a",)), spec.Json())
ITEMS = spec.Path("properties", ("items",))
NUMBER = at("n", convert=spec.Number(), label="one")
UNIQUE = at("a", convert=spec.UniqueId())
NUMBERS = spec.Spread(spec.Path("properties"), convert=spec.Number())

FOUND: dict[str, tuple[tuple[spec.Record, ...], str]] = {
    "repeated key": ((only(at("a", "b")),), '{"a":{"b":1},"a":{}}'),
    "nested text": (
        (only(spec.Replace(spec.Case(at("a"), "upper"), "A", "b")),),
        '{"a":"aa"}',
    ),
    "numbers over a field": (
        (made_of(spec.Fields((("k", spec.Const("field")),)), NUMBERS),),
        '{"k":"none","n":"5"}',
    ),
    "long key in escapes": ((only(at("k" * 45)),), '{"' + "\\u006b" * 45 + '":1}'),
    "escaped address": ((only(at("a", convert=spec.Ip())),), '{"a":"\\u0031.2.3.4"}'),
    "id of null": ((only(UNIQUE),), '{"a":[null]}'),
    "id of nothing": ((only(UNIQUE),), '{"a":[""]}'),
    "escaped number": (
        (only(spec.If(spec.Compare(at("a"), "<", 5), at("a"))),),
        '{"a":"\\u0031"}',
    ),
    "dropped around items": (
        (only(NUMBER), made_of(spec.Fields((("k", ITEM),)), each=ITEMS), only(NUMBER)),
        '{"n":"x","items":[{},{}]}',
    ),
    "dropped in a condition": ((only(spec.If(spec.Has(NUMBER), at("n"))),), '{"n":"x"}'),
    "year 0": ((only(at("a", convert=spec.Time())),), '{"a":"0000-01-01"}'),
    "item after the items": (
        (made_of(spec.Fields((("k", ITEM),)), each=ITEMS), only(ITEM)),
        '{"items":[{"a":1}]}',
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_difference_that_was_found_does_not_come_back(name: str) -> None:
    records, properties = FOUND[name]
    compare(spec.Mapping(("properties",), records), [Sent(properties=properties.encode())])
