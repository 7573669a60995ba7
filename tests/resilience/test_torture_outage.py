"""The run in which Mixpanel is away, small."""

from pathlib import Path

from tests.torture import outage


async def test_outage_costs_neither_memory_nor_latency_nor_records(tmp_path: Path) -> None:
    figures = await outage.run(tmp_path, backlog=40_000, events_per_s=1500, phase_s=1.5)
    assert int(figures["backlog, records"]) >= 40_000
