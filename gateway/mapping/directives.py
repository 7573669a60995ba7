"""Sources of fields: from a path, a constant or a directive to an expression of ``fastmap``.

    "$.context.app.name"             the value at a path
    ["$.userId", "$.anonymousId"]    the first of several sources that has a value
    "web", 5, true                   a constant
    ""                               no source: the field has no value
    {"@template" = "Viewed {{name}}"}  a directive; they nest

A directive's result gets the conversion of its field, as the value at a path does.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from fastmap import spec
from gateway.mapping.paths import PathError, event_path
from gateway.mapping.profile import Source

__all__ = ["NOTHING", "SourceError", "SourcePath", "SourceReader", "is_blank", "is_directive"]

_T = TypeVar("_T")

SourcePath: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of a mapping to a part of it."""

NOTHING = spec.First(())
"""The expression that never has a value."""

_PLACEHOLDER = re.compile(r"\{\{\{\s*(?P<three>.*?)\s*\}\}\}|\{\{\s*(?P<two>.*?)\s*\}\}")


class SourceError(ValueError):
    """A part of a mapping that cannot be used.

    :param place: where it is.
    :param problem: what is wrong with it and what is accepted.
    """

    def __init__(self, place: SourcePath, problem: str) -> None:
        super().__init__(f"{'.'.join(map(str, place))}: {problem}")
        self.place = place
        self.problem = problem


def is_blank(source: Source) -> bool:
    """Whether a source stands for no value at all."""
    return source is None or source == ""


