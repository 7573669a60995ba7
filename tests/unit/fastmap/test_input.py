"""Odd and hostile input: every reader's rules are kept, and nothing ever crashes."""

import json
import math
import re
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastmap
from fastmap import MalformedInput, spec
from tests.support.plans import Token, item, record, records, tokens, value

RAW = spec.Path("raw")
COPY = record(spec.Object((spec.Spread(RAW, frozenset({"omitted"})),)))


def copied(raw: bytes) -> Any:
    (found,) = records(COPY, raw=raw)
    return found


class TestParts:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (b"[]", []),
            (b" {\n} ", []),
            (b"[1]", [b"1"]),
            (b' [ "a,]" , {"b" : [ ] } ,null ] ', [b'"a,]"', b'{"b" : [ ] }', b"null"]),
            (b'{"a":1,"b\\"":[2,3]}', [b'"a"', b"1", b'"b\\""', b"[2,3]"]),
            (b"[" * 500_000 + b"]" * 500_000, [b"[" * 499_999 + b"]" * 499_999]),
        ],
    )
    def test_are_what_lies_directly_in_a_container(self, text: bytes, found: list[bytes]) -> None:
        assert fastmap.parts(text) == found

    @pytest.mark.parametrize("text", [b"", b" ", b"1", b'"a"', b"[", b"{", b"[1", b"[1,", b"[,]"])
    @pytest.mark.parametrize("more", [b"", b" "])
    def test_of_what_is_no_container(self, text: bytes, more: bytes) -> None:
        with pytest.raises(MalformedInput):
            fastmap.parts(text + more)

    @given(st.text('{}[]",:1\\ ').map(str.encode))
    def test_of_anything(self, text: bytes) -> None:
        check_parts(text)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        st.sampled_from([None, 0, 1]),
    )
    def test_of_documents(self, document: object, indent: int | None) -> None:
        check_parts(json.dumps(document, indent=indent).encode())


def check_parts(text: bytes) -> None:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    try:
        found = fastmap.parts(text)
    except MalformedInput:
        assert not isinstance(document, dict | list)
        return
    if isinstance(document, list):
        assert [json.loads(part) for part in found] == document
    elif isinstance(document, dict):
        keys, values = map(json.loads, found[::2]), map(json.loads, found[1::2])
        assert dict(zip(keys, values, strict=True)) == document


class Element(msgspec.Struct):
    a: msgspec.Raw = msgspec.Raw(b"")
    b: msgspec.Raw = msgspec.Raw(b"")


class Holder(msgspec.Struct):
    items: list[Element] = []


