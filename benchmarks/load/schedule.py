"""When requests are due in an open loop, whatever became of those before."""

from collections.abc import Iterator
from random import Random

__all__ = ["arrivals"]


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Yield ascending times in seconds from the start, ``rate`` a second on average.

    They are as irregular as users who know nothing of each other (a Poisson process): many come
    close together, which a steady beat would hide.
    """
    rng = Random(seed)
    due = rng.expovariate(rate)
    while due < seconds:
        yield due
        due += rng.expovariate(rate)
