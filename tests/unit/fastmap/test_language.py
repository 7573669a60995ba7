"""The language of mappings, one construct at a time."""

from types import SimpleNamespace
from typing import Any

import pytest

import fastmap
from fastmap import spec
from tests.support.plans import Token, item, record, records, run, tokens, value

TEXT = spec.String()


def fields(**members: spec.Expression | spec.Object) -> spec.Fields:
    return spec.Fields(tuple(members.items()))


def one(*layers: spec.Layer, raw: bytes = b"{}") -> Any:
    (found,) = records(record(spec.Object(layers)), raw=raw)
    return found


def member(expression: spec.Expression, raw: bytes = b"{}") -> Any:
    return one(fields(v=expression), raw=raw).get("v", "absent")


class TestExpressions:
    def test_value_follows_its_path(self) -> None:
        assert member(value("raw.a.b.c"), b'{"a":{"b":{"c":[1]}}}') == [Token("1")]

    @pytest.mark.parametrize("raw", [b"{}", b'{"a":1}', b'{"a":null}', b'{"a":[{"b":1}]}', b""])
    def test_value_is_absent_where_the_path_ends_early(self, raw: bytes) -> None:
        assert member(value("raw.a.b"), raw) == "absent"

    def test_path_and_its_beginning_can_both_be_read(self) -> None:
        both = fields(whole=value("raw.a"), part=value("raw.a.b"), all=value("raw"))
        assert one(both, raw=b'{"a":{"b":1}}') == tokens(
            '{"whole":{"b":1},"part":1,"all":{"a":{"b":1}}}'
        )

    @pytest.mark.parametrize("constant", ["", 'a"\n', "é", 0, 1.5, True, False, None])
    def test_constant_is_written_as_json(self, constant: str | float | bool | None) -> None:
        written = member(spec.Const(constant))
        assert written == (Token(str(constant)) if type(constant) in (int, float) else constant)

    def test_first_takes_the_first_that_has_a_value(self) -> None:
        first = spec.First((value("raw.a", TEXT), value("raw.b", TEXT), spec.Const("none")))

        assert member(first, b'{"a":"1","b":"2"}') == "1"
        assert member(first, b'{"a":"","b":"2"}') == "2"
        assert member(first, b'{"a":{},"b":null}') == "none"
        assert member(spec.First((value("raw.a", TEXT),))) == "absent"
        assert member(spec.First(())) == "absent"

    def test_join_counts_a_missing_part_as_empty(self) -> None:
        join = spec.Join(("<", value("raw.a", TEXT), '"', value("raw.b", TEXT), ">"))

        assert member(join, b'{"a":"x\\ny","b":2}') == '<x\ny"2>'
        assert member(join, b'{"b":true}') == '<"true>'
        assert member(join) == '<">'

    def test_join_of_every_part_is_absent_without_one(self) -> None:
        join = spec.Join(("Viewed ", value("raw.a", TEXT)), every=True)

        assert member(join, b'{"a":"x"}') == "Viewed x"
        assert member(join) == "absent"
        assert member(join, b'{"a":""}') == "absent"

    def test_join_may_be_one_of_the_first(self) -> None:
        join = spec.Join(("a", value("raw.a", TEXT), value("raw.b", TEXT)), every=True)
        assert member(spec.First((join, spec.Const("c"))), b'{"a":"long enough to be seen"}') == "c"

    def test_lookup_reads_the_member_that_another_value_names(self) -> None:
        lookup = spec.Lookup(spec.Path("raw", ("traits",)), value("raw.key", TEXT))

        assert member(lookup, b'{"key":"id","traits":{"x":1,"id":"g"}}') == "g"
        assert member(lookup, b'{"key":"id","traits":{"i\\u0064":"g","id":"h"}}') == "h"
        assert member(lookup, b'{"key":"i\\u0064","traits":{"id":null}}') is None
        assert member(lookup, b'{"key":5,"traits":{"5":[ ]}}') == []
        assert member(lookup, b'{"key":"id","traits":{"x":1}}') == "absent"
        assert member(lookup, b'{"key":"id","traits":{}}') == "absent"
        assert member(lookup, b'{"key":"id","traits":["id"]}') == "absent"
        assert member(lookup, b'{"key":"","traits":{"":1}}') == "absent"
        assert member(lookup, b'{"traits":{"id":1}}') == "absent"

    def test_lookup_skips_falsy_values_where_it_says_so(self) -> None:
        path = spec.Path("raw", ("t",))
        lookup = spec.Lookup(path, spec.Const("id"), spec.Json(falsy=False))

        for falsy in (b"0", b'""', b"null", b"false"):
            assert member(lookup, b'{"t":{"id":%b}}' % falsy) == "absent"
        assert member(lookup, b'{"t":{"id":"0"}}') == "0"

    def test_lookup_may_be_named_by_a_lookup(self) -> None:
        names = spec.Lookup(spec.Path("raw", ("names",)), spec.Const("key"))
        lookup = spec.Lookup(spec.Path("raw", ("values",)), names)

        assert member(lookup, b'{"names":{"key":"k"},"values":{"key":1,"k":2}}') == Token("2")


