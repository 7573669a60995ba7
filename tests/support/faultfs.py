"""Faults of the file system, switched on and off while a process runs (see ``faultfs.c``)."""

import asyncio
import ctypes
import enum
import errno
import json
import mmap
import os
import struct
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.processes import run

__all__ = [
    "Control",
    "Operation",
    "Step",
    "Trace",
    "What",
    "build",
    "environment",
    "real",
    "run_watched",
    "sum_of",
]

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("faultfs.c")

_RULE = struct.Struct("<6i40s")
_HITS = struct.Struct("<i")
_HITS_AT = 20
_ENTRY = struct.Struct("<iiqq")


class Operation(enum.IntEnum):
    """Calls that a rule can be made for; the order is that of ``enum operation``."""

    OPEN = 0
    READ = 1
    WRITE = 2
    SYNC = 3
    TRUNCATE = 4
    UNLINK = 5
    RENAME = 6
    MKDIR = 7
    STATVFS = 8


class What(enum.IntEnum):
    """Calls that a trace holds; the order is that of ``enum recorded``."""

    OPEN = 0
    CLOSE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    UNLINK = 5
    RENAME = 6
    MKDIR = 7
    RMDIR = 8


class Step(NamedTuple):
    """One recorded call.

    :param number: offset of a write, size after a truncation, errno of a failed sync, and for an
        open 1 when it truncated, plus 2 when it created.
    :param data: of a write; otherwise paths, divided by a null byte.
    """

    what: What
    fd: int
    number: int
    data: bytes


def build(directory: Path) -> Path:
    """Compile the library into a directory; return its path."""
    library = directory / "faultfs.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    command = [*compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
    subprocess.run([*command, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return library


def environment(
    library: Path, *, prefix: Path, control: Path, syncs: bool = True
) -> dict[str, str]:
    """Return the environment of a process that is watched.

    :param prefix: paths that start so are watched.
    :param syncs: whether ``fsync`` is done, or only recorded.
    """
    variables = {
        "LD_PRELOAD": str(library),
        "FAULTFS_PREFIX": str(prefix),
        "FAULTFS_CONTROL": str(control),
    }
    return variables if syncs else {**variables, "FAULTFS_NO_SYNC": "1"}


async def run_watched(
    directory: Path, module: str, *arguments: object, timeout: float = 3600.0
) -> dict[str, int]:
    """Run a module that prints figures as JSON, with the library loaded and ``fsync`` for free.

    :param directory: for the library; what is below its ``spools`` is watched.
    :raises AssertionError: with what the module printed, when it fails.
    """
    spools = real(directory) / "spools"
    spools.mkdir(parents=True)
    with Control(directory / "control") as control:
        watched = environment(build(directory), prefix=spools, control=control.path, syncs=False)
        ended = await run(
            *(sys.executable, "-m", module, *map(str, arguments)),
            cwd=ROOT,
            env={**os.environ, **watched},
            timeout=timeout,
        )
    assert ended.code == 0, ended.stdout + ended.stderr
    figures: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def real(path: Path) -> Path:
    """Return the name by which SQLite opens a path, without links."""
    return path.resolve()


async def sum_of(calls: Iterable[Awaitable[dict[str, int]]]) -> dict[str, int]:
    """Return the sums of all figures, when all calls have ended; raise the first error."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    figures: Counter[str] = Counter()
    for result in results:
        if isinstance(result, BaseException):
            raise result
        figures.update(result)
    return dict(figures)


class Control:
    """The rules that watched processes follow.  Use it as a context.

    :param new: make the file; otherwise it is there already.
    """

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.path = path
        if new:
            path.write_bytes(bytes(_RULE.size * len(Operation)))
        with path.open("r+b") as file:
            self._rules = mmap.mmap(file.fileno(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rules.close()

    def set(
        self,
        operation: Operation,
        error: int = 0,
        *,
        skip: int = 0,
        times: int = -1,
        delay_s: float = 0.0,
        shortened: bool = False,
        suffix: str = "",
    ) -> None:
        """Make a rule for an operation, in place of the one it has.

        :param error: errno to fail with; 0 to succeed.
        :param skip: calls to let through first.
        :param times: calls to apply the rule to; -1 for all that come.
        :param delay_s: time to wait first, for as long as the rule stays.
        :param shortened: writes store half of what they should; statvfs tells of no space.
        :param suffix: only for paths that end so.
        """
        assert error == 0 or error in errno.errorcode
        fields = (error, skip, times, round(delay_s * 1000), shortened, 0, suffix.encode())
        start = operation * _RULE.size
        # Another process may read at any time: ``times`` switches the rule on, so it comes last.
        off = _RULE.pack(*fields[:2], 0, *fields[3:])
        self._rules[start : start + _RULE.size] = off
        _HITS.pack_into(self._rules, start + 8, times)

    def clear(self) -> None:
        """Drop all rules: the disk is well again."""
        for operation in Operation:
            start = operation * _RULE.size
            self._rules[start : start + _HITS_AT] = bytes(_HITS_AT)  # the hits stay

    def hits(self, operation: Operation) -> int:
        """Return to how many calls the last rule was applied."""
        (hits,) = _HITS.unpack_from(self._rules, operation * _RULE.size + _HITS_AT)
        return int(hits)


class Trace:
    """What this process did to watched files; the library has to be loaded in it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.faultfs_traced.restype = ctypes.c_void_p
        self._library.faultfs_traced.argtypes = [ctypes.POINTER(ctypes.c_size_t)]

    def start(self) -> None:
        """Forget what was recorded, and record from now on."""
        self._library.faultfs_trace(1)

    def stop(self) -> None:
        """Record no more; what was recorded is forgotten."""
        self._library.faultfs_trace(0)

    def take(self) -> list[Step]:
        """Return what was recorded since ``start`` or the last call."""
        size = ctypes.c_size_t()
        address = self._library.faultfs_traced(ctypes.byref(size))
        data = ctypes.string_at(address, size.value) if size.value else b""
        self.start()
        return list(_steps(data))


def _steps(data: bytes) -> Iterator[Step]:
    position = 0
    while position < len(data):
        what, fd, number, length = _ENTRY.unpack_from(data, position)
        position += _ENTRY.size
        yield Step(What(what), fd, number, data[position : position + length])
        position += length
