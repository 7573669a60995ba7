"""How a cost grows: a straight line through figures, and how far they lie off it."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Fit", "fit"]


@dataclass(frozen=True, slots=True)
class Fit:
    """``fixed + slope * x``.

    :param worst: the largest distance of a point from the line, as a share of its value.
    """

    fixed: float
    slope: float
    worst: float


def fit(xs: Sequence[float], ys: Sequence[float]) -> Fit:
    """Return the line for which the squares of the relative errors are least in sum.

    :param xs: at least two different values.
    :param ys: greater than zero.
    """
    points = [(x, y, 1 / y**2) for x, y in zip(xs, ys, strict=True)]
    total = sum(weight for _, _, weight in points)
    mean_x = sum(weight * x for x, _, weight in points) / total
    mean_y = sum(weight * y for _, y, weight in points) / total
    covariance = sum(weight * (x - mean_x) * (y - mean_y) for x, y, weight in points)
    slope = covariance / sum(weight * (x - mean_x) ** 2 for x, _, weight in points)
    fixed = mean_y - slope * mean_x
    return Fit(fixed, slope, max(abs(fixed + slope * x - y) / y for x, y, _ in points))