class TestObjects:
    def test_members_without_a_value_are_left_out_with_their_comma(self) -> None:
        absent, present = value("raw.x"), spec.Const(1)
        for members in ("apa", "pap", "aap", "ppa", "aaa"):
            body = {f"k{i}": present if one == "p" else absent for i, one in enumerate(members)}
            (found,) = records(record(dict(body)), raw=b"{}")
            assert list(found) == [f"k{i}" for i, one in enumerate(members) if one == "p"]

    def test_objects_nest(self) -> None:
        inner = spec.Object((fields(a=value("raw.a"), b=spec.Object(())),))
        assert one(fields(outer=inner, c=spec.Const(None)), raw=b'{"a":1}') == tokens(
            '{"outer":{"a":1,"b":{}},"c":null}'
        )

    def test_later_fields_win_over_earlier_ones(self) -> None:
        layers = (fields(a=spec.Const(1), b=spec.Const(1)), fields(a=spec.Const(2)))
        assert one(*layers) == {"a": Token("2"), "b": Token("1")}

    def test_field_without_a_value_lets_the_earlier_one_stand(self) -> None:
        layers = (fields(a=spec.Const(1)), fields(a=value("raw.x")))
        assert one(*layers) == {"a": Token("1")}

    def test_spread_copies_all_members(self) -> None:
        raw = b'{ "a" : 1.10 ,\n"b": {"c": [1, 2]}, "": null }'
        assert one(spec.Spread(spec.Path("raw")), raw=raw) == tokens(raw)

    def test_spread_and_fields_win_by_their_order(self) -> None:
        mapped, spread = fields(a=spec.Const("mapped")), spec.Spread(spec.Path("raw"))
        raw = b'{"a":"own","b":1}'

        assert one(mapped, spread, raw=raw) == {"a": "own", "b": Token("1")}
        assert one(spread, mapped, raw=raw) == {"a": "mapped", "b": Token("1")}
        assert one(mapped, spread, fields(b=spec.Const(2)), raw=raw) == {
            "a": "own",
            "b": Token("2"),
        }

    def test_spread_leaves_omitted_keys_to_the_fields(self) -> None:
        mapped = fields(a=spec.Const("mapped"))
        spread = spec.Spread(spec.Path("raw"), frozenset({"a", "b"}))

        assert one(mapped, spread, raw=b'{"a":1,"b":2,"c":3}') == {
            "a": "mapped",
            "c": Token("3"),
        }
        assert one(spread, raw=b'{"a":1}') == {}

    @pytest.mark.parametrize("raw", [b"", b"null", b"[1]", b'"x"', b"5", b"{}", b"{ }"])
    def test_spread_of_what_is_no_object_copies_nothing(self, raw: bytes) -> None:
        layers = (fields(a=spec.Const(1)), spec.Spread(spec.Path("raw")), fields(b=spec.Const(2)))
        assert one(*layers, raw=raw) == {"a": Token("1"), "b": Token("2")}

    def test_spread_reads_members_of_members(self) -> None:
        assert one(spec.Spread(spec.Path("raw", ("a", "b"))), raw=b'{"a":{"b":{"c":1}}}') == {
            "c": Token("1")
        }


