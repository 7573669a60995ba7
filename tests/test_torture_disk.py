"""The disk of a running gateway fails: told at once, healed by itself, nothing lost."""

from pathlib import Path

import pytest

from tests.torture import disk


@pytest.mark.parametrize("fault", disk.FAULTS)
async def test_what_was_acknowledged_survives_a_disk_fault(tmp_path: Path, fault: str) -> None:
    # A busy machine is late on its own; what hangs has to last longer than that.
    fault_s = 4.0 if fault == "fsync hangs" else 1.0
    figures = await disk.run(
        tmp_path, faults=[fault], fault_s=fault_s, answer_s=3.0, recovery_s=10.0
    )
    assert figures["missing"] == 0
    assert figures["acknowledged records"] > 0
    assert figures[f"{fault}: refused"] > 0 or not disk.FAULTS[fault].refuses
