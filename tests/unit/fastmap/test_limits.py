"""Limits on the objects of a record: the quick answers are the exact ones."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmap
from fastmap import spec
from fastmap.limits import excess_of
from tests.support.plans import value

LIMITS = spec.Limits(size=1 << 20, members=3, depth=3)
PLAN = fastmap.compile(
    spec.Mapping(
        ("raw",),
        (
            spec.Record(
                output=0,
                body=spec.Object((spec.Fields((("v", value("raw.v", spec.Json(), "v")),)),)),
                limits=LIMITS,
            ),
        ),
    )
)


def object_of(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in members) + "}"


NAMES = st.sampled_from(["a", "b", "c", "d", "\\u0061", "e{", '\\"'])
VALUES = st.recursive(
    st.sampled_from(["1", "null", '"{{{"', '"a\\":"', '"a"', "{}", "[]"]),
    lambda inner: (
        st.lists(st.tuples(NAMES, inner), max_size=5).map(object_of)
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=12,
)


def outcome_of(text: str) -> int | str:
    return PLAN.run(SimpleNamespace(raw=b'{"v":%b}' % text.encode()), [fastmap.Buffer()], 0)


@settings(max_examples=3000, derandomize=True, database=None, deadline=None)
@given(VALUES)
def test_outcome_is_what_the_decoded_record_exceeds(text: str) -> None:
    assert outcome_of(text) == (excess_of({"v": json.loads(text)}, LIMITS) or 1)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"a":{"b":{}}}', "too_deep"),
        ('{"a":{"b":{}},"a":1}', 1),  # JSON's readers see the last member of a name alone
        ('{"a":1,"a":{"b":{}}}', "too_deep"),
        ('{"a":{"b":{}},"\\u0061":1}', 1),
        ('[{"a":{"b":{}}},{"a":1}]', "too_deep"),
        ('{"a":{"b":{}},"b":1}', "too_deep"),
        ('{"a":1,"b":1,"c":1,"d":1}', "too_many_members"),
        ('{"a":1,"b":1,"c":1,"d":{"e":{}}}', "too_deep"),
    ],
)
def test_member_that_a_later_one_replaces_does_not_count(text: str, outcome: int | str) -> None:
    assert outcome_of(text) == outcome