JSON = st.recursive(
    st.none() | st.integers() | st.text('{}[]",:\\ab'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
)
ELEMENTS = st.lists(st.dictionaries(st.sampled_from("abc"), JSON), max_size=3)
MEMBERS = st.lists(
    st.tuples(st.just("items"), ELEMENTS)
    | st.tuples(st.sampled_from(["x", "item", 'items"', "b"]), JSON | ELEMENTS),
    max_size=5,
)


class TestListBeside:
    @settings(max_examples=500)
    @given(MEMBERS, st.sampled_from(["", " "]), st.booleans())
    def test_is_found_wherever_it_is(
        self, members: list[tuple[str, Any]], space: str, is_told: bool
    ) -> None:
        pairs = (f"{json.dumps(name)}{space}:{json.dumps(value)}" for name, value in members)
        text = f"{space}{{{space}{f'{space},'.join(pairs)}}}".encode()
        items = msgspec.json.decode(text, type=Holder).items
        ends = [(one.a, one.b) for one in items[:1] + items[-1:]] if is_told else []

        found = fastmap.has_list_beside(text, b"items", *(ends or ((), ())))

        others = [value for name, value in members if name != "items"]
        is_there = len(members) - len(others) > 1 or any(
            isinstance(value, list) and value and isinstance(value[0], dict) for value in others
        )
        assert found == is_there or any("\\" in json.dumps(name) for name, _ in members)

    @given(st.text('{}[]",:\\ ix').map(str.encode))
    def test_of_anything(self, text: bytes) -> None:
        fastmap.has_list_beside(text, b"i", (), ())
        for at in range(len(text)):
            each = memoryview(text)[at:]
            fastmap.has_list_beside(text, b"i", (each,), (each,))


def everything() -> fastmap.Plan:
    """Return a plan that uses every construct and conversion on ``raw`` and ``text``."""
    upper = spec.Derivation(lambda text: [text.upper()], outputs=1)
    conversions: tuple[spec.Conversion, ...] = (
        spec.Json(),
        spec.Json(null=False, falsy=False),
        spec.String(none_of=("null",)),
        spec.String(empty=True, one_of=("a", "")),
        spec.Number(),
        spec.Boolean(),
        spec.Time(),
        spec.UniqueId(("0",)),
        spec.Ip(),
        spec.Derived(upper, 0),
    )
    fields = {
        f"{path}{number}": value(path, conversion, "label")
        for number, conversion in enumerate(conversions)
        for path in ("raw.k", "raw.k.k", "raw", "text")
    }
    lookup = spec.Lookup(RAW, value("text", spec.String()))
    join = spec.Join(("<", value("raw.k", spec.String()), value("text", spec.String()), ">"))
    body = spec.Object(
        (
            spec.Fields((*fields.items(), ("first", spec.First((lookup, join))))),
            spec.Spread(RAW, frozenset({"omitted"})),
            spec.Fields((("k", spec.Object((spec.Spread(spec.Path("raw", ("k",))),))),)),
        )
    )
    items = record(
        spec.Object((spec.Spread(spec.Path(spec.ITEM)), spec.Fields((("p", item("k")),)))),
        each=spec.Path("raw", ("k",)),
    )
    when = (spec.Has(join), spec.IsObject(RAW), spec.NotEmpty(RAW))
    return fastmap.compile(
        spec.Mapping(("raw", "text"), (record(body), record(body, when=when), items))
    )


EVERYTHING = everything()


class TestKeys:
    @pytest.mark.parametrize(
        "raw",
        [
            b'{"a":1,"a":2}',
            b'{"a":1,"b":0,"a":[2],"a":{"c":3}}',
            b'{"\\u0061":1,"a":2}',
            b'{"a":1,"\\u0061":2}',
            b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}',
            b'{"":1,"":2}',
            b'{"a\\/b":1,"a/b":2}',
            b'{"\\"":1,"\\u0022":2}',
        ],
    )
    def test_last_of_repeated_keys_wins_in_any_spelling(self, raw: bytes) -> None:
        assert copied(raw) == tokens(raw)

    def test_last_of_repeated_keys_wins_where_a_path_leads(self) -> None:
        read = record({"b": value("raw.a.b"), "a": value("raw.a")})
        for raw, expected in [
            (b'{"a":{"b":1},"a":{"b":2}}', '{"b":2,"a":{"b":2}}'),
            (b'{"a":{"b":1},"a":{"c":2}}', '{"a":{"c":2}}'),
            (b'{"a":{"b":1},"a":5}', '{"a":5}'),
            (b'{"a":5,"\\u0061":{"b":1}}', '{"b":1,"a":{"b":1}}'),
            (b'{"a":{"b":1,"b":2}}', '{"b":2,"a":{"b":1,"b":2}}'),
        ]:
            plan, out = fastmap.compile(spec.Mapping(("raw",), (read,))), fastmap.Buffer()
            plan.run(SimpleNamespace(raw=raw), [out], 0)
            # What is copied whole keeps its inside as it is.
            assert tokens(out.take()) == tokens(expected)

    def test_escaped_spelling_of_a_mapped_key_is_that_key(self) -> None:
        mapped = spec.Fields((("distinct_id", spec.Const("mapped")),))
        raw = b'{"\\u0064istinct_id":"own","\\u006fmitted":1}'

        own_wins = record(spec.Object((mapped, spec.Spread(RAW, frozenset({"omitted"})))))
        assert records(own_wins, raw=raw) == [{"distinct_id": "own"}]
        mapped_wins = record(spec.Object((spec.Spread(RAW, frozenset({"omitted"})), mapped)))
        assert records(mapped_wins, raw=raw) == [{"distinct_id": "mapped"}]
        reserved = record(spec.Object((mapped, spec.Spread(RAW, frozenset({"distinct_id"})))))
        assert records(reserved, raw=b'{"\\u0064istinct_id":"own"}') == [{"distinct_id": "mapped"}]

    def test_escaped_key_leads_to_its_value(self) -> None:
        assert records(record({"v": value("raw.ab.c")}), raw=b'{"\\u0061b":{"\\u0063":1}}') == [
            {"v": Token("1")}
        ]

    def test_keys_that_only_look_alike_stay_apart(self) -> None:
        raw = b'{"a":1,"A":2,"a ":3,"a\\u0000":4,"\\\\u0061":5,"\\ud800":6,"\\ud801":7}'
        assert copied(raw) == tokens(raw)

    def test_many_keys_stay_fast(self) -> None:
        members = [f'"key{i % 9000}":{i}' for i in range(10_000)]
        raw = ("{" + ",".join(members) + "}").encode()
        started = time.perf_counter()
        found = copied(raw)
        took = time.perf_counter() - started

        assert found == tokens(raw)
        assert len(found) == 9000
        assert took < 1  # about 2 ms here; comparing all with all would take seconds

    def test_same_key_ten_thousand_times_stays_fast(self) -> None:
        raw = ("{" + ",".join(f'"k":{i}' for i in range(10_000)) + "}").encode()
        started = time.perf_counter()

        assert copied(raw) == {"k": Token("9999")}
        assert time.perf_counter() - started < 0.5


