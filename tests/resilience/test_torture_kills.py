"""The run that kills the gateway, small; and the proof that it finds a gateway that loses."""

from pathlib import Path

import pytest

from tests.support.paths import TESTS
from tests.torture import kills

EARLY_ACK = TESTS / "support/early_ack.py"


async def test_killed_at_every_moment_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    figures = await kills.run(tmp_path, seed=4, kills=8)
    assert int(figures["kills"]) >= 8
    assert int(figures["acknowledged records"]) > 1000


async def test_gateway_that_answers_before_the_commit_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"missing|were acknowledged"):
        await kills.run(tmp_path, seed=5, kills=6, program=EARLY_ACK)
