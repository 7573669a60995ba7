"""Each conversion: one value in, one value out, or none."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

import fastmap
from fastmap import spec
from tests.support.plans import convert, record, records, run, value

LONG = "1" + "0123456789" * 40


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ('"x"', '"x"'),
        ('" x "', '" x "'),
        ('"a\\nb\\u00e9\\/"', '"a\\nb\\u00e9\\/"'),
        ("5", '"5"'),
        ("-0", '"-0"'),
        ("1.50", '"1.50"'),
        (LONG, f'"{LONG}"'),
        ("true", '"true"'),
        ("false", '"false"'),
        ('["x"]', '"x"'),
        ("[ 5 ]", '"5"'),
        ("null", None),
        ('""', None),
        ('[""]', None),
        ("[]", None),
        ("[null]", None),
        ('["a","b"]', None),
        ('[["x"]]', None),
        ('[{"a":1}]', None),
        ('{"a":1}', None),
    ],
)
def test_string_takes_scalars_and_lists_of_one(token: str, expected: str | None) -> None:
    assert convert(spec.String(), token) == expected


def test_string_that_may_be_empty_keeps_the_empty_string() -> None:
    assert convert(spec.String(empty=True), '""') == '""'
    assert convert(spec.String(empty=True), "null") is None


@pytest.mark.parametrize(
    "token",
    ['"null"', '"NULL"', '" null "', '"\\tNull\\n"', '"n\\u0075ll"', '["null"]', '"0"', "0"],
)
def test_string_none_of_compares_without_case_space_and_spelling(token: str) -> None:
    assert convert(spec.String(none_of=("null", "0")), token) is None


@pytest.mark.parametrize("token", ['"nulls"', '"nul"', '"00"', '"x null"', '"n ull"'])
def test_string_none_of_compares_whole_texts(token: str) -> None:
    assert convert(spec.String(none_of=("null", "0")), token) == token


def test_string_one_of_compares_exactly() -> None:
    only = spec.String(one_of=("Iterable",))
    assert convert(only, '"Iterable"') == '"Iterable"'
    assert convert(only, '"Iter\\u0061ble"') == '"Iter\\u0061ble"'
    assert convert(only, '"iterable"') is None
    assert convert(only, '"Iterable "') is None


@pytest.mark.parametrize(
    "text", ['quote " backslash \\', "line\nfeed\ttab\r", "\x00\x1f\x7f", "é€😀", "</script>"]
)
def test_text_input_is_escaped_where_json_needs_it(text: str) -> None:
    _, written = run(record({"v": value("name", spec.String())}), name=text)

    assert json.loads(written) == {"v": text}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("5", "5"),
        ("-0", "-0"),
        ("1.10", "1.10"),
        ("1E+2", "1E+2"),
        (LONG[:201], LONG[:201]),
        (LONG, None),
        (f'"{LONG}"', None),
        ('"5"', "5"),
        ('" -1.50 "', "-1.50"),
        ('"\\u0035"', "5"),
        ("true", "1"),
        ("false", "0"),
        ("[7]", "7"),
        ('["7"]', "7"),
        ('""', None),
        ('" "', None),
        ("null", None),
        ('"+5"', "5"),
        ('".5"', "0.5"),
        ('"5."', "5"),
        ('"+.5"', "0.5"),
        ('"-5.e2"', "-5e2"),
        ('"5\\n"', "5"),
        ('"\u00a05\t"', "5"),
        ('"1,234.50"', "1234.50"),
        ('"1.234,50"', "1234.50"),
        ('"1 234,50"', "1234.50"),
        ('"1\'234"', "1234"),
        ('"1,234,567"', "1234567"),
        ('"-1.234.567"', "-1234567"),
        ('"€5"', None),
        ('"5 €"', None),
        ('"1,234"', None),
        ('"1,23,456"', None),
        ('"12,345,67"', None),
        ('"."', None),
        ('"+"', None),
        ('"-."', None),
        ('"5 5"', None),
        ('"--5"', None),
        ('"\u0665"', None),
        (f'"+{LONG}"', None),
        ("1e308", "1e308"),
        ("1e400", None),
        ("-1E400", None),
        ('"1e400"', None),
        ('"-.5e999"', None),
        ("1e-400", "1e-400"),
        (f"1{'0' * 400}", None),
        (f'"1{"0" * 400}"', None),
        ('"05"', None),
        ('"1e"', None),
        ('"0x10"', None),
        ('"1_000"', None),
        ('"1,5"', None),
        ('"NaN"', None),
        ('"Infinity"', None),
        ('"true"', None),
        ('"5 apples"', None),
        ("{}", None),
        ("[1,2]", None),
    ],
)
def test_number_keeps_its_digits(token: str, expected: str | None) -> None:
    assert convert(spec.Number(), token) == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("true", "true"),
        ("false", "false"),
        ('"true"', "true"),
        ('"false"', "false"),
        ('"tru\\u0065"', "true"),
        ("1", "true"),
        ("0", "false"),
        ("[true]", "true"),
        ("2", None),
        ("-1", None),
        ("10", None),
        ('"1"', None),
        ('"TRUE"', None),
        ('"yes"', None),
        ('""', None),
        ("null", None),
        ("{}", None),
    ],
)
def test_boolean_takes_its_four_spellings(token: str, expected: str | None) -> None:
    assert convert(spec.Boolean(), token) == expected


@pytest.mark.parametrize(
    "token", ['"x"', '""', "0", "1.10", LONG, "1e400", "false", "null", "[1, 2]", '{"a" : {}}']
)
def test_json_is_copied_as_it_is(token: str) -> None:
    assert convert(spec.Json(), token) == token


@pytest.mark.parametrize("token", ["null", "false", "0", "-0", "0.0", "0e9", '""'])
def test_json_that_is_not_falsy_has_no_value_for_falsy_ones(token: str) -> None:
    assert convert(spec.Json(falsy=False), token) is None


@pytest.mark.parametrize("token", ['"0"', "1", "0.1", "true", "[]", "{}", '"false"'])
def test_json_that_is_not_falsy_keeps_the_others(token: str) -> None:
    assert convert(spec.Json(falsy=False), token) == token


def test_json_that_is_not_null_leaves_out_null_alone() -> None:
    assert convert(spec.Json(null=False), "null") is None
    assert convert(spec.Json(null=False), "false") == "false"


@pytest.mark.parametrize(
    "address", ["1.2.3.4", "255.255.255.255", "::1", "2001:db8::ff00:42:8329", "::ffff:1.2.3.4"]
)
def test_ip_address_is_kept(address: str) -> None:
    assert convert(spec.Ip(), f'"{address}"') == f'"{address}"'
    assert records(record({"v": value("ip", spec.Ip())}), ip=address) == [{"v": address}]


@pytest.mark.parametrize(
    "token",
    [
        '""',
        '"unknown"',
        '"1.2.3"',
        '"1.2.3.256"',
        '"1.2.3.4:80"',
        '"fe80::1%eth0"',
        '"1.2.3.4 "',
        "0",
        "null",
        '["1.2.3.4"]',
        "{}",
        '"' + "1" * 100 + '"',
        '"1.2.3.4\\u0000"',
    ],
)
def test_ip_takes_nothing_else(token: str) -> None:
    assert convert(spec.Ip(), token) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (5, "5"),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (True, "true"),
        (False, "false"),
        (10**300, str(10**300)),
        (None, None),
        (float("inf"), None),
        (float("nan"), None),
        ([1], None),
        (object(), None),
    ],
)
def test_input_that_is_no_text_is_its_json_or_nothing(given: object, expected: str | None) -> None:
    _, written = run(record({"v": value("n")}), n=given)

    assert written.decode() == ("{}\n" if expected is None else f'{{"v":{expected}}}\n')


class Counted:
    """A derivation's function that knows how often it was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, text: str) -> tuple[str | None, str | None]:
        self.calls.append(text)
        return text.upper(), None if text == "none" else f'{len(text)} "letters"'


