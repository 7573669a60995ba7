"""Processes of a benchmark: started, watched, and ended whatever happens; what they have used.

What a process used is read from /proc, so these benchmarks need Linux.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

__all__ = ["ROOT", "Broken", "Program", "Usage", "python", "require_linux", "total", "until"]

ROOT = Path(__file__).parents[1]

_START_S = 30.0
_STOP_S = 20.0
_TICK_S = 0.02
_SHOWN = 2000  # characters of what a process printed
_TICKS = os.sysconf("SC_CLK_TCK")

T = TypeVar("T")


class Broken(Exception):
    """Something that is measured does not do what it should."""


class Usage(NamedTuple):
    """What a process has used so far.

    :param cpu_s: user and system time, in units of 10 ms; also of its children that have ended.
    :param written_bytes: caused to be written to disks.
    :param resident_bytes: of memory, now.
    :param descriptors: open now.
    """

    cpu_s: float
    written_bytes: int
    resident_bytes: int
    descriptors: int


def require_linux() -> None:
    """Refuse to begin what could not be measured.

    :raises Broken: there is no /proc or no epoll.
    """
    if not sys.platform.startswith("linux"):
        raise Broken(
            "only Linux tells what is measured here; python -m benchmarks map runs anywhere"
        )


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return a command."""
    return sys.executable, "-m", module, *arguments


class Program:
    """A process that serves until it is told to end.

    Use it as a context: at its end the process is gone.

    :param name: for messages.
    :param log: file for what it prints.
    :param env: its environment, all of it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._cwd = cwd
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - what is measured
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for who measures; that ends the others
            )
        return self

    def __exit__(self, *_: object) -> None:
        process = self._running()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                pass
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._running().pid

    def check(self) -> None:
        """Look whether it still runs.

        :raises Broken: it has ended.
        """
        code = self._running().poll()
        if code is not None:
            printed = self.printed()[-_SHOWN:].strip() or "it printed nothing"
            raise Broken(f"{self.name} ended with exit code {code}:\n{printed}")

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of a pattern as soon as that has been printed.

        :raises Broken: it ended, or did not print it in time.
        """

        def find() -> re.Match[str] | None:
            self.check()
            return re.search(pattern, self.printed())

        found = until(find, _START_S)
        if found is None:
            raise Broken(
                f"{self.name} did not start in {_START_S:g} s:\n{self.printed()[-_SHOWN:]}"
            )
        return found

    def usage(self) -> Usage:
        """Return what it and its descendants have used together."""
        return total(self.usages())

    def usages(self) -> dict[int, Usage]:
        """Return what it and each of its descendants have used, by process id.

        :raises Broken: it has ended.
        """
        usages = {pid: found for pid in _tree(self.pid) if (found := _usage(pid))}
        if not usages:
            self.check()
        return usages

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "use it as a context"  # noqa: S101
        return self._process


def total(usages: Mapping[int, Usage]) -> Usage:
    """Return what processes have used together."""
    return Usage(*map(sum, zip(*usages.values(), strict=True)))


def until(find: Callable[[], T | None], seconds: float) -> T | None:
    """Return what a function finds, as soon as it finds something; None when time is over."""
    end = time.monotonic() + seconds
    while (found := find()) is None and time.monotonic() < end:
        time.sleep(_TICK_S)
    return found


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        texts = [(thread / "children").read_text() for thread in threads]
    except OSError:
        return  # it has ended
    for child in " ".join(texts).split():
        yield from _tree(int(child))


def _usage(pid: int) -> Usage | None:
    """Return what one process and those of its children that have ended have used."""
    directory = Path(f"/proc/{pid}")
    try:
        # The name may hold anything, also brackets.
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        written = re.search(r"^write_bytes: (\d+)", (directory / "io").read_text(), re.MULTILINE)
        resident = re.search(r"^VmRSS:\s+(\d+)", (directory / "status").read_text(), re.MULTILINE)
        descriptors = len(list((directory / "fd").iterdir()))
    except OSError:
        return None
    return Usage(
        cpu_s=sum(map(int, fields[11:15])) / _TICKS,
        written_bytes=int(written[1]) if written else 0,
        resident_bytes=int(resident[1]) * 1024 if resident else 0,
        descriptors=descriptors,
    )
