"""The run in which one of several projects is in trouble, small."""

from pathlib import Path

from tests.torture import isolation


async def test_project_in_trouble_is_not_noticed_by_the_others(tmp_path: Path) -> None:
    figures = await isolation.run(tmp_path, projects=4, events_per_s=200, phase_s=3)
    assert figures["projects"] == 4