def derived(counted: Counted, **options: Any) -> tuple[fastmap.Plan, fastmap.Buffer]:
    derivation = spec.Derivation(counted, outputs=2, **options)
    fields = {
        name: value("raw.k", spec.Derived(derivation, output))
        for output, name in enumerate(("loud", "length"))
    }
    return fastmap.compile(spec.Mapping(("raw",), (record(dict(fields)),))), fastmap.Buffer()


def derive(plan: fastmap.Plan, out: fastmap.Buffer, token: str) -> object:
    plan.run(SimpleNamespace(raw=f'{{"k":{token}}}'.encode()), [out], 0)
    return json.loads(out.take())


def test_derived_strings_are_computed_once_for_a_text() -> None:
    counted = Counted()
    plan, out = derived(counted)

    for token in ('"abc"', '"abc"', '"\\u0061bc"'):
        assert derive(plan, out, token) == {"loud": "ABC", "length": '3 "letters"'}
    assert counted.calls == ["abc"]


def test_derivation_without_one_output_leaves_that_member_out() -> None:
    plan, out = derived(Counted())

    assert derive(plan, out, '"none"') == {"loud": "NONE"}


@pytest.mark.parametrize("token", ["null", '""', "5", "[]", "{}"])
def test_derivation_of_what_is_no_text_gives_nothing(token: str) -> None:
    counted = Counted()
    plan, out = derived(counted)

    assert derive(plan, out, token) == {}
    assert counted.calls == []


def test_derivations_memory_starts_anew_when_it_is_full() -> None:
    counted = Counted()
    plan, out = derived(counted, remembered=2)

    for name in ("a", "b", "a", "c", "c", "a"):
        derive(plan, out, f'"{name}"')
    assert counted.calls == ["a", "b", "c", "a"]


def test_derivation_of_a_long_text_is_not_remembered() -> None:
    counted = Counted()
    plan, out = derived(counted)

    long, other = "x" * 2000, "y" * 2000
    for text in (long, other, long):
        assert derive(plan, out, f'"{text}"') == {"loud": text.upper(), "length": '2000 "letters"'}
    assert counted.calls == [long, other, long]


def test_derivation_that_fails_writes_nothing() -> None:
    def fail(text: str) -> tuple[str]:
        raise LookupError(text)

    body = record(
        {"a": spec.Const(1), "v": value("t", spec.Derived(spec.Derivation(fail, outputs=1), 0))}
    )
    plan = fastmap.compile(spec.Mapping(("t",), (body,)))
    out = fastmap.Buffer()

    with pytest.raises(LookupError):
        plan.run(SimpleNamespace(t="x"), [out], 0)
    assert (len(out), out.records) == (0, 0)


@pytest.mark.parametrize(
    ("token", "seen"),
    [
        ('"a\\u0062"', ['"a\\u0062"']),
        ('{"a": [1.50]}', ['{"a": [1.50]}']),
        ("false", ["false"]),
        ("0", ["0"]),
        ("null", []),
        ('""', []),
        ("{ }", []),
        ("[\t]", []),
    ],
)
def test_derivation_of_json_takes_any_value_that_holds_something(
    token: str, seen: list[str]
) -> None:
    counted = Counted()
    plan, out = derived(counted, takes_json=True)
    for _ in range(2):
        derive(plan, out, token)
    assert counted.calls == seen
