"""What a value is compared with, and how texts change."""

import operator
import re
from typing import TypeAlias

from fastmap import spec
from fastmap.reference.values import JsonValue, Numeral, is_falsy, is_number

__all__ = ["Question", "changed_text", "is_true_of"]

Question: TypeAlias = (
    spec.Exists | spec.Filled | spec.Equals | spec.Compare | spec.Contains | spec.Matches
)
"""A condition on one value."""


def is_true_of(value: JsonValue, question: Question) -> bool:
    """Whether a condition holds for a value."""
    match question:
        case spec.Exists():
            return value is not None
        case spec.Filled():
            return not is_falsy(value)
        case spec.Equals(_, wanted):
            return _equals(value, wanted)
        case spec.Compare():
            return _compares(value, question)
        case spec.Contains(_, text):
            if isinstance(value, list):
                return text in value
            return isinstance(value, str) and text in value
        case spec.Matches(_, pattern):
            return isinstance(value, str) and _matches(value, pattern)


def _equals(value: JsonValue, wanted: str | float | bool) -> bool:
    if isinstance(wanted, bool | str):
        return type(value) is type(wanted) and value == wanted
    return isinstance(value, Numeral) and float(value) == float(wanted)


def _compares(value: JsonValue, question: spec.Compare) -> bool:
    if not isinstance(value, Numeral) and not (isinstance(value, str) and is_number(value)):
        return False
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    return bool(compare[question.operator](float(value), question.value))


def _matches(text: str, pattern: str) -> bool:
    wildcards = {"*": ".*", "?": "."}
    parts = [
        wildcards.get(found[0]) or re.escape(found[1] or found[0])
        for found in re.finditer(r"\\(.)|.", pattern, re.DOTALL)
    ]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def changed_text(text: str, change: spec.Case | spec.Replace) -> str:
    """Return a text in another case, or with a part of it replaced."""
    if isinstance(change, spec.Case):
        return text.lower() if change.to == "lower" else text.upper()
    flags = re.IGNORECASE if change.ignore_case else re.NOFLAG
    pattern = re.compile(re.escape(change.pattern), flags)
    return pattern.sub(lambda _: change.replacement, text, count=0 if change.every else 1)
