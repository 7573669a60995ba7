"""Configuration files as typed values: formats, variables, and every mistake at once.

The shape of the configuration is known here only through the struct type that is asked for.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from gateway.config.kinds import (
    Key,
    Leaf,
    Unit,
    described,
    item_of,
    keys_of,
    leaf_of,
    names_of,
    tables_of,
    tag_of,
    unit_of,
)
from gateway.errors import ConfigError
from gateway.events.depth import check_depth

__all__ = ["ConfigReader", "KeyPath", "read_document"]

KeyPath = tuple[Hashable, ...]
"""Keys and indices from the top of the document to a value."""

_MAX_SHOWN = 60
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


class ConfigReader:
    """Turns a document into structs and notes every mistake on the way.

    A value that cannot be read becomes ``msgspec.UNSET`` (a list: ``()``), so that whatever depends
    on the others can still be checked.  The result is good only when ``problems`` is empty.

    :param environ: what ``${NAME}`` stands for.
    :param units: in which numbers may be written.
    """

    def __init__(self, environ: Mapping[str, str], units: Sequence[Unit] = ()) -> None:
        self._environ = environ
        self._units = units
        self.problems: dict[KeyPath, str] = {}
        self.substituted: set[KeyPath] = set()  # their text is the environment's: never shown

    def report(self, place: KeyPath, problem: str) -> None:
        """Note a mistake; the first one of a place is kept."""
        self.problems.setdefault(place, problem)

    def got(self, place: KeyPath, value: object) -> str:
        """Return the end of a message that repeats a value, or "" where it must not be shown."""
        return "" if place in self.substituted else f" (got {_shown(value)})"

    def lines(self, names: Mapping[KeyPath, str]) -> list[str]:
        """Return the problems, one line each.

        :param names: what to call places that have another name than their path.
        """
        return [
            f"{names.get(place) or _spelled(place)}: {problem}"
            for place, problem in self.problems.items()
        ]

    def read(self, kind: Any, value: object, place: KeyPath = ()) -> Any:
        """Return ``value`` as ``kind``: one of its structs, a tuple of one type, or a leaf."""
        if tables := tables_of(kind):
            return self._struct(self._meant(tables, value, place), value, place)
        if item_of(kind) is not None:
            return self._items(kind, value, place)
        leaf = leaf_of(kind)
        if leaf is not None and leaf.may_be_list and isinstance(value, list) and value:
            return tuple(self._scalar(kind, entry, (*place, i)) for i, entry in enumerate(value))
        return self._scalar(kind, value, place)

    def _meant(self, tables: Sequence[Any], value: object, place: KeyPath) -> Any:
        """Return which of several tables it is, by the key that tells them apart."""
        tags = [tag for tag in map(tag_of, tables) if tag]
        key = tags[0][0] if tags else None
        if key is None or not isinstance(value, dict) or key not in value:
            return tables[0]
        names = tuple(name for _, name in tags)
        name = self.read(Literal[names], value[key], (*place, key))
        return tables[names.index(name)] if name in names else tables[0]

    def _struct(self, table: Any, value: object, place: KeyPath) -> Any:
        keys, names = keys_of(table), names_of(table)
        given = {each.field: _unreadable(each.kind) for each in keys.values() if each.is_required}
        if not isinstance(value, dict):
            accepted = ", ".join(names)
            self.report(place, f"expected a table (got {_sort(value)}); accepted: {accepted}")
            return table(**given)
        for name in value:
            if name not in names:
                self.report((*place, name), _unknown(name, names))
        for name, key in keys.items():
            if name in value:
                given[key.field] = self._value(key, value[name], (*place, name))
            elif key.is_required:
                self.report((*place, name), f"missing; accepted: {self._expected(key.kind)}")
        return table(**given)

    def _value(self, key: Key, value: object, place: KeyPath) -> Any:
        return None if key.is_optional and value is None else self.read(key.kind, value, place)

    def _items(self, kind: Any, value: object, place: KeyPath) -> tuple[Any, ...]:
        item = item_of(kind)
        if isinstance(value, str) and not tables_of(item):
            value = self._listed(value, place)
        if not isinstance(value, list):
            self.report(place, f"expected {self._expected(kind)} (got {_sort(value)})")
            return ()
        return tuple(self.read(item, entry, (*place, i)) for i, entry in enumerate(value))

    def _listed(self, text: str, place: KeyPath) -> object:
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

    def _scalar(self, kind: Any, value: object, place: KeyPath) -> Any:
        if isinstance(value, str):
            problem, value = self._substitute(value, place)
            if problem:
                self.report(place, problem)
                return msgspec.UNSET
        # A variable is always text, whatever the field wants.
        leaf = leaf_of(kind) or _plain(kind, strict=place not in self.substituted)
        unit = unit_of(kind, place[-1], self._units) if place else None
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

    def _substitute(self, text: str, place: KeyPath) -> tuple[str, str]:
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
        if tables := tables_of(kind):
            return "a table with " + ", ".join(names_of(tables[0]))
        if item_of(kind) is not None:
            return "a list of tables" if tables_of(item_of(kind)) else "a list of strings"
        return (leaf_of(kind) or _plain(kind, strict=True)).expected


def _unreadable(kind: Any) -> Any:
    return () if item_of(kind) is not None else msgspec.UNSET


def _plain(kind: Any, *, strict: bool) -> Leaf:
    """Return the leaf for a type that msgspec converts by itself."""

    def parse(value: object) -> object:
        result = msgspec.convert(value, kind, strict=strict)
        if isinstance(result, float) and not math.isfinite(result):
            raise ValueError("not finite")
        return result

    return Leaf(described(kind), parse)


def _unknown(key: object, accepted: list[str]) -> str:
    near = difflib.get_close_matches(key, accepted, n=1) if isinstance(key, str) else []
    hint = f' did you mean "{near[0]}"?' if near else ""
    return f"unknown key;{hint} accepted: {', '.join(accepted)}"


def _spelled(place: KeyPath) -> str:
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
