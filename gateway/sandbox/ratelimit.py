"""How many records a second a project may send before it gets a 429."""

import math

from gateway.clock import Clock

__all__ = ["RateLimit"]


class RateLimit:
    """A token bucket that holds the records of one second.

    A request larger than the bucket passes when the bucket is full, and is paid off afterwards;
    otherwise no amount of patience would get it through.

    :param per_second: records a second; None for no limit.
    """

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._capacity = math.inf if per_second is None else per_second
        self._clock = clock
        self._tokens = self._capacity
        self._filled_at = clock.monotonic()

    def take(self, records: int) -> bool:
        """Return whether ``records`` may pass now, and count them if so."""
        if self._capacity == math.inf:
            return True
        now = self._clock.monotonic()
        earned = (now - self._filled_at) * self._capacity
        self._tokens = min(self._capacity, self._tokens + earned)
        self._filled_at = now
        if self._tokens < min(records, self._capacity):
            return False
        self._tokens -= records
        return True
