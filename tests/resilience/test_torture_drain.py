"""The run that restarts the gateway under load, small."""

from pathlib import Path

from tests.torture import drain


async def test_restarted_under_load_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    figures = await drain.run(tmp_path, seed=6, restarts=5, events_per_s=3000)
    assert figures["restarts"] == 5
