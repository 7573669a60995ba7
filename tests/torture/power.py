"""Power cuts: whatever the disk kept, all that was acknowledged is there, and nothing else.

Hypothesis drives the spool's real writer and reader on real files.  A library that is loaded into
the process records each call to the file system; a model of the disk tells what a power cut between
any two of them may leave (``tests/support/disk_model.py``), and the spool is opened on that again.
"""

from pathlib import Path

from tests.support.faultfs import run_watched, sum_of

__all__ = ["run"]

MODULE = "tests.support.power_machine"


async def run(
    directory: Path,
    *,
    histories: int = 10_000,
    processes: int = 2,
    seed: int = 0,
    mutant: str = "",
) -> dict[str, int]:
    """Play histories in processes of their own; return what happened in them.

    :param mutant: a way to make the spool worse than it is, for the proof that this finds it.
    :raises AssertionError: the smallest history that broke a promise.
    """
    share = -(-histories // processes)
    return await sum_of(
        run_watched(directory / f"power-{chosen}", MODULE, share, chosen, mutant)
        for chosen in range(seed, seed + processes)
    )
