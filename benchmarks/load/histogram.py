"""Latencies in buckets: a few thousand numbers, however many requests there were."""

import math
from collections.abc import Mapping
from typing import Self

__all__ = ["Histogram"]

_EXACT_BITS = 11


class Histogram:
    """Counts of times in microseconds.

    A bucket is one microsecond wide up to 2 ms, and beyond that at most 0.1 % of its times.

    :param counts: how many times there are, by the lowest one of their bucket.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def record(self, seconds: float) -> None:
        """Count a time."""
        us = int(seconds * 1e6)
        shift = us.bit_length() - _EXACT_BITS
        if shift > 0:
            us = us >> shift << shift
        self.counts[us] = self.counts.get(us, 0) + 1

    def add(self, other: Self) -> None:
        """Count all times of another histogram too."""
        for us, count in other.counts.items():
            self.counts[us] = self.counts.get(us, 0) + count

    @property
    def total(self) -> int:
        """How many times were counted."""
        return sum(self.counts.values())

    def percentile(self, percent: float) -> float:
        """Return the time in seconds that so many in a hundred do not exceed; 0 without times.

        The result is the lowest time of its bucket: never too high, and at most 0.1 % too low.
        """
        rank = math.ceil(self.total * percent / 100)
        seen = us = 0
        for us in sorted(self.counts):
            seen += self.counts[us]
            if seen >= rank:
                break
        return us / 1e6
