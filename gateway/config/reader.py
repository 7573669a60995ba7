"""Configuration files as typed values: formats, variables, and every mistake at once.

The shape of the configuration is known here only through the struct type that is asked for;
what it means is the business of ``gateway.config``.
"""

import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import yaml

from gateway.errors import ConfigError
from gateway.events.depth import check_depth

__all__ = [
    "Leaf",
    "Place",
    "Reader",
    "Unit",
    "http_url",
    "matching",
    "measured",
    "read_document",
    "without_none",
]

Place = tuple[Hashable, ...]
"""Keys and indices from the top of the document to a value."""

_MAX_SHOWN = 60
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_MEASURE = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)", re.A)
_MEASURES = re.compile(rf"{_NUMBER}(?:\s*[A-Za-z]+(?:\s*{_NUMBER}\s*[A-Za-z]+)*)?", re.A)
_BARE_KEY = re.compile(r"[A-Za-z_@$][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_BYTE = re.compile(r" \(byte (\d+)\)")
_QUOTED_NAME = re.compile(r"(alias|anchor|tag|handle) ['\"].*")


def read_document(path: Path) -> dict[Any, Any]:
    """Read a file in the format that its ending names.

    :raises ConfigError: one problem, with the file's name and, where known, line and column.
    """
    language, parse = _FORMATS.get(path.suffix.lower(), ("", None))
    if parse is None:
        raise ConfigError([f"{path}: unknown file ending; accepted: {', '.join(_FORMATS)}"])
    try:
        document = parse(path.read_bytes().decode("utf-8-sig"))
        if isinstance(document, dict):
            return document
        problem = f"expected a table at the top (got {_sort(document)}); accepted: key-value pairs"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; accepted: a file this user may read"
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        problem = f"{_position(before)}: not text; accepted: UTF-8"
    except RecursionError:
        problem = "nested too deeply; accepted: at most a few hundred levels"
    except ValueError as error:
        problem = f"{error}; accepted: valid {language}"
    raise ConfigError([f"{path}: {problem}"])


def _position(before: str) -> str:
    """Return where the text that follows ``before`` starts, as a person counts."""
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _json(text: str) -> object:
    check_depth(text.encode())
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        message = str(error)
    byte = _BYTE.search(message)
    if byte is not None:
        before = text.encode()[: int(byte[1])].decode(errors="replace")
        raise ValueError(f"{_position(before)}: {_BYTE.sub('', message)}")
    # Without an offset the input either ended too early or holds a number beyond any range.
    raise ValueError(f"{_position(text)}: {message}" if "truncated" in message else message)


def _yaml(text: str) -> object:
    try:
        return yaml.load(text, _YamlLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        why = ", ".join(filter(None, (error.context, error.problem)))
        # A secret that starts with * or ! reads as an alias or a tag: never repeat its name.
        raise ValueError(where + _QUOTED_NAME.sub(r"\1", why)) from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"{_position(text[: error.position])}: {error.reason}") from None


class _YamlLoader(yaml.SafeLoader):
    """Safe YAML that refuses repeated keys, and whose every error has a position."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked before merge keys (<<) are expanded: to override what they bring is their use.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(None, None, "repeated key", key.start_mark)
                seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            # Out of the library's own converters, as for the date 2026-02-31.
            raise yaml.MarkedYAMLError(
                None, None, f"not a valid {node.tag.rpartition(':')[2]}", node.start_mark
            ) from None


_FORMATS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".yaml": ("YAML", _yaml),
    ".yml": ("YAML", _yaml),
    ".json": ("JSON", _json),
}


class Leaf(NamedTuple):
    """How one kind of value is read.

    :param expected: what is accepted, for a person.
    :param parse: returns the value read, or raises ValueError.
    :param hidden: never repeat the value that was given.
    :param may_be_list: whether a list of such values is accepted, too; it becomes a tuple.
    """

    expected: str
    parse: Callable[[object], object]
    hidden: bool = False
    may_be_list: bool = False


class Unit(NamedTuple):
    """How a number is written with a unit, as in "10 MiB".

    :param keys: pattern of the keys whose values are such numbers.
    :param factors: what one of each unit is, in that of the key; by names in small letters.
    :param expected: how it may be written, for a person.
    :param is_composed: whether several may follow one another, the largest first, as in "1h30m".
    """

    keys: re.Pattern[str]
    factors: Mapping[str, float]
    expected: str
    is_composed: bool = False

    def parse(self, text: str) -> float:
        """Return the number that a text is, in the unit of the key.

        :raises ValueError: it is none, or its unit is not known.
        """
        return measured(text, self.factors, is_composed=self.is_composed)


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


class Reader:
    """Turns a document into structs and notes every mistake on the way.

    A value that cannot be read becomes ``msgspec.UNSET`` (a list: ``()``), so that whatever depends
    on the others can still be checked.  The result is good only when ``problems`` is empty.

    :param environ: what ``${NAME}`` stands for.
    :param leaves: by type, values that need more than msgspec's own conversion.
    :param units: in which numbers may be written.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        leaves: Mapping[Any, Leaf],
        units: Sequence[Unit] = (),
    ) -> None:
        self._environ = environ
        self._leaves = leaves
        self._units = units
        self.problems: dict[Place, str] = {}
        self.substituted: set[Place] = set()  # their text is the environment's: never shown

    def report(self, place: Place, problem: str) -> None:
        """Note a mistake; the first one of a place is kept."""
        self.problems.setdefault(place, problem)

    def got(self, place: Place, value: object) -> str:
        """Return the end of a message that repeats a value, or "" where it must not be shown."""
        return "" if place in self.substituted else f" (got {_shown(value)})"

    def lines(self, names: Mapping[Place, str]) -> list[str]:
        """Return the problems, one line each.

        :param names: what to call places that have another name than their path.
        """
        return [
            f"{names.get(place) or _spelled(place)}: {problem}"
            for place, problem in self.problems.items()
        ]

    def read(self, kind: Any, value: object, place: Place = ()) -> Any:
        """Return ``value`` as ``kind``: a struct, a tuple of one type, or a leaf."""
        kind, optional = without_none(kind)
        if optional and value is None:
            return None
        if _is_struct(kind):
            return self._struct(kind, value, place)
        if typing.get_origin(kind) is tuple:
            return self._items(kind, value, place)
        leaf = self._leaves.get(kind)
        if leaf is not None and leaf.may_be_list and isinstance(value, list) and value:
            return tuple(self._scalar(kind, entry, (*place, i)) for i, entry in enumerate(value))
        return self._scalar(kind, value, place)

    def _struct(self, kind: Any, value: object, place: Place) -> Any:
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        given = {f.name: _unreadable(f.type) for f in fields.values() if f.required}
        if not isinstance(value, dict):
            accepted = ", ".join(fields)
            self.report(place, f"expected a table (got {_sort(value)}); accepted: {accepted}")
            return kind(**given)
        for key in value:
            if key not in fields:
                self.report((*place, key), _unknown(key, list(fields)))
        for key, field in fields.items():
            if key in value:
                given[field.name] = self.read(field.type, value[key], (*place, key))
            elif field.required:
                self.report((*place, key), f"missing; accepted: {self._expected(field.type)}")
        return kind(**given)

    def _items(self, kind: Any, value: object, place: Place) -> tuple[Any, ...]:
        item = typing.get_args(kind)[0]
        if isinstance(value, str) and not _is_struct(item):
            value = self._listed(value, place)
        if not isinstance(value, list):
            self.report(place, f"expected {self._expected(kind)} (got {_sort(value)})")
            return ()
        return tuple(self.read(item, entry, (*place, i)) for i, entry in enumerate(value))

    def _listed(self, text: str, place: Place) -> object:
        """Return the list that a variable holds, with commas; other text as it is."""
        problem, filled = self._substitute(text, place)
        if problem:
            self.report(place, problem)
            return []
        if place not in self.substituted:
            return text
        parts = [part.strip() for part in filled.split(",") if part.strip()]
        self.substituted |= {(*place, i) for i in range(len(parts))}
        return [part.replace("${", "$${") for part in parts]

    def _scalar(self, kind: Any, value: object, place: Place) -> Any:
        if isinstance(value, str):
            problem, value = self._substitute(value, place)
            if problem:
                self.report(place, problem)
                return msgspec.UNSET
        # A variable is always text, whatever the field wants.
        leaf = self._leaves.get(kind) or _plain(kind, strict=place not in self.substituted)
        unit = self._unit(kind, place)
        read = value
        try:
            if isinstance(value, str):
                value.encode()  # half a surrogate pair could never be sent
                read = unit.parse(value) if unit else value
            return leaf.parse(read)
        except (ValueError, OverflowError, msgspec.ValidationError):
            got = "" if leaf.hidden else self.got(place, value)
            also = f" or {unit.expected}" if unit and not isinstance(value, int | float) else ""
            self.report(place, f"expected {leaf.expected}{also}{got}")
            return msgspec.UNSET

    def _unit(self, kind: Any, place: Place) -> Unit | None:
        """Return the unit of a number, which its key names."""
        info = msgspec.inspect.type_info(kind)
        if not isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
            return None
        key = str(place[-1])
        return next((unit for unit in self._units if unit.keys.search(key)), None)

    def _substitute(self, text: str, place: Place) -> tuple[str, str]:
        """Return a problem or "", and the text with its variables filled in."""
        problems = []

        def fill(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$${":
                return "${"
            if name is None:
                problems.append(
                    '"${" without a name and "}"; '
                    "accepted: ${NAME}, ${NAME:-default}, or $${ for the characters themselves"
                )
                return ""
            self.substituted.add(place)
            found = self._environ.get(name)
            if default is not None:
                return found or default
            if found is None:
                problems.append(
                    f"environment variable {name} is not set; "
                    f"accepted: set it, or give a default as in ${{{name}:-value}}"
                )
            return found or ""

        filled = _VARIABLE.sub(fill, text)
        return "; ".join(dict.fromkeys(problems)), filled

    def _expected(self, kind: Any) -> str:
        kind, _ = without_none(kind)
        if _is_struct(kind):
            return "a table with " + ", ".join(f.encode_name for f in msgspec.structs.fields(kind))
        if typing.get_origin(kind) is tuple:
            tables = _is_struct(typing.get_args(kind)[0])
            return "a list of tables" if tables else "a list of strings"
        return (self._leaves.get(kind) or _plain(kind, strict=True)).expected


def _unreadable(kind: Any) -> Any:
    return () if typing.get_origin(kind) is tuple else msgspec.UNSET


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def without_none(kind: Any) -> tuple[Any, bool]:
    """Return the type inside ``X | None``, and whether None is allowed."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind, False
    [inner] = (arg for arg in typing.get_args(kind) if arg is not types.NoneType)
    return inner, True


def _plain(kind: Any, *, strict: bool) -> Leaf:
    """Return the leaf for a type that msgspec converts by itself."""

    def parse(value: object) -> object:
        result = msgspec.convert(value, kind, strict=strict)
        if isinstance(result, float) and not math.isfinite(result):
            raise ValueError("not finite")
        return result

    return Leaf(_described(msgspec.inspect.type_info(kind)), parse)


def _described(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.IntType(ge=low, le=high, gt=above):
            return "an integer" + _range(low, high, above)
        case msgspec.inspect.FloatType(ge=low, le=high, gt=above):
            return "a number" + _range(low, high, above)
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(map(str, values)) if len(values) > 1 else str(values[0])
        case msgspec.inspect.StrType(min_length=int()):
            return "a nonempty string in quotes"
        case msgspec.inspect.BoolType():
            return "true or false"
        case _:
            return "a string in quotes"


def _range(low: float | None, high: float | None, above: float | None) -> str:
    if above is not None:
        return f" above {above}" + ("" if high is None else f", at most {high}")
    if high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f" of at least {low}"


def _unknown(key: object, accepted: list[str]) -> str:
    near = difflib.get_close_matches(key, accepted, n=1) if isinstance(key, str) else []
    hint = f' did you mean "{near[0]}"?' if near else ""
    return f"unknown key;{hint} accepted: {', '.join(accepted)}"


def _spelled(place: Place) -> str:
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            bare = isinstance(step, str) and _BARE_KEY.fullmatch(step)
            text += ("." if text else "") + (str(step) if bare else _shown(step))
    return text


def _sort(value: object) -> str:
    """Return what sort of value it is, without showing it."""
    named = {str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return named.get(type(value)) or _shown(value)


def _shown(value: object) -> str:
    """Return a value for a message: one short line, whatever it holds."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= _MAX_SHOWN else value[: _MAX_SHOWN - 3] + "...")
        case int() if value.bit_length() > 64:  # Python refuses to print the largest
            return "a very large number"
        case int() | float():
            return repr(value)
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return f"a value of type {type(value).__name__}"
