"""Whether there may be an event for which a condition holds.

A search over what the condition's comparisons may say, which knows what those of one field exclude:
``event = "A"`` that it contains ``"B"``.  Where it does not know, there may be one.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from fastmap import spec
from gateway.mapping.fql import EVENT, decided

__all__ = ["may_hold"]

_MOST_STEPS = 100
"""Of one search; who writes a condition that takes more is told too much rather than nothing."""

_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}

_Said = dict[str, tuple[Any, bool]]
"""Comparisons, by what they look like, and whether they hold."""


def may_hold(condition: spec.Condition | bool, known: Mapping[spec.Value, str]) -> bool:
    """Return whether a condition may hold.

    :param known: fields with the text that they have.
    """
    given: _Said = {}
    for field, text in known.items():
        equality = spec.Equals(field, text)
        given[repr(equality)] = (equality, True)
    return _Search().finds(condition, given)


class _Search:
    def __init__(self) -> None:
        self._steps = 0

    def finds(self, condition: spec.Condition | bool, said: _Said) -> bool:
        self._steps += 1
        if isinstance(condition, bool) or self._steps > _MOST_STEPS:
            return condition is not False
        comparison = _first(condition)
        key = repr(comparison)  # an equality with 1 is the same as one with true, as Python sees it
        for holds in (True, False):
            more = {**said, key: (comparison, holds)}
            left = decided(condition, lambda one: holds if repr(one) == key else None)  # noqa: B023
            if _is_possible(more.values()) and self.finds(left, more):
                return True
        return False


def _first(condition: spec.Condition) -> Any:
    while isinstance(condition, spec.Not | spec.Every | spec.Some):
        condition = condition.of if isinstance(condition, spec.Not) else condition.of[0]
    return condition


def _is_possible(said: Iterable[tuple[Any, bool]]) -> bool:
    of_fields: dict[Any, list[tuple[Any, bool]]] = defaultdict(list)
    for comparison, holds in said:
        of_fields[comparison.of].append((comparison, holds))
    return all(_is_field_possible(field, those) for field, those in of_fields.items())


def _is_field_possible(field: Any, said: list[tuple[Any, bool]]) -> bool:
    """Whether one value may be all that is said of it."""
    for equality, holds in said:
        if holds and isinstance(equality, spec.Equals):
            return all(_holds(one, equality.value) in (None, truth) for one, truth in said)
    if any(isinstance(one, spec.Exists) and not holds for one, holds in said):
        return not any(holds for _, holds in said)
    return _has_number(said) and (field != EVENT or _has_text(said))


def _has_number(said: list[tuple[Any, bool]]) -> bool:
    bounds = [(one, holds) for one, holds in said if isinstance(one, spec.Compare)]
    if not any(holds for _, holds in bounds):
        return True  # what is no number is neither below nor above one
    least, most = (-math.inf, False), (math.inf, False)  # with whether more or less than that
    for bound, holds in bounds:
        operator = bound.operator if holds else _OPPOSITE[bound.operator]
        if operator[0] == ">":
            least = max(least, (bound.value, operator == ">"))
        else:
            most = min(most, (bound.value, operator != "<"))
    return least[0] < most[0] or (least[0] == most[0] and not least[1] and most[1])


def _has_text(said: list[tuple[Any, bool]]) -> bool:
    """Whether one text may have all that it should contain, and nothing that it should not."""
    parts = [(one.text, holds) for one, holds in said if isinstance(one, spec.Contains)]
    has = [text for text, holds in parts if holds]
    return not any(text in other for text, holds in parts if not holds for other in has)


def _holds(comparison: Any, value: str | float | bool) -> bool | None:
    """Return what a comparison says of a value; None where that is not known."""
    match comparison:
        case spec.Exists():
            return True
        case spec.Equals(_, other):
            return type(other) is type(value) and other == value
        case spec.Contains(_, text):
            return isinstance(value, str) and text in value
        case spec.Matches(_, pattern):
            return isinstance(value, str) and _regex(pattern).fullmatch(value) is not None
        case _:
            return None


def _regex(pattern: str) -> re.Pattern[str]:
    signs = re.findall(r"\\?.", pattern, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    parts = (wild.get(sign) or re.escape(sign[1:] or sign) for sign in signs)
    return re.compile("".join(parts), re.DOTALL)
