"""Power cuts and kills between any two calls to the file system, on a model of the disk."""

from pathlib import Path
from random import Random

import pytest

from tests.support.disk_model import Disk
from tests.support.faultfs import Step, What
from tests.torture import power


async def test_spool_holds_through_power_cuts_kills_and_failing_disks(tmp_path: Path) -> None:
    figures = await power.run(tmp_path, histories=300)
    assert figures["histories"] >= 300
    parts = ("power cuts", "kills", "failed commits", "replays", "purges")
    assert min(figures[part] for part in parts) > 0


@pytest.mark.parametrize("mutant", ["unsynced", "early", "halved"])
async def test_spool_with_a_planted_fault_is_found(tmp_path: Path, mutant: str) -> None:
    with pytest.raises(AssertionError, match="Failing test case"):
        await power.run(tmp_path, histories=600, mutant=mutant)


# The tests above are worth what the model of the disk is.

FILE = b"/spool/file"


def opened(created: bool = True) -> Step:
    return Step(What.OPEN, 3, 2 if created else 0, FILE)


def wrote(data: bytes, offset: int = 0) -> Step:
    return Step(What.WRITE, 3, offset, data)


def synced(error: int = 0) -> Step:
    return Step(What.SYNC, 3, error, b"")


SYNCED_DIRECTORY = (Step(What.OPEN, 4, 0, b"/spool"), Step(What.SYNC, 4, 0, b""))


def images(*steps: Step) -> set[bytes | None]:
    """Return all contents that the file may have after a power cut; None where it is not there."""
    disk = Disk()
    disk.follow(steps)
    return {disk.crash("any", Random(seed)).get(FILE.decode()) for seed in range(300)}


def test_synced_file_in_a_synced_directory_is_there() -> None:
    assert images(opened(), wrote(b"a"), synced(), *SYNCED_DIRECTORY) == {b"a"}


def test_file_in_a_directory_that_was_not_synced_may_be_gone() -> None:
    assert images(opened(), wrote(b"a"), synced()) == {None, b"a"}


def test_unsynced_writes_are_there_or_not_sector_by_sector() -> None:
    old, new = b"a" * 1024, b"b" * 1024
    found = images(opened(), wrote(old), synced(), *SYNCED_DIRECTORY, wrote(new))
    assert found == {old, new, old[:512] + new[512:], new[:512] + old[512:]}


def test_unsynced_growth_may_leave_zeros() -> None:
    found = images(opened(), wrote(b"a"), synced(), *SYNCED_DIRECTORY, wrote(b"b", 1))
    assert found == {b"a", b"ab", b"a\0"}


def test_write_that_met_a_failed_sync_is_not_made_durable_by_the_next() -> None:
    start = (opened(), wrote(b"a"), synced(), *SYNCED_DIRECTORY)
    assert images(*start, wrote(b"b"), synced(5), synced()) == {b"a", b"b"}
    assert images(*start, wrote(b"b"), synced(5), wrote(b"b"), synced()) == {b"b"}


def test_deleted_file_may_come_back() -> None:
    start = (opened(), wrote(b"a"), synced(), *SYNCED_DIRECTORY)
    gone = Step(What.UNLINK, -1, 0, FILE)
    assert images(*start, gone) == {None, b"a"}
    assert images(*start, gone, SYNCED_DIRECTORY[1]) == {None}
