"""Which pages may send: the Origin header of browsers."""

import re
from collections.abc import Sequence

__all__ = ["is_origin_allowed"]

_LABELS = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


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
