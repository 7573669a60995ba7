"""Sources: from the notation of the tables to the paths and expressions of ``fastmap``."""

import re
from typing import Any

import msgspec

from fastmap import spec
from gateway.events import Event
from gateway.mapping.profile import Source

__all__ = ["INPUTS", "path_of", "paths_of", "value_of"]

INPUTS = tuple(
    field.name
    for field in msgspec.structs.fields(Event)
    if field.name not in ("skew_ms", "write_key")
)
"""The members of an event that a mapping can read."""

_INPUT_OF = {field.encode_name: field.name for field in msgspec.structs.fields(Event)}
_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}")


def path_of(text: str) -> spec.Path:
    """Return the path that ``$.context.app.name`` stands for.

    :raises ValueError: it starts at nothing that events have.
    """
    first, *rest = text.removeprefix("$.").split(".")
    if first not in _INPUT_OF:
        raise ValueError(
            f"{text!r}: expected a path that starts with one of {', '.join(_INPUT_OF)}"
        )
    return spec.Path(_INPUT_OF[first], tuple(rest))


def paths_of(source: Source) -> tuple[spec.Path, ...]:
    """Return the paths of a source that is one path or a list of them; none for "".

    :raises ValueError: it is a directive, which has no single place in the event.
    """
    match source:
        case "":
            return ()
        case str():
            return (path_of(source),)
        case list():
            return tuple(path_of(path) for path in source)
        case {"@path": str(path)}:
            return (path_of(path),)
        case _:
            raise ValueError(f"expected a path or a list of paths (got {source!r})")


def value_of(source: Source, convert: spec.Conversion, label: str) -> spec.Expression:
    """Return the expression of a source whose value gets a conversion."""
    if isinstance(source, dict) and "@template" in source:
        return _template(source["@template"], label)
    values = tuple(spec.Value(path, convert, label) for path in paths_of(source))
    return values[0] if len(values) == 1 else spec.First(values)


def _template(text: Any, label: str) -> spec.Expression:
    parts: list[str | spec.Value] = []
    for i, piece in enumerate(_PLACEHOLDER.split(text)):
        if i % 2:
            parts.append(spec.Value(path_of(piece), spec.String(), label))
        elif piece:
            parts.append(piece)
    return spec.Join(tuple(parts))
