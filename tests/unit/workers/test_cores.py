"""How many workers ``server.workers = 0`` starts: the cores that a container may use."""

import os
from pathlib import Path

import pytest

from gateway.workers import usable_cores

V2 = "0::/\n"
V2_WITHIN = "0::/kubepods/pod1/c1\n"
V1 = "5:cpuset:/docker/1\n4:cpu,cpuacct:/docker/1\n3:cpuacct,other:/x\n0::/docker/1\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {}, 8),
        (V2, {"cpu.max": "max 100000"}, 8),
        (V2, {"cpu.max": "200000 100000"}, 2),
        (V2, {"cpu.max": "300000 100000"}, 3),
        (V2, {"cpu.max": "25000 10000"}, 2),
        (V2, {"cpu.max": "50000 100000"}, 1),
        (V2, {"cpu.max": "1600000 100000"}, 8),
        (V2, {"cpu.max": "200000"}, 2),
        (V2, {"cpu.max": "nonsense"}, 8),
        (V2, {"cpu.max": "100000 0"}, 8),
        (V2, {"cpu.max": ""}, 8),
        (V2_WITHIN, {"kubepods/pod1/c1/cpu.max": "400000 100000"}, 4),
        (V2_WITHIN, {"cpu.max": "400000 100000"}, 4),
        (
            V2_WITHIN,
            {
                "kubepods/pod1/c1/cpu.max": "max 100000",
                "kubepods/pod1/cpu.max": "200000 100000",
                "kubepods/cpu.max": "600000 100000",
            },
            2,
        ),
        ("0::/../../other\n", {"other/cpu.max": "300000 100000"}, 3),
        ("0::/x\n", {"unified/x/cpu.max": "300000 100000"}, 3),
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "-1"}, 8),
        (V1, {"cpu/docker/1/cpu": "300000/100000"}, 3),
        (V1, {"cpu,cpuacct/docker/1/cpu": "300000/100000"}, 3),
        (V1, {"cpu/cpu": "150000/50000"}, 3),
        (V1, {"cpu/cpu": "10000/100000"}, 1),
        ("9:name=systemd:/\nnonsense\n\n1:cpu:/\n", {"cpu/cpu": "200000/100000"}, 2),
        (None, {"cpu.max": "200000 100000"}, 8),
    ],
)
def test_quota_of_a_container_counts(
    tmp_path: Path, groups: str | None, files: dict[str, str], expected: int
) -> None:
    if groups is not None:
        write(tmp_path / "proc/self/cgroup", groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        if "/" in text:  # version 1 has a file for each half
            quota, _, period = text.partition("/")
            write(path.with_name("cpu.cfs_quota_us"), quota + "\n")
            write(path.with_name("cpu.cfs_period_us"), period + "\n")
        else:
            write(path, text + "\n")

    assert usable_cores(tmp_path, allowed=8) == expected


def test_no_more_than_the_system_lets_it_run_on(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
