"""File descriptors: as many as the system allows, and some kept for what is not a connection."""

import resource

__all__ = ["connections_allowed", "raise_limit"]

_RESERVED = 256
"""For the spool's files, the connections to Mixpanel, operators and clients being refused."""

_MAX = 16_384
"""Connections are not free: each takes about 10 kB while its request is handled."""


def raise_limit() -> int:
    """Raise this process's limit as far as it may itself; return how many files it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft  # some systems name a limit that they do not grant
    return hard


def connections_allowed(files: int) -> int:
    """Return how many connections leave enough descriptors for everything else.

    :param files: that the process may open; negative when there is no limit.
    """
    if files < 0:
        return _MAX
    return min(_MAX, max(files - _RESERVED, files // 2))