class TestRecords:
    def test_conditions_must_all_hold(self) -> None:
        path = spec.Path("raw", ("t",))
        has, is_object, not_empty = (
            spec.Has(value("raw.id", TEXT)),
            spec.IsObject(path),
            spec.NotEmpty(path),
        )
        cases: list[tuple[bytes, bool, bool, bool]] = [
            (b"{}", False, False, False),
            (b'{"id":"x"}', True, False, False),
            (b'{"id":""}', False, False, False),
            (b'{"t":{}}', False, True, False),
            (b'{"t":{ }}', False, True, False),
            (b'{"t":{"a":null}}', False, True, True),
            (b'{"t":[1]}', False, False, False),
            (b'{"t":null,"id":0}', True, False, False),
        ]
        for raw, *expected in cases:
            for condition, holds in zip((has, is_object, not_empty), expected, strict=True):
                assert run(record({}, when=(condition,)), raw=raw)[0] == holds
            every = record({}, when=(has, is_object, not_empty))
            assert run(every, raw=raw)[0] == all(expected)

    def test_each_object_of_an_array_becomes_a_record(self) -> None:
        expand = record({"n": item("n"), "x": value("raw.x")}, each=spec.Path("raw", ("items",)))

        raw = b'{"x":"y","items":[{"n":1}, 5, null, "s", [{"n":9}], {"n":2} ,{}]}'
        assert records(expand, raw=raw) == tokens('[{"n":1,"x":"y"},{"n":2,"x":"y"},{"x":"y"}]')
        assert records(expand, raw=b'{"items":{"n":3}}') == [{"n": Token("3")}]
        for raw in (b"{}", b'{"items":[]}', b'{"items":[ ]}', b'{"items":"x"}', b'{"items":null}'):
            assert records(expand, raw=raw) == []

    def test_item_itself_can_be_spread_and_copied(self) -> None:
        whole = spec.Path(spec.ITEM)
        body = spec.Object((spec.Spread(whole), fields(all=spec.Value(whole, spec.Json()))))
        expand = record(body, each=spec.Path("raw"))

        assert records(expand, raw=b'[{"a":1},{"b":2}]') == tokens(
            '[{"a":1,"all":{"a":1}},{"b":2,"all":{"b":2}}]'
        )

    def test_arrays_expand_to_a_thousand_records_at_most(self) -> None:
        expand = record({"n": item("n")}, each=spec.Path("raw"))

        assert run(expand, raw=b"[" + b"{}," * 999 + b"{}]")[0] == 1000
        assert run(expand, raw=b"[" + b"{}," * 1000 + b"{}]") == ("too_many_items", b"")
        assert run(expand, raw=b"[" + b"0," * 1000 + b"{}]") == ("too_many_items", b"")
        assert run(expand, raw=b"[" + b"0," * 5000 + b"0]") == (0, b"")

    def test_rejected_expansion_takes_back_what_other_records_wrote(self) -> None:
        expand = record({}, each=spec.Path("raw"))

        assert run(record({}), expand, raw=b"[" + b"{}," * 1000 + b"{}]") == ("too_many_items", b"")

    def test_arrays_do_not_expand_beyond_what_a_buffer_may_hold(self) -> None:
        body = spec.Object((spec.Spread(spec.Path("big")),))
        plan = fastmap.compile(
            spec.Mapping(("big", "raw"), (spec.Record(0, body, each=spec.Path("raw")),))
        )
        big = b'{"k":"' + b"x" * (1 << 20) + b'"}'
        out = fastmap.Buffer()

        event = SimpleNamespace(big=big, raw=b"[" + b",".join([b"{}"] * 10) + b"]")
        results = [plan.run(event, [out], 0) for _ in range(5)]

        assert results == [10, 10, 10, "too_many_items", "too_many_items"]
        assert out.records == 30

    def test_outputs_are_chosen_by_index(self) -> None:
        first, second = fastmap.Buffer(), fastmap.Buffer()
        mapping = spec.Mapping(("raw",), (spec.Record(1, spec.Object(())),))

        assert fastmap.compile(mapping).run(SimpleNamespace(raw=b""), [first, second], 0) == 1
        assert (first.records, second.records) == (0, 1)

    def test_requirement_without_a_value_rejects_the_event(self) -> None:
        require = ((value("raw.a", TEXT), "no_a"), (value("raw.b", TEXT), "no_b"))

        assert run(record({}), require=require, raw=b'{"a":"1"}') == ("no_b", b"")
        assert run(record({}), require=require, raw=b"{}") == ("no_a", b"")
        assert run(record({}), require=require, raw=b'{"a":"1","b":2}') == (1, b"{}\n")
