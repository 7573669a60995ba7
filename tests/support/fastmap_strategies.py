"""Random events and random mappings that often meet: both are made of the same few keys and texts.

Everything is decided by bytes, those of Hypothesis or of a fuzzer; fewer and lower ones make
simpler cases.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from hypothesis import strategies as st

from fastmap import spec

__all__ = ["OUTPUTS", "Case", "Sent", "case_of", "cases"]

_T = TypeVar("_T")

INPUTS = ("id", "time", "name", "context", "properties")
OUTPUTS = 2

_KEYS = ("a", "b", "c", "é")
_ODD_KEYS = ("", 'q"\\', "$insert_id", "x" * 20, "😀" * 5, "k" * 45)
_LABELS = ("", "one", "two", "three")
_UUID = "6e3a5e7c-1bd6-4b0c-9d5c-0f6c1f5f9a01"
_WORDS = ("null", "0", "anon", "00000000-0000-0000-0000-000000000000")
_TEXTS = (
    *("", " ", "a", "b", "c", "abc", "ABBA", "é", "1", "0", " 1.50 ", "-0", "1e5", "1e", "1e999"),
    *("true", "false", "True", "null", " ANON\t", "NaN", "0x1F", "12345678901234567890", "01"),
    *("ünïcödé", "İstanbul", "ß", "😀 smile", "line\nbreak", 'quote"', "back\\slash", "a" * 40),
    *("\x00\x1f\x7f", "\u2028", "a*b?c", "products", _UUID, "prefix-" + _UUID, "é" + _UUID),
    *(_WORDS[3], "x-" + _WORDS[3], _UUID.replace("-", "_"), "/" * 15, "x" * 16, '"' * 17),
    *("1.2.3.4", "1.2.3", "::1", "2001:db8::8a2e:370:7334", "::ffff:1.2.3.4", "fe80::1%eth0"),
    *("2021-08-17", "2021-08-17T15:21:15.449Z", "2021-08-17 15:21", "2021-08-17T24:00:00Z"),
    *("2021-08-17T15:21:15,4494+05:30", "2021-02-30", "0000-01-01", "9999-12-31T23:59:60-2359"),
    *("Tue, 17 Aug 2021 15:21:15 +0200", "1629213675", "1629213675449", "17 Aug 2021"),
)
_NUMBERS = (
    *("0", "-0", "1", "-1", "1.0", "1.50", "0.0", "1e2", "1E+2", "1e-400", "1e400", "-1.5e-7"),
    *("0." + "0" * 40, "1" * 40, "1629213675", "1629213675.4494", "1629213675449", "5", "0.5"),
    *("123456789012345678901234567890.10", "1" + "0" * 400, "100000000000", "1e15", "9e14"),
)


class Dice:
    """Decisions.

    :param data: what decides; when it is used up, the first and simplest choice is taken.
    """

    def __init__(self, data: bytes) -> None:
        self._left = iter(data)

    def roll(self, sides: int) -> int:
        number = next(self._left, 0)
        while sides > 256:
            number, sides = number * 256 + next(self._left, 0), sides // 256
        return number % sides

    def one_of(self, choices: Sequence[_T]) -> _T:
        return choices[self.roll(len(choices))]

    def chance(self, percent: int) -> bool:
        return self.roll(100) >= 100 - percent

    def several(self, make: Callable[[], _T], least: int, most: int) -> list[_T]:
        return [make() for _ in range(least + self.roll(most - least + 1))]


Case: TypeAlias = "tuple[spec.Mapping | spec.Choice, list[Sent]]"
"""A mapping and events for it."""


def cases() -> st.SearchStrategy[Case]:
    """Random cases, most of them with something in them."""
    return st.binary(min_size=600, max_size=2000).map(case_of)


def case_of(data: bytes) -> Case:
    """Return the case that bytes stand for."""
    dice = Dice(data)
    wanted = _any_mapping(dice)
    sent = dice.several(lambda: _event(dice), 1, 3)
    return wanted, sent + dice.several(lambda: _repetitive_event(dice, sent), 1, 3)


# -- events ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as a mapping reads it; one attribute an input."""

    id: object = None
    time: object = None
    name: object = None
    context: object = field(default=b"")
    properties: object = field(default=b"")


