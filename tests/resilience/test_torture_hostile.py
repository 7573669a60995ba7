"""Hostile clients in small numbers; ``make torture`` runs the same with large ones."""

import pytest

from tests.support.loop_turns import wait_of
from tests.torture import hostile

SLACK_S = 0.25
"""No difference on a machine that is busy with other things."""


def test_share_of_requests_that_wait() -> None:
    """Half a second of ten begins with more than half a second to go."""
    assert wait_of([1.0, 0.001], 10.0, share=0.05) == pytest.approx(0.5, abs=0.01)
    assert wait_of([0.2] * 10, 10.0, share=0.1) == pytest.approx(0.1, abs=0.01)
    assert wait_of([0.01] * 10, 10.0, share=0.1) == pytest.approx(0.0, abs=0.001)
    assert wait_of([], 10.0, share=0.01) == 0.0


@pytest.mark.parametrize("attack", sorted(hostile.ATTACKS))
async def test_good_clients_do_not_notice_hostile_ones(attack: str) -> None:
    await hostile.run(
        connections=300, seconds=1.0, rounds=1, attacks=[attack], rate=100, slack_s=SLACK_S
    )
