"""Whether a record is more than its receiver takes: the exact answer, for records that may be."""

import json
from collections.abc import Iterable, Mapping, Sequence

from fastmap.spec import Limits

__all__ = ["TOO_DEEP", "TOO_LARGE", "TOO_MANY_MEMBERS", "excess_of", "excess_of_text"]

_SCALARS = (str, int, float, type(None))

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
    """Return in what a decoded record exceeds the limits on objects, None when in nothing."""
    # Not recursive: lists may lie in one another to any depth.
    waiting = [(record, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, (dict, Mapping)):  # a dictionary is known at once
            if depth > limits.depth:
                return TOO_DEEP
            if depth > 1 and len(value) > limits.members:
                return TOO_MANY_MEMBERS
            members: Iterable[object] = value.values()
            depth += 1
        elif isinstance(value, (list, Sequence)) and not isinstance(value, _SCALARS):
            members = value
        else:
            continue
        waiting += [(each, depth) for each in members if not isinstance(each, _SCALARS)]
    return None