class TestWhiteSpaceAndNumbers:
    def test_record_of_pretty_printed_json_is_one_line(self) -> None:
        document = {"a": [1, {"b": "x\ny\t"}], "k": {"c": None, "d": ["", {}]}}
        raw = json.dumps(document, indent="\t").replace("\n", "\r\n").encode()
        whole = record({"raw": value("raw"), "k": value("raw.k"), "a": value("raw.a")})
        for wanted, expected in [
            (COPY, document),
            (whole, {"raw": document, "k": document["k"], "a": document["a"]}),
        ]:
            assert records(wanted, raw=raw) == [tokens(json.dumps(expected))]

    def test_white_space_around_values_is_no_part_of_them(self) -> None:
        raw = b' \r\n\t{ \t"k" \n: \r1 , "x":\n"y"\t} \n'
        assert records(record({"k": value("raw.k"), "all": value("raw")}), raw=raw) == [
            {"k": Token("1"), "all": {"k": Token("1"), "x": "y"}}
        ]

    @pytest.mark.parametrize(
        "number", ["0", "-0", "1.10", "1e400", "-1E-400", "0.1e+1", "9" * 400, "0." + "3" * 400]
    )
    def test_numbers_keep_their_digits(self, number: str) -> None:
        raw = f'{{"k":{number},"l":[{number}]}}'.encode()
        assert copied(raw) == {"k": Token(number), "l": [Token(number)]}
        is_one = math.isfinite(float(number))  # what is too large for any reader is no number
        assert records(record({"v": value("raw.k", spec.Number())}), raw=raw) == [
            {"v": Token(number)} if is_one else {}
        ]


class TestShape:
    @pytest.mark.parametrize("depth", [10, 1000, 100_000])
    def test_deep_nesting_is_carried_over(self, depth: int) -> None:
        raw = b'{"k":' + b'{"a":[' * depth + b"]}" * depth + b"}"
        plan, out = fastmap.compile(spec.Mapping(("raw",), (COPY,))), fastmap.Buffer()

        assert plan.run(SimpleNamespace(raw=raw), [out], 0) == 1
        assert out.take() == raw + b"\n"

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_raw_input_may_be_any_buffer(self, kind: Any) -> None:
        assert copied(kind(b'{"a":1}')) == {"a": Token("1")}

    def test_buffers_are_released_after_a_run(self) -> None:
        plan, out = fastmap.compile(spec.Mapping(("raw",), (COPY,))), fastmap.Buffer()
        for raw in (bytearray(b"{}"), bytearray(b"{")):
            try:
                plan.run(SimpleNamespace(raw=raw), [out], 0)
            except MalformedInput:
                pass
            raw.extend(b" ")  # refused while somebody looks at it

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
    def test_text_with_half_a_surrogate_pair_is_malformed(self, text: str) -> None:
        plan, out = (
            fastmap.compile(spec.Mapping(("text",), (record({"t": value("text")}),))),
            fastmap.Buffer(),
        )

        with pytest.raises(MalformedInput, match="text"):
            plan.run(SimpleNamespace(text=text), [out], 0)
        assert len(out) == 0

    @pytest.mark.parametrize(
        "raw",
        [
            b"{",
            b"}",
            b"]",
            b'"',
            b'"\\',
            b"{]",
            b'{"a"}',
            b'{"a":}',
            b'{"a":1,}',
            b'{"a":1 "b":2}',
            b"{a:1}",
            b'{"a":1}}',
            b'{"a":1}x',
            b"{} {}",
            b'{"a":{"b":1}',
            b",",
            b'{"a":[1}',
        ],
    )
    def test_text_that_is_no_json_is_malformed(self, raw: bytes) -> None:
        out = fastmap.Buffer()

        with pytest.raises(MalformedInput):
            EVERYTHING.run(SimpleNamespace(raw=raw, text=None), [out], 0)
        assert (len(out), out.records) == (0, 0)


