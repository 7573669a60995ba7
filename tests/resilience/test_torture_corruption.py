"""Flipped bytes and cut files: what is lost is counted, and nothing else happens."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.damage_program import examine
from tests.support.specimens import Damage, make
from tests.torture import corruption


async def test_damaged_spool_opens_and_counts_what_it_lost(tmp_path: Path) -> None:
    figures = await corruption.run(tmp_path, damages=400)
    assert figures["damages"] >= 400
    assert min(figures["nothing lost"], figures["records lost and counted"]) > 0


# The test above is worth what the judge is.


async def test_judge_of_records_that_were_never_stored_tells_it(tmp_path: Path) -> None:
    specimen, _ = await make(tmp_path / "specimen")
    stored = {queue: frozenset[bytes]() for queue in specimen.stored}
    forged = replace(specimen, stored=stored)
    with pytest.raises(AssertionError, match="never stored"):
        await examine(forged, Damage("worker-0.lock", 0), tmp_path / "spool")


async def test_judge_of_records_that_count_as_nothing_tells_it(tmp_path: Path) -> None:
    specimen, _ = await make(tmp_path / "specimen")
    twice = {name: counts + counts for name, counts in specimen.ledger.items()}
    forged = replace(specimen, ledger=twice)
    with pytest.raises(AssertionError, match="accepted is wrong"):
        await examine(forged, Damage("worker-0.lock", 0), tmp_path / "spool")