def is_directive(source: Source) -> bool:
    """Whether a source is a directive, not a table of sources."""
    return isinstance(source, dict) and any(str(key).startswith("@") for key in source)


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Reads sources.

    :param path_of: what paths in them mean; those of ``@arrayPath`` start at an item.
    """

    path_of: Callable[[str], spec.Path] = event_path

    def path(self, text: str, place: SourcePath) -> spec.Path:
        """Return the place that a path means.

        :raises SourceError: it means none.
        """
        try:
            return self.path_of(text)
        except PathError as error:
            raise SourceError(place, str(error)) from None

    def value(
        self, source: Source, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        """Return the expression of a source with a conversion.

        :param label: under which values that cannot be converted are counted.
        :raises SourceError: the source cannot be used.
        """
        path = self.plain_path(source, place)
        if path is not None:
            return spec.Value(path, convert, label)
        if isinstance(convert, spec.Time):
            # A time always has a value, that of receipt: it is converted when one was chosen.
            found = self.value(source, spec.Json(falsy=False), "", place)
            return spec.Converted(found, convert, label)
        match source:
            case None | "":
                return NOTHING
            case str() | bool() | int() | float():
                return _constant(source, convert, label, place)
            case list():
                values = (
                    self.value(each, convert, label, (*place, i)) for i, each in enumerate(source)
                )
                return spec.First(tuple(values))
            case dict():
                return self._directive(source, convert, label, place)
        raise SourceError(place, f"expected a path, a constant or a directive{_got(source)}")

    def plain_path(self, source: Source, place: SourcePath) -> spec.Path | None:
        """Return the path of a source that is nothing else, None for all others.

        :raises SourceError: the path is wrong.
        """
        match source:
            case str() if source.startswith("$."):
                return self.path(source, place)
            case {"@path": str(text), **others} if not others:
                return self.path(text, (*place, "@path"))
            case _:
                return None

    def _directive(
        self, source: Mapping[str, Any], convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        name = next(iter(source), "")
        if len(source) != 1 or name not in _DIRECTIVES:
            accepted = ", ".join(_DIRECTIVES)
            raise SourceError(place, f"expected one directive{_got(source)}; accepted: {accepted}")
        return _DIRECTIVES[name](self, source[name], convert, label, (*place, name))

    def _raw(self, source: Source, place: SourcePath) -> spec.Expression:
        return self.value(source, spec.Json(), "", place)

    def _path(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        raise SourceError(place, f"expected a path as text{_got(options)}")

    def _literal(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        if not isinstance(options, str | bool | int | float):
            raise SourceError(place, f"expected a text, a number, true or false{_got(options)}")
        return _constant(options, convert, label, place)

    def _template(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        if not isinstance(options, str):
            raise SourceError(place, f"expected a text{_got(options)}")
        parts: list[str | spec.Value] = []
        end = 0
        for found in _PLACEHOLDER.finditer(options):
            parts.append(_literal_part(options[end : found.start()], place))
            path = self.path(found["three"] or found["two"] or "", place)
            parts.append(spec.Value(path, spec.String(), label))
            end = found.end()
        parts.append(_literal_part(options[end:], place))
        parts = [part for part in parts if part != ""]
        texts = [part for part in parts if isinstance(part, str)]
        if texts == parts:
            return _constant("".join(texts), convert, label, place)
        joined = spec.Join(tuple(parts))
        # A text of which something is always there needs no conversion to a text.
        if isinstance(convert, spec.Json) or (convert == spec.String() and texts):
            return joined
        return spec.Converted(joined, convert, label)

    def _if(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        options = _options(options, place, ("exists", "blank", "then", "else"))
        tests = [test for test in ("exists", "blank") if test in options]
        if len(tests) != 1:
            raise SourceError(place, 'expected "exists" or "blank"')
        if "then" not in options and "else" not in options:
            raise SourceError(place, 'expected "then", "else" or both')
        tested = self._raw(options[tests[0]], (*place, tests[0]))
        branches = [
            self.value(options[branch], convert, label, (*place, branch))
            if branch in options
            else None
            for branch in ("then", "else")
        ]
        # "blank" asks, in spite of its name, whether there is something: so do the originals.
        condition = spec.Exists(tested) if tests[0] == "exists" else spec.Filled(tested)
        return spec.If(condition, *branches)

    def _case(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        options = _options(options, place, ("operator", "value"), required=("operator", "value"))
        to: Literal["lower", "upper"]
        match options["operator"]:
            case "lower" | "upper" as to:
                text = self._raw(options["value"], (*place, "value"))
                return spec.Converted(spec.Case(text, to), convert, label)
            case other:
                raise SourceError((*place, "operator"), f'expected "lower" or "upper"{_got(other)}')

    def _replace(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        accepted = ("pattern", "replacement", "value", "ignorecase", "global")
        options = _options(options, place, accepted, required=("pattern", "value"))
        if options["pattern"] == "":
            raise SourceError((*place, "pattern"), "expected a text that is not empty")
        replaced = spec.Replace(
            self._raw(options["value"], (*place, "value")),
            _option(options, "pattern", "", place),
            _option(options, "replacement", "", place),
            ignore_case=_option(options, "ignorecase", False, place),
            every=_option(options, "global", True, place),
        )
        return spec.Converted(replaced, convert, label)

    def _array_path(
        self, options: Any, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        raise SourceError(place, "only the field products takes a list of objects")


_DIRECTIVES: dict[
    str, Callable[[SourceReader, Any, spec.Conversion, str, SourcePath], spec.Expression]
] = {
    "@path": SourceReader._path,
    "@template": SourceReader._template,
    "@if": SourceReader._if,
    "@case": SourceReader._case,
    "@replace": SourceReader._replace,
    "@arrayPath": SourceReader._array_path,
    "@literal": SourceReader._literal,
}


def _options(
    given: Any, place: SourcePath, accepted: tuple[str, ...], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise SourceError(place, f"expected a table with {', '.join(accepted)}{_got(given)}")
    for key in given:
        if key not in accepted:
            raise SourceError((*place, key), f"unknown; accepted: {', '.join(accepted)}")
    for key in required:
        if key not in given:
            raise SourceError((*place, key), "missing")
    return given


def _option(options: Mapping[str, Any], key: str, default: _T, place: SourcePath) -> _T:
    value = options.get(key, default)
    if not isinstance(value, type(default)):
        expected = "true or false" if isinstance(default, bool) else "a text"
        raise SourceError((*place, key), f"expected {expected}{_got(value)}")
    return value


def _literal_part(text: str, place: SourcePath) -> str:
    if "{{" in text or "}}" in text:
        raise SourceError(place, "expected {{path}}: braces without their counterpart")
    return text


def _constant(
    value: str | float, convert: spec.Conversion, label: str, place: SourcePath
) -> spec.Expression:
    """Return a constant, converted here where that is simple."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    match convert:
        case spec.Json():
            return spec.Const(value)
        case spec.String(none_of=(), one_of=()):
            return spec.Const(text) if text or convert.empty else NOTHING
        case spec.Number():
            return spec.Const(_number(value, place))
        case spec.Boolean() if text in ("true", "false", "1", "0"):
            return spec.Const(text in ("true", "1"))
        case spec.Boolean():
            raise SourceError(place, f"expected true or false{_got(value)}")
        case _:
            return spec.Converted(spec.Const(value), convert, label)


def _number(value: str | float, place: SourcePath) -> float:
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        number = math.nan
    if isinstance(number, bool) or not math.isfinite(number):
        raise SourceError(place, f"expected a number{_got(value)}")
    return number


def _got(value: object) -> str:
    """Return the end of a message that says what was given."""
    match value:
        case None:
            return " (got nothing)"
        case bool():
            return f" (got {str(value).lower()})"
        case str() | int() | float():
            shown = repr(value)
            return f" (got {shown if len(shown) <= 60 else shown[:57] + '...'})"
        case dict():
            return f" (got a table with {', '.join(map(str, value)) or 'nothing in it'})"
        case list():
            return " (got a list)"
        case _:
            return f" (got a value of type {type(value).__name__})"
