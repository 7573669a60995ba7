"""How many cores this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cores"]

_CONTROLLER = "cpu"
_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_MOUNTS_V1 = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")


def usable_cores(root: Path = Path("/"), *, allowed: int | None = None) -> int:
    """Return the whole cores that this process may keep busy, 1 at least.

    That is what the system lets it run on, but no more than the quota of its container: a process
    more than that would have all of them stopped for the rest of each tenth of a second.

    :param root: of the file system that tells the quotas of control groups, of version 1 or 2.
    :param allowed: how many cores the system lets it run on (its affinity, which a set of CPUs
        limits, too); by default it is asked.
    """
    cores = len(os.sched_getaffinity(0)) if allowed is None else allowed
    return max(1, min([cores, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield, in cores, the quotas of all groups that this process is in, down from the root."""
    for mounts, path in _groups(root):
        for mount in mounts:
            # Within a container the path may be the host's: then the mount itself is the group.
            for folder in (path, *path.parents):
                quota = _quota_v2(root / mount / folder) or _quota_v1(root / mount / folder)
                if quota is not None:
                    yield quota


def _groups(root: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield where to look for the process's groups, and their paths there."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        steps = Path(*(step for step in path.split("/") if step not in ("", "..")))
        if number == "0":
            yield _MOUNTS, steps
        elif _CONTROLLER in controllers.split(","):
            yield _MOUNTS_V1, steps


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return _share(quota, period or "100000")


def _quota_v1(folder: Path) -> float | None:
    return _share(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _share(quota: str, period: str) -> float | None:
    """Return a quota in cores; None where there is none, or it cannot be read."""
    try:
        time, of = int(quota), int(period)
    except ValueError:  # also "max"
        return None
    return time / of if time > 0 and of > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
