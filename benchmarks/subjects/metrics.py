"""Reading Prometheus' text format, as far as the benchmarks need it; no I/O."""

import re
from collections.abc import Mapping

__all__ = ["difference", "parse", "quantile", "total"]

_SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)
_LE = re.compile(r'le="([^"]+)"')

Samples = dict[tuple[str, str], float]
"""Values by name and labels."""


def parse(text: str) -> Samples:
    """Return all samples."""
    return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}


def difference(before: Mapping[tuple[str, str], float], after: Samples) -> Samples:
    """Return what was added."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def total(samples: Samples, name: str) -> float:
    """Return the sum of a metric over its labels."""
    return sum(value for (found, _), value in samples.items() if found == name)


def quantile(samples: Samples, name: str, share: float) -> float | None:
    """Return a quantile of a histogram over all its labels; None when it is empty.

    Within a bucket values count as spread evenly; those beyond the last bound count as that bound.
    """
    buckets: dict[float, float] = {}
    for (found, labels), value in samples.items():
        bound = _LE.search(labels)
        if found == f"{name}_bucket" and bound:
            buckets[float(bound[1])] = buckets.get(float(bound[1]), 0.0) + value
    count = buckets.get(float("inf"), 0.0)
    if not count:
        return None
    rank = share * count
    lower = below = 0.0
    for bound_s in sorted(buckets):
        if buckets[bound_s] >= rank and bound_s != float("inf"):
            inside = buckets[bound_s] - below
            return lower + (bound_s - lower) * (rank - below) / inside if inside else bound_s
        if bound_s != float("inf"):
            lower, below = bound_s, buckets[bound_s]
    return lower
