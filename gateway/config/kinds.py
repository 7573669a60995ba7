"""What can be said of keys and values: how a kind is read, what a key means, its unit.

Schemas are ``msgspec`` structs whose types carry these in ``Annotated``.  Here such types are made
and looked at; what they are for is the business of ``gateway.config``.
"""

import functools
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

__all__ = [
    "Doc",
    "Key",
    "Leaf",
    "Unit",
    "described",
    "http_url",
    "item_of",
    "keys_of",
    "leaf_of",
    "matching",
    "measured",
    "names_of",
    "tables_of",
    "tag_of",
    "unit_of",
]

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_MEASURE = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)", re.A)
_MEASURES = re.compile(rf"{_NUMBER}(?:\s*[A-Za-z]+(?:\s*{_NUMBER}\s*[A-Za-z]+)*)?", re.A)


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """How one kind of value is read; stands in the ``Annotated`` of its type.

    :param expected: what is accepted, for a person.
    :param parse: returns the value read, or raises ValueError.
    :param hidden: never repeat the value that was given.
    :param may_be_list: whether a list of such values is accepted, too; it becomes a tuple.
    :param schema: what is accepted, as JSON Schema, None for any string; it may say less than
        ``parse`` checks.
    """

    expected: str
    parse: Callable[[object], object]
    hidden: bool = False
    may_be_list: bool = False
    schema: Mapping[str, Any] | None = None


class Doc(NamedTuple):
    """What a key means, for people; stands in the ``Annotated`` of its type.

    :param text: one or two sentences of Markdown, with links as from a page in ``docs``.
    :param default: what stands for the default where the value itself does not say it.
    """

    text: str
    default: str = ""


class Key(NamedTuple):
    """A key of a table.

    :param name: in the file.
    :param field: of the struct.
    :param kind: type of its values, without None.
    :param is_optional: whether it may be None.
    :param is_required: whether it has no default.
    :param default: UNSET where there is none.
    """

    name: str
    field: str
    kind: Any
    is_optional: bool
    is_required: bool
    default: Any
    doc: Doc


class Unit(NamedTuple):
    """How a number is written with a unit, as in "10 MiB".

    :param keys: pattern of the keys whose values are such numbers.
    :param factors: what one of each unit is, in that of the key; by names in small letters.
    :param expected: how it may be written, for a person.
    :param name: what such a number is, in one word.
    :param shown: the units that numbers are shown in, the largest first.
    :param is_composed: whether several may follow one another, the largest first, as in "1h30m".
    """

    keys: re.Pattern[str]
    factors: Mapping[str, float]
    expected: str
    name: str
    shown: Sequence[str]
    is_composed: bool = False

    def show(self, value: float) -> str:
        """Return a number as it may be written."""
        for name in self.shown:
            factor = self.factors[name.lower()]
            if value and value % factor == 0:
                return f"{value / factor:g} {name}"
        return f"{value:g}"

    def parse(self, text: str) -> float:
        """Return the number that a text is, in the unit of the key.

        :raises ValueError: it is none, or its unit is not known.
        """
        return measured(text, self.factors, is_composed=self.is_composed)


def keys_of(table: Any) -> dict[str, Key]:
    """Return the keys of a table, by name; that which tells tables of a union apart is none."""
    found = {}
    for field in msgspec.structs.fields(table):
        kind, doc = _without_doc(field.type)
        kind, is_optional = _without_none(kind)
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        found[field.encode_name] = Key(
            field.encode_name, field.name, kind, is_optional, field.required, default, doc
        )
    return found


def tables_of(kind: Any) -> tuple[Any, ...]:
    """Return the structs that a type allows; none where it is no table."""
    members = typing.get_args(kind) if _is_union(kind) else (kind,)
    return members if all(map(_is_struct, members)) else ()


def tag_of(table: Any) -> tuple[str, str] | None:
    """Return the key that tells a table from others in its place, and its value there."""
    own = table.__struct_config__
    return None if own.tag_field is None else (own.tag_field, own.tag)


