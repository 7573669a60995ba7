"""Time as a dependency, so that tests can own it."""

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """The two clocks the gateway reads."""

    def now_ms(self) -> int:
        """Return wall-clock time in milliseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return a clock in seconds that never goes back."""
        ...


class SystemClock:
    """The machine's own clocks; the only reader of time in the gateway."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Return wall-clock time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return a clock in seconds that never goes back."""
        return time.monotonic()
