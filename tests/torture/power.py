"""Power cuts: whatever the disk kept, all that was acknowledged is there, and nothing else.

Hypothesis drives the spool's real writer and reader on real files.  A library that is loaded into
the process records each call to the file system; a model of the disk tells what a power cut between
any two of them may leave (``tests/support/disk_model.py``), and the spool is opened on that again.
"""

import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.faultfs import run_watched

__all__ = ["run"]


def run(
    *, histories: int = 10_000, processes: int = 2, seed: int = 0, mutant: str = ""
) -> dict[str, float]:
    """Play histories in processes of their own; return what happened in them.

    :param mutant: a way to make the spool worse than it is (``tests/support/power_machine.py``).
    :raises AssertionError: the smallest history that broke a promise.
    """
    started = time.monotonic()
    share = -(-histories // processes)

    def play(chosen: int) -> dict[str, int]:
        with tempfile.TemporaryDirectory(prefix="power-") as directory:
            module = "tests.support.power_machine"
            return run_watched(Path(directory), module, share, chosen, mutant)

    figures: Counter[str] = Counter()
    with ThreadPoolExecutor(processes) as pool:
        for result in pool.map(play, range(seed, seed + processes)):
            figures.update(result)
    return {**figures, "seconds": round(time.monotonic() - started, 1)}