def names_of(table: Any) -> list[str]:
    """Return what may stand in a table, that which tells it from others included."""
    tag = tag_of(table)
    return [*([tag[0]] if tag else ()), *keys_of(table)]


def item_of(kind: Any) -> Any:
    """Return the type of a list's items, None where a type is no list."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def leaf_of(kind: Any) -> Leaf | None:
    """Return how a kind of value is read, None for what msgspec converts by itself."""
    if typing.get_origin(kind) is not typing.Annotated:
        return None
    return next((each for each in typing.get_args(kind) if isinstance(each, Leaf)), None)


def unit_of(kind: Any, key: object, units: Sequence[Unit]) -> Unit | None:
    """Return the unit of a number, which its key names."""
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return None
    return next((unit for unit in units if unit.keys.search(str(key))), None)


def measured(text: str, factors: Mapping[str, float], *, is_composed: bool) -> float:
    """Return the number that a text is, which may have a unit; parameters as of ``Unit``.

    :raises ValueError: it is none, or its unit is not known.
    """
    text = text.strip()
    if not _MEASURES.fullmatch(text):
        raise ValueError
    value: float = 0
    last = math.inf
    for number, unit in _MEASURE.findall(text):
        factor = factors.get(unit.lower()) if unit else 1
        if factor is None or factor >= last or (last < math.inf and not is_composed):
            raise ValueError
        last = factor
        value += float(number) * factor if "." in number else int(number) * factor
    return int(value) if value == int(value) else value


def matching(pattern: str, value: object) -> str:
    """Return a string all of which matches.

    :raises ValueError: it does not, or is no string.
    """
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError
    return value


def http_url(value: object) -> str:
    """Return an absolute http(s) URL that paths can be appended to, without a final slash.

    :raises ValueError: it is none, or has a query, a fragment or a user, who would be a secret.
    """
    text = matching(r"(?i)https?://[^\s?#@\\]+", value)
    url = urlsplit(text)
    if not url.hostname or url.port == 0 or not text.isprintable():
        raise ValueError
    return text.rstrip("/")


def described(kind: Any, unit: Unit | None = None) -> str:
    """Return what msgspec accepts for a type, for a person.

    :param unit: in which numbers are shown.
    """
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType(ge=low, le=high, gt=above):
            return (f"a {unit.name}" if unit else "an integer") + _range(low, high, above, unit)
        case msgspec.inspect.FloatType(ge=low, le=high, gt=above):
            return (f"a {unit.name}" if unit else "a number") + _range(low, high, above, unit)
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(map(str, values)) if len(values) > 1 else str(values[0])
        case msgspec.inspect.StrType(min_length=int()):
            return "a nonempty string in quotes"
        case msgspec.inspect.BoolType():
            return "true or false"
        case _:
            return "a string in quotes"


def _range(low: float | None, high: float | None, above: float | None, unit: Unit | None) -> str:
    def show(value: float) -> str:
        return unit.show(value) if unit else str(value)

    if above is not None:
        return f" above {show(above)}" + ("" if high is None else f", at most {show(high)}")
    if low is None:
        return ""
    return f" of at least {show(low)}" if high is None else f" from {show(low)} to {show(high)}"


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _without_doc(kind: Any) -> tuple[Any, Doc]:
    """Return a type without what it means, and what it means."""
    if typing.get_origin(kind) is not typing.Annotated:
        return kind, Doc("")
    inner, *said = typing.get_args(kind)
    doc = next((each for each in said if isinstance(each, Doc)), Doc(""))
    left = tuple(each for each in said if not isinstance(each, Doc))
    return (typing.Annotated[(inner, *left)] if left else inner), doc


def _without_none(kind: Any) -> tuple[Any, bool]:
    """Return the type inside ``X | None``, and whether None is allowed."""
    members = typing.get_args(kind) if _is_union(kind) else ()
    if types.NoneType not in members:
        return kind, False
    left = [each for each in members if each is not types.NoneType]
    return functools.reduce(operator.or_, left), True