def _event(dice: Dice) -> Sent:
    """Return an event with inputs of every kind that is allowed."""
    return Sent(_steering(dice), _steering(dice), _steering(dice), _carried(dice), _carried(dice))


def _repetitive_event(dice: Dice, sent: Sequence[Sent]) -> Sent:
    """Return an event whose inputs all came before."""
    return Sent(*(getattr(dice.one_of(sent), name) for name in INPUTS))


def _steering(dice: Dice) -> object:
    makers: tuple[Callable[[], object], ...] = (
        lambda: None,
        lambda: _text(dice),
        lambda: _text(dice),
        lambda: dice.one_of((0, 1, -5, 1629213675, 1629213675449, 10**30, False, True)),
        lambda: dice.one_of((0.0, -0.0, 1.5, 1e300, 1629213675.25, float("nan"))),
        lambda: _json(dice, 1).encode(),
    )
    return dice.one_of(makers)()


def _carried(dice: Dice) -> bytes:
    text = _object(dice, 2, 3, 9) if dice.chance(85) else dice.one_of(("", " ", _json(dice, 2)))
    return (_space(dice) + text + _space(dice)).encode()


def _json(dice: Dice, depth: int) -> str:
    """Return JSON in any spelling: white space, escapes, odd numbers, repeated keys."""
    if depth and dice.chance(40):
        if dice.chance(60):
            return _object(dice, depth - 1)
        space, are_objects = _space(dice), dice.chance(60)

        def item() -> str:
            return _object(dice, depth - 1) if are_objects else _json(dice, depth - 1)

        items = dice.several(item, 0, 3)
        return f"[{space}{f'{space},'.join(items)}{space}]"
    if dice.chance(25):
        return dice.one_of(("null", "true", "false"))
    return _number(dice) if dice.chance(40) else _string(dice, _text(dice))


def _object(dice: Dice, depth: int, least: int = 0, most: int = 4) -> str:
    space = _space(dice)

    def member() -> str:
        return f"{_string(dice, _key(dice))}{space}:{_space(dice)}{_json(dice, depth)}"

    return f"{{{space}{f'{space},'.join(dice.several(member, least, most))}{space}}}"


def _space(dice: Dice) -> str:
    return dice.one_of(("", "", "", " ", "\n", "\t \r\n"))


def _key(dice: Dice) -> str:
    return dice.one_of(_KEYS) if dice.chance(85) else dice.one_of((*_ODD_KEYS, "d", "n\n"))


def _text(dice: Dice) -> str:
    if dice.chance(85):
        return dice.one_of(_TEXTS)
    ranges = ((0x20, 0x5F), (0, 0x20), (0xA0, 0x700), (0xE000, 0x1FFF), (0x1F300, 0x700))

    def character() -> str:
        first, count = dice.one_of(ranges)
        return chr(first + dice.roll(count))

    return "".join(dice.several(character, 0, 20))


def _string(dice: Dice, text: str) -> str:
    token = json.dumps(text, ensure_ascii=dice.chance(30))
    if dice.chance(10):
        units = text.encode("utf-16-be")
        pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
        token = '"' + "".join(f"\\u{pair}" for pair in pairs) + '"'
    return token.replace("/", "\\/") if dice.chance(5) else token


def _number(dice: Dice) -> str:
    if dice.chance(70):
        return dice.one_of(_NUMBERS)
    sign, exponent = dice.one_of(("", "-")), dice.one_of(("", "", "e5", "E-11", "e+308"))
    fraction = dice.one_of(("", f".{dice.roll(10**6)}"))
    return f"{sign}{dice.roll(10 ** dice.roll(20))}{fraction}{exponent}"


# -- mappings ----------------------------------------------------------------------------------


def _derive(text: str) -> tuple[str | None, str | None]:
    return text[::-1] or None, None if "a" in text else text + '"\n'


