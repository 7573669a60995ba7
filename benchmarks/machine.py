"""Where figures come from: the machine, how busy it was, and the versions."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["describe", "filesystem", "load"]

_ROOT = Path(__file__).parents[1]


def load() -> float:
    """Return how many processes wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def describe() -> dict[str, Any]:
    """Return what one has to know to compare figures with those of another run."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
        },
        "python": platform.python_version(),
        "node": _output("node", "--version"),
    }


def filesystem(path: Path) -> str:
    """Return the kind of file system that a path is on, as in ``ext4``; "" where nobody tells."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = {Path(fields[1]): fields[2] for fields in map(str.split, lines)}
    resolved = path.resolve()
    return next((mounts[place] for place in (resolved, *resolved.parents) if place in mounts), "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _commit() -> str | None:
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = commit and _output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints; None when it is not there or fails."""
    path = shutil.which(program)
    if path is None:
        return None
    done = subprocess.run(  # noqa: S603 - a fixed command
        [path, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
