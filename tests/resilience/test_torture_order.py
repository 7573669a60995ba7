"""The order of profile updates for a few seeds; ``make torture`` runs the same for 100."""

import pytest

from tests.torture.order import is_in_order, run


async def test_each_profile_gets_its_updates_in_order_whatever_fails() -> None:
    figures = await run(seeds=3)
    assert figures["updates"] == 3 * 2000
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
