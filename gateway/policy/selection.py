"""Who and what is taken of a source: pages, names of events, a sample of users."""

import hashlib
import re
from collections.abc import Sequence

__all__ = ["Names", "is_origin_allowed", "is_sampled"]

_LABELS = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")

_RANGE = 2**64


class Names:
    """A list of names, in which ``*`` stands for any text; upper and lower case differ."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = frozenset(name for name in names if "*" not in name)
        self._patterns = [name.split("*") for name in names if "*" in name]

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def __contains__(self, name: str) -> bool:
        return name in self._exact or any(_matches(name, parts) for parts in self._patterns)


def _matches(name: str, parts: Sequence[str]) -> bool:
    """Return whether a name consists of the parts, in their order, with any text between them.

    Each part is taken where it first fits, so that the time is bounded by the name's length.
    """
    first, *middle, last = parts
    if not name.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(last) and name.endswith(last)


def is_origin_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Return whether an origin is listed; an empty list allows every one.

    :param origin: the header's value, which browsers write in small letters.
    :param allowed: origins as the configuration has them.  ``https://*.example.com`` stands for the
        pages of every host below example.com, not for those of example.com itself.
    """
    if not allowed or origin in allowed:
        return True
    scheme, separator, host = origin.partition("://")
    for pattern in allowed:
        start, wildcard, end = pattern.partition("*")
        if (
            wildcard
            and start == scheme + separator
            and host.endswith(end)
            and _LABELS.fullmatch(host[: -len(end)])
        ):
            return True
    return False


def is_sampled(distinct_id: str, rate: float) -> bool:
    """Return whether a user belongs to a sample.

    It depends on the id alone: all of a user's events are in or out, in every source and gateway,
    and whoever is in stays in when the rate grows.

    :param rate: the share of users in it, above 0 and at most 1.
    """
    digest = hashlib.blake2b(distinct_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) < rate * _RANGE
