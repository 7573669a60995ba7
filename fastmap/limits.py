"""Whether a record is more than its receiver takes: the exact answer, for records that may be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from fastmap.spec import Limits

__all__ = ["TOO_DEEP", "TOO_LARGE", "TOO_MANY_MEMBERS", "excess_of", "excess_of_text"]

_SCALARS = {str, int, float, bool, type(None)}

TOO_LARGE = "too_large"
TOO_MANY_MEMBERS = "too_many_members"
TOO_DEEP = "too_deep"


def excess_of_text(text: bytes, limits: Limits, presumed: str) -> str | None:
    """Return in what a JSON text exceeds the limits on objects, None when in nothing.

    :param presumed: the answer where the text cannot be read.
    """
    try:
        return excess_of(json.loads(text), limits)
    except (RecursionError, ValueError):
        return presumed


def excess_of(record: object, limits: Limits) -> str | None:
    """Return in what a decoded record exceeds the limits on objects, None when in nothing.

    Where it is in both, the depth is named.
    """
    values: Iterable[object] = [record]
    depth = 1
    has_too_many = False
    while objects := _objects_in(values):
        if depth > limits.depth:
            return TOO_DEEP
        if depth > 1:
            has_too_many = has_too_many or any(len(each) > limits.members for each in objects)
        values = chain.from_iterable(each.values() for each in objects)
        depth += 1
    return TOO_MANY_MEMBERS if has_too_many else None


def _objects_in(values: Iterable[object]) -> list[Mapping[str, object]]:
    """Return the objects among values and in lists of them, to any depth of lists."""
    objects: list[Mapping[str, object]] = []
    while values:
        inner: list[object] = []
        for value in values:
            if type(value) in _SCALARS:
                continue
            if isinstance(value, (dict, Mapping)):  # a dictionary is known at once
                objects.append(value)
            elif isinstance(value, (list, Sequence)) and not isinstance(value, str):
                inner += value
        values = inner
    return objects
