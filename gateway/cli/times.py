"""Times as operators type them."""

from contextlib import suppress

from fastmap import parse_time
from gateway.cli.common import fail
from gateway.clock import SystemClock
from gateway.config import TIMES
from gateway.config.kinds import measured

__all__ = ["time_of"]


def time_of(option: str, text: str | None) -> int | None:
    """Return a time or an age in epoch milliseconds; exits with 2 when it cannot be read."""
    if text is None:
        return None
    if text[-1:].isalpha():
        with suppress(ValueError):
            age_s = measured(text, TIMES, is_composed=True)
            return max(0, SystemClock().now_ms() - int(age_s * 1000))
    time = parse_time(text)
    if time is None or time < 0:
        raise fail(f"{option}: not a time: {text!r}; expected e.g. 2026-01-31T12:00:00Z or 2h", 2)
    return time
