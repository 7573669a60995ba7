"""Power cuts: whatever the disk kept, all that was acknowledged is there, and nothing else.

Hypothesis drives the spool's real writer and reader on real files.  A library that is loaded into
the process records each call to the file system; a model of the disk tells what a power cut between
any two of them may leave (``tests/support/disk_model.py``), and the spool is opened on that again.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.faultfs import Control, build, environment

__all__ = ["run"]

ROOT = Path(__file__).parents[2]


def run(
    *, histories: int = 10_000, processes: int = 2, seed: int = 0, mutant: str = ""
) -> dict[str, float]:
    """Play histories in processes of their own; return what happened in them.

    :param mutant: a way to make the spool worse than it is (``tests/support/power_machine.py``).
    :raises AssertionError: the smallest history that broke a promise.
    """
    started = time.monotonic()
    with ThreadPoolExecutor(processes) as pool:
        share = -(-histories // processes)
        seeds = range(seed, seed + processes)
        results = list(pool.map(lambda each: _play(share, each, mutant), seeds))
    figures: Counter[str] = Counter()
    for result in results:
        figures.update(result)
    return {**figures, "seconds": round(time.monotonic() - started, 1)}


def _play(histories: int, seed: int, mutant: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="power-") as name:
        directory = Path(name).resolve()
        spools = directory / "spools"
        spools.mkdir()
        with Control(directory / "control") as control:
            watched = environment(
                build(directory), prefix=spools, control=control.path, syncs=False
            )
            ended = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.support.power_machine"),
                    *(str(histories), str(seed), mutant),
                ],
                cwd=ROOT,
                env={**os.environ, **watched},
                capture_output=True,
                text=True,
                check=False,
            )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return figures
