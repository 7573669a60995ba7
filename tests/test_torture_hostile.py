"""Hostile clients in small numbers; ``make torture`` runs the same with large ones."""

import pytest

from tests.torture import hostile

SLACK_S = 0.25
"""No difference on a machine that is busy with other things."""


@pytest.mark.parametrize("attack", sorted(hostile.ATTACKS))
async def test_good_clients_do_not_notice_hostile_ones(attack: str) -> None:
    await hostile.run(
        connections=300, seconds=1.0, rounds=1, attacks=[attack], rate=100, slack_s=SLACK_S
    )
