"""JSON as the reference sees it: decoded, but with numbers as the digits they were written with."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

from fastmap.errors import MalformedInput

__all__ = [
    "ABSENT",
    "JsonValue",
    "Nothing",
    "Numeral",
    "decode",
    "encode",
    "is_blank",
    "is_falsy",
    "is_number",
    "read_input",
    "text_of",
]


@dataclass(frozen=True, slots=True)
class Numeral:
    """A JSON number; two are equal when they are written alike."""

    digits: str

    def __float__(self) -> float:
        return float(self.digits)


JsonValue: TypeAlias = (
    bool | str | Numeral | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value.

    :param why: empty where there was nothing to begin with.
    """

    why: str = ""


ABSENT = Nothing()


def decode(text: bytes) -> JsonValue:
    """Return the value of a JSON text; of members with the same key the last one counts.

    :raises ValueError: it is not JSON, or not UTF-8.
    """
    value: JsonValue = json.loads(
        text.decode(), parse_int=Numeral, parse_float=Numeral, parse_constant=_refuse
    )
    return value


def encode(value: JsonValue) -> str:
    """Return the JSON text of a value, with the digits that were sent."""
    if isinstance(value, Numeral):
        return value.digits
    if isinstance(value, dict):
        members = (f"{encode(key)}: {encode(one)}" for key, one in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(encode, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_input(name: str, given: Any) -> JsonValue | Nothing:
    """Return the value of an input: text, a number, or raw JSON that may be empty.

    :raises MalformedInput: it is not JSON, or not Unicode text.
    """
    if given is None:
        return ABSENT
    if isinstance(given, bool):
        return given
    if isinstance(given, int | float):
        return Numeral(str(given)) if isfinite(given) else ABSENT
    try:
        if isinstance(given, str):
            given.encode()
            return given
        text = bytes(memoryview(given))
        return decode(text) if text.strip(b" \t\r\n") else ABSENT
    except ValueError as error:
        raise MalformedInput(f"{name}: {error}") from None
    except TypeError:
        return ABSENT


def text_of(value: JsonValue) -> str | None:
    """Return the text of a string, number or boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Numeral):
        return value.digits
    return value if isinstance(value, str) else None


def is_number(text: str) -> bool:
    """Whether a text is a JSON number."""
    return re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) is not None


def is_blank(value: JsonValue | Nothing) -> bool:
    """Whether there is nothing to convert, so that nothing is lost when there is no result."""
    return isinstance(value, Nothing) or value is None or value == ""


def is_falsy(value: JsonValue) -> bool:
    """Whether a value is null, false, 0 or ""."""
    if isinstance(value, Numeral):
        return float(value) == 0
    return value is None or value is False or value == ""
