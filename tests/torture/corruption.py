"""Damage: bytes that flip and files that end early cost what they hit, and that is counted.

A spool that was killed and one that was closed, with waiting, delivered and dead records, are
damaged in one place after another.  On each the real spool is opened, fed, read, settled, closed
and opened again.  It may lose records, never invent one, and its ledger knows each that is lost.
"""

from pathlib import Path

from tests.support.faultfs import run_watched, sum_of

__all__ = ["run"]

MODULE = "tests.support.damage_program"


async def run(
    directory: Path, *, damages: int = 20_000, processes: int = 2, seed: int = 0
) -> dict[str, int]:
    """Damage spools in processes of their own; return what became of them.

    :param damages: how many to try; 0 for every byte and every length of every file.
    :raises AssertionError: what was wrong, and where the damage was.
    """
    return await sum_of(
        run_watched(
            directory / f"damage-{share}",
            MODULE,
            *(directory / f"damage-{share}/spools", damages, seed, share, processes),
        )
        for share in range(processes)
    )
