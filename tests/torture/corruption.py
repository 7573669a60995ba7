"""Damage: bytes that flip and files that end early cost what they hit, and that is counted.

A spool that was killed and one that was closed, with waiting, delivered and dead records, are
damaged in one place after another.  On each the real spool is opened, fed, read, settled, closed
and opened again.  It may lose records, never invent one, and its ledger knows each that is lost.
"""

import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.faultfs import run_watched

__all__ = ["run"]


def run(*, damages: int = 20_000, processes: int = 2, seed: int = 0) -> dict[str, float]:
    """Damage spools in processes of their own; return what became of them.

    :param damages: how many to try; 0 for every byte and every length of every file.
    :raises AssertionError: what was wrong, and where the damage was.
    """
    started = time.monotonic()

    def damage(share: int) -> dict[str, int] | AssertionError:
        with tempfile.TemporaryDirectory(prefix="damage-") as name:
            directory = Path(name)
            try:
                return run_watched(
                    directory,
                    "tests.support.damage_program",
                    *(directory / "spools", damages, seed, share, processes),
                )
            except AssertionError as error:
                return error

    figures: Counter[str] = Counter()
    with ThreadPoolExecutor(processes) as pool:
        for result in list(pool.map(damage, range(processes))):
            if isinstance(result, AssertionError):
                raise result
            figures.update(result)
    return {**figures, "seconds": round(time.monotonic() - started, 1)}