def _describe(text: str) -> tuple[str | None]:
    value = json.loads(text)
    return (None if value is False else f"{type(value).__name__} {value!r:.9}",)


_DERIVATION = spec.Derivation(_derive, outputs=2, remembered=3)
_DESCRIPTION = spec.Derivation(_describe, outputs=1, remembered=3, takes_json=True)
_STRINGS = (
    spec.String(),
    spec.String(empty=True),
    spec.String(none_of=_WORDS),
    spec.String(one_of=("a", "1", "é", 'quote"')),
)
_JSONS = (spec.Json(), spec.Json(null=False), spec.Json(falsy=False))
_CONVERSIONS: tuple[spec.Conversion, ...] = (
    *_JSONS,
    *_STRINGS,
    spec.Id(),
    spec.Id(none_of=_WORDS),
    spec.Id(several=True),
    spec.Number(),
    spec.Boolean(),
    spec.Time(),
    spec.UniqueId(),
    spec.UniqueId(none_of=_WORDS),
    spec.Ip(),
    spec.Derived(_DERIVATION, 0),
    spec.Derived(_DERIVATION, 1),
    spec.Derived(_DESCRIPTION, 0),
)


def _any_mapping(dice: Dice) -> spec.Mapping | spec.Choice:
    """Return a mapping or a choice of mappings, of any constructs of the language."""
    if dice.chance(60):
        return _mapping(dice)

    def case() -> tuple[spec.Condition | None, spec.Mapping]:
        return (_condition(dice, 1) if dice.chance(50) else None), _mapping(dice)

    skip = dice.several(lambda: (_condition(dice, 1), "switched off"), 0, int(dice.chance(20)))
    return spec.Choice(tuple(dice.several(case, 1, 3)), tuple(skip), "no case")


def _mapping(dice: Dice) -> spec.Mapping:
    require = reject = 0
    if dice.chance(25):
        require, reject = dice.roll(3), dice.roll(2)
    return spec.Mapping(
        INPUTS,
        tuple(dice.several(lambda: _record(dice), 1, 3)),
        tuple((_expression(dice, 1), f"no {n}") for n in range(require)),
        tuple((_condition(dice, 1), f"bad {n}") for n in range(reject)),
    )


def _record(dice: Dice) -> spec.Record:
    conditions = 1 + dice.roll(2) if dice.chance(25) else 0
    is_each = dice.chance(35)
    return spec.Record(
        dice.roll(OUTPUTS),
        _body(dice, 1, is_each=is_each),
        tuple(_condition(dice, 1) for _ in range(conditions)),
        (_expression(dice, 1) if dice.chance(30) else _path(dice, is_each=False))
        if is_each
        else None,
        spec.Limits(1 << 30, dice.roll(6), 1 + dice.roll(4)) if dice.chance(20) else None,
    )


def _body(dice: Dice, depth: int, *, is_each: bool) -> spec.Object:
    def member() -> spec.Expression | spec.Object:
        if depth and dice.chance(15):
            return _body(dice, depth - 1, is_each=is_each)
        return _expression(dice, 2, is_each=is_each)

    def fields() -> spec.Layer:
        return spec.Fields(tuple(dict(dice.several(lambda: (_key(dice), member()), 0, 5)).items()))

    layers = dice.several(fields, 0, 3)
    if dice.chance(50):
        spread = spec.Spread(
            _path(dice, is_each=is_each),
            frozenset(dice.several(lambda: _key(dice), 0, 2)),
            spec.Number() if dice.chance(20) else None,
            dice.one_of(_LABELS),
        )
        layers.insert(dice.roll(len(layers) + 1), spread)
    return spec.Object(tuple(layers))


def _path(dice: Dice, *, is_each: bool) -> spec.Path:
    def step() -> str | int:
        return _key(dice) if dice.chance(85) else dice.one_of((0, 1, 3))

    if is_each and dice.chance(50):
        root = spec.ITEM
    elif dice.chance(80):
        root = dice.one_of(("properties", "context"))
    else:
        root = dice.one_of((*INPUTS, spec.ITEM))
    return spec.Path(root, tuple(dice.several(step, 0 if dice.chance(30) else 1, 2)))