def run_everything(raw: bytes, text: str | None) -> list[bytes]:
    """Return the lines of a run; they are whole lines whatever the input is."""
    out = fastmap.Buffer()
    try:
        result = EVERYTHING.run(SimpleNamespace(raw=raw, text=text), [out], 0)
    except MalformedInput:
        assert (len(out), out.records) == (0, 0)
        return []
    lines = out.take().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == result
    return lines


WHOLE = json.dumps(
    {"k": [{"k": "v\n\u00e9", "n": -1.5e3}, 7, {}], "\u00e9": {"k": [None, True, '\\"']}, "": "😀"},
    indent=1,
).encode()


def test_input_cut_off_at_any_byte_is_malformed() -> None:
    assert len(run_everything(WHOLE, "text")) == 4
    for end in range(1, len(WHOLE)):
        with pytest.raises(MalformedInput):
            EVERYTHING.run(SimpleNamespace(raw=WHOLE[:end], text=None), [fastmap.Buffer()], 0)


def test_input_with_any_byte_missing_or_changed_does_not_crash() -> None:
    for place in range(len(WHOLE)):
        run_everything(WHOLE[:place] + WHOLE[place + 1 :], "text")
        for byte in b'"\\{}[]:,\n0u\x00\xff':
            run_everything(WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :], "text")


@settings(deadline=None)
@given(raw=st.binary(), text=st.none() | st.text(st.characters()))
def test_random_bytes_do_not_crash(raw: bytes, text: str | None) -> None:
    run_everything(raw, text)
    run_everything(b'{"k":' + raw + b"}", text)


JSON_PIECES = [*'{}[]",:\\ \n', '"k":', '{"k":', "[{", "null", "true", "-1.5e3", '"\\u0', "\\ud8"]


@settings(deadline=None)
@given(pieces=st.lists(st.sampled_from(JSON_PIECES)), text=st.none() | st.text(max_size=3))
def test_random_pieces_of_json_do_not_crash(pieces: list[str], text: str | None) -> None:
    run_everything("".join(pieces).encode(), text)


class Member:
    """A member as it may be written: the key plain or escaped, with white space or without."""

    def __init__(self, key: str, text: str, escaped: bool, space: str) -> None:
        written = json.dumps(key)
        if escaped:
            written = '"' + "".join(f"\\u{ord(c):04x}" for c in key) + '"'
        self.text = f"{space}{written}{space}:{space}{text}{space}"


KEYS = st.sampled_from(["", "a", "b", "k", "omitted", "text", 'q"\\', "\u00e9", "n\n"]) | st.text(
    st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=4
)
SPACE = st.sampled_from(["", "", " ", "\n\t", "\r\n"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["2021-08-17", "1.2.3.4", "null", "5", "true"])
)
SCALAR_TEXTS = st.builds(
    lambda scalar, ascii_only: json.dumps(scalar, ensure_ascii=ascii_only), SCALARS, st.booleans()
)


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds(Member, KEYS, values, st.booleans(), SPACE)
    return st.builds(
        lambda found, space: "{" + (",".join(one.text for one in found) or space) + "}",
        st.lists(members, max_size=12),
        SPACE,
    )


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda found, space: "[" + f",{space}".join(found) + "]",
        st.lists(values, max_size=5),
        SPACE,
    )


