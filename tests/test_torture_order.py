"""The order of profile updates, for a few seeds; ORDER_SEEDS=100 for more."""

import os

import pytest

from tests.torture.order import is_in_order, run

SEEDS = int(os.environ.get("ORDER_SEEDS", "3"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_each_profile_gets_its_updates_in_order_whatever_fails(seed: int) -> None:
    figures = await run(seed)
    assert figures["updates"] == 2000
    # It was hard enough to prove something.
    for name in ("faults", "repeated updates", "dead letters"):
        assert int(str(figures[name])) > 0, figures


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3], True),
        ([1, 2, 1, 2, 3], True),
        ([1, 2, 3, 4, 2, 3, 2, 3, 4, 5], True),
        ([1, 3, 2], False),
        ([1, 2, 3, 1, 3], False),
        ([2, 1], False),
    ],
)
def test_order_allows_repeats_but_no_gaps(numbers: list[int], expected: bool) -> None:
    assert is_in_order(numbers) is expected