def _expression(dice: Dice, depth: int, *, is_each: bool = False) -> spec.Expression:
    if depth == 0 or dice.chance(60):
        if dice.chance(10):
            return spec.Const(dice.one_of(("", "a", 'é"\n', 0, -1, 1.5, True, False, None)))
        return _value(dice, _CONVERSIONS, is_each=is_each)

    def inner() -> spec.Expression:
        return _expression(dice, depth - 1, is_each=is_each)

    def part() -> str | spec.Value:
        if dice.chance(40):
            return dice.one_of(("", "-", 'é"\\'))
        return _value(dice, _STRINGS, is_each=is_each)

    def branch() -> spec.Expression | None:
        return inner() if dice.chance(80) else None

    cases_of: tuple[Literal["lower", "upper"], ...] = ("lower", "upper")
    makers: tuple[Callable[[], spec.Expression], ...] = (
        lambda: spec.First(tuple(dice.several(inner, 0, 3))),
        lambda: spec.Join(tuple(dice.several(part, 0, 3)), every=dice.chance(50)),
        lambda: spec.Lookup(_path(dice, is_each=is_each), inner(), dice.one_of(_JSONS)),
        lambda: spec.Converted(inner(), dice.one_of(_CONVERSIONS), dice.one_of(_LABELS)),
        lambda: spec.If(_condition(dice, depth - 1, is_each=is_each), branch(), branch()),
        lambda: spec.Case(inner(), dice.one_of(cases_of)),
        lambda: spec.Replace(
            inner(),
            dice.one_of(("a", "A", ".", "1", "é", "İ", "\\", "true")),
            dice.one_of(("", "\\1", '"', "aa")),
            ignore_case=dice.chance(50),
            every=dice.chance(50),
        ),
    )
    return dice.one_of(makers)()


def _value(dice: Dice, conversions: Sequence[spec.Conversion], *, is_each: bool) -> spec.Value:
    path = _path(dice, is_each=is_each)
    return spec.Value(path, dice.one_of(conversions), dice.one_of(_LABELS))


def _condition(dice: Dice, depth: int, *, is_each: bool = False) -> spec.Condition:
    def of() -> spec.Expression:
        return _expression(dice, depth, is_each=is_each)

    def inner() -> spec.Condition:
        return _condition(dice, depth - 1, is_each=is_each)

    def path() -> spec.Path:
        return _path(dice, is_each=is_each)

    if depth and dice.chance(40):
        several: tuple[Callable[[], spec.Condition], ...] = (
            lambda: spec.Not(inner()),
            lambda: spec.Every(tuple(dice.several(inner, 0, 3))),
            lambda: spec.Some(tuple(dice.several(inner, 0, 3))),
        )
        return dice.one_of(several)()
    wanted: tuple[str | float | bool, ...] = ("", "a", "1", "é", 'quote"', 0, 1, 1.5, True)
    operators: tuple[Literal["<", "<=", ">", ">="], ...] = ("<", "<=", ">", ">=")
    pattern = ("*", "*", "?", "a", "b", "\\", "é", "1", ".", "\\*", "😀")
    makers: tuple[Callable[[], spec.Condition], ...] = (
        lambda: spec.Has(of()),
        lambda: spec.IsObject(path()),
        lambda: spec.NotEmpty(path()),
        lambda: spec.MoreThan(path(), dice.roll(4)),
        lambda: spec.Exists(of()),
        lambda: spec.Filled(of()),
        lambda: spec.Equals(of(), dice.one_of(wanted)),
        lambda: spec.Compare(of(), dice.one_of(operators), dice.one_of((0, 1, -1.5, 1e11))),
        lambda: spec.Contains(of(), dice.one_of(("", "a", "é", '"', "1", "smile"))),
        lambda: spec.Matches(of(), "".join(dice.several(lambda: dice.one_of(pattern), 0, 5))),
    )
    return dice.one_of(makers)()