OBJECTS = objects(st.recursive(SCALAR_TEXTS, lambda inner: objects(inner) | arrays(inner)))


@settings(deadline=None, max_examples=60)
@given(OBJECTS)
def test_copy_of_any_object_says_the_same_without_repeated_keys(raw: str) -> None:
    plan, out = fastmap.compile(spec.Mapping(("raw",), (COPY,))), fastmap.Buffer()
    assert plan.run(SimpleNamespace(raw=raw.encode()), [out], 0) == 1
    line = out.take().removesuffix(b"\n")

    expected = {key: one for key, one in tokens(raw).items() if key != "omitted"}
    assert tokens(line) == expected
    assert repeated_keys(line) == []


def repeated_keys(line: bytes) -> list[str]:
    """Return the keys that the outermost object has more than once."""
    outermost: list[list[tuple[str, Any]]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = [pairs]  # the last object to end is the outermost
        return dict(pairs)

    json.loads(line, object_pairs_hook=remember)
    keys = [key for key, _ in outermost[0]]
    return [key for key in set(keys) if keys.count(key) > 1]


@settings(deadline=None, max_examples=60)
@given(raw=OBJECTS, text=st.none() | st.text(st.characters(codec="utf-8")))
def test_every_line_of_valid_input_is_valid_json(raw: str, text: str | None) -> None:
    for line in run_everything(raw.encode(), text):
        assert isinstance(tokens(line), dict)
        assert repeated_keys(line) == []


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
@example(b"\xed\xa0\x80")  # half a surrogate pair
@example(b"\xf4\x90\x80\x80")  # beyond U+10FFFF
@example(b"\xc0\xaf")  # longer than it needs to be
@example(b"a" * 31 + b"\xc3")
def test_is_utf8_agrees_with_the_decoder(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        assert not fastmap.is_utf8(data)
    else:
        assert fastmap.is_utf8(data)


def depth_of(text: bytes) -> int:
    deepest = depth = 0
    for token in re.findall(rb'"(?:[^"\\]|\\.?)*(?:"|\Z)|[^"]', text, re.DOTALL):
        depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
        deepest = max(deepest, depth)
    return deepest


_BRACKETS = (
    *('"', '"}"', '"["', '"{', "\\", '\\"', "e;", "[" * 20, "]" * 19, '{"a":' * 9),
    *(" " * 13, " " * 64, "x" * 100, '"' + "{" * 70 + '"'),
    *"[]{}",
)


@given(st.lists(st.sampled_from(_BRACKETS), max_size=60).map("".join).map(str.encode))
@example(b"")
@example(b"{[" * 5000)
@example(b'["' + b"[" * 9000 + b'"]')
def test_depth_is_that_of_the_containers(text: bytes) -> None:
    depth = depth_of(text)
    assert not fastmap.is_deeper(text, depth)
    assert not depth or fastmap.is_deeper(text, depth - 1)
    assert fastmap.is_deeper(msgspec.Raw(text), 0) == (depth > 0)


_PIECES = (
    *(rf"\u{high}{low}" for high in ("d8", "DB", "dc", "Df", "e0", "00") for low in ("00", "fF")),
    *("\\\\", "\\", "\\u", "\\ud", "\\ud8", "\\ud80", "u", "d800", "x", "\\n", '"', "\\u0041"),
)


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
@example(r"\ud83d\ude00")
@example(r"\ud83d\ud83d\ude00\ude00")
@example(r"\\ud83d")
@example(r"\ud83d\ud")
def test_lone_surrogates_become_replacement_characters(text: str) -> None:
    pairs = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    halves = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
    expected = re.sub(
        rf"(?s){pairs}|({halves})|\\.?",
        lambda found: r"\ufffd" if found[1] else found[0],
        text,
    )
    assert fastmap.without_lone_surrogates(text.encode()) == expected.encode()


def test_text_without_lone_surrogates_is_not_copied() -> None:
    text = rb'{"a":"\ud83d\ude00 \n"}'
    assert fastmap.without_lone_surrogates(text) is text
