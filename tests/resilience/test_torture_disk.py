"""The disk of a running gateway fails: told at once, healed by itself, nothing lost."""

from pathlib import Path

from tests.torture import disk


async def test_what_was_acknowledged_survives_all_disk_faults(tmp_path: Path) -> None:
    # Three seconds, because a busy machine is late on its own.
    figures = await disk.run(tmp_path, fault_s=1.0, answer_s=3.0, recovery_s=10.0)
    assert figures["missing"] == 0
    assert figures["acknowledged records"] > 0
    refused = {name: figures[f"{name}: refused"] for name in disk.FAULTS}
    assert all(refused[name] for name, fault in disk.FAULTS.items() if fault.refuses), refused
