"""What a process that serves says, on standard output and error: it decides about nothing.

Whoever should take it may be gone, hang, or have no room.  None of this may end the process, hold
it up, or let its memory grow: lines that nobody takes are lost, and counted.  Of a command that
ends by itself, standard output is what it was called for: without it, the command has failed.
"""

import atexit
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EPIPE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Output", "checked_output", "detach_output", "finish_output", "lost_lines"]

_MOST_BYTES = 1024 * 1024
"""What may wait for a reader that is slow."""

_FINISH_S = 1.0
"""How long the end of the process waits for what has been said."""

_POLL_MS = 1000

_READER_GONE = 141
"""What a shell reports of a program that SIGPIPE has ended."""


class Output(io.TextIOBase):
    """A text stream of which ``write`` neither fails nor blocks.

    A thread writes, as long as there is something to write: nothing else keeps a descriptor that
    other processes have too from blocking, since whether it blocks is the same for all of them.

    :param most_bytes: that wait; what comes on top of them is lost.
    """

    def __init__(self, fd: int, *, most_bytes: int = _MOST_BYTES) -> None:
        self._fd = fd
        self._most_bytes = most_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # of those that wait, and of the one that is being written
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # reentrant: collecting garbage may say something
        self._lost = self._told = 0
        self._why = ""
        self._is_torn = False  # whether the last line ends in the middle

    @property
    def lost(self) -> int:
        """How many lines nobody took."""
        return self._lost

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of what is written."""
        return "utf-8"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether a person may be looking."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, text: str) -> int:
        """Have a text written soon, or never."""
        line = text.encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(line) > self._most_bytes:
                self._lose(line, "nobody took them in time")
            elif line:
                self._waiting.append(line)
                self._bytes += len(line)
                self._start()
        return len(text)

    def finish(self, timeout_s: float = _FINISH_S) -> bool:
        """Wait until all is written; return False if it takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout_s)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="output", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # too many threads, or too late
                self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                line = self._waiting.popleft()
            self._pass_on(line)
            with self._changed:
                self._bytes -= len(line)

    def _pass_on(self, line: bytes) -> None:
        with self._changed:
            lost, why = self._lost, self._why
        news = lost - self._told
        notice = f"gateway: {news} lines before this one are lost: {why}\n" if news else ""
        try:
            self._write(b"\n" * self._is_torn + notice.encode() + line)
        except OSError as error:
            with self._changed:
                self._lose(line, error.strerror or str(error))
        else:
            self._told = lost

    def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # who shares the descriptor has made it so
                waiting = select.poll()
                waiting.register(self._fd, select.POLLOUT)
                waiting.poll(_POLL_MS)
            except OSError:
                self._is_torn = self._is_torn or len(rest) < len(text)
                raise
        self._is_torn = False

    def _lose(self, line: bytes, why: str) -> None:
        self._lost += max(1, line.count(b"\n"))
        self._why = why


@contextmanager
def checked_output() -> Iterator[None]:
    """End with a plain word, in a block, where standard output cannot be written."""
    _fill_gaps()
    sys.stdout, sys.stderr = (
        _stream(_Wanted(1, "w", closefd=False)),
        _stream(_Said(2, "w", closefd=False)),
    )
    try:
        yield
    finally:
        sys.stdout.flush()  # or what is left would be written when nobody can say so any more


def _stream(raw: io.FileIO) -> io.TextIOWrapper:
    before = sys.__stdout__ if raw.fileno() == 1 else sys.__stderr__
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "backslashreplace",
        line_buffering=raw.fileno() == 2 or raw.isatty(),
    )


class _Wanted(io.FileIO):
    """Ends the program when it cannot be written: quietly when its reader has seen enough."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is left is still to be written when the program ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno == EPIPE:
                raise SystemExit(_READER_GONE) from None
            print(f"gateway: cannot write to standard output: {error.strerror}", file=sys.stderr)
            raise SystemExit(1) from None


class _Said(io.FileIO):
    """Takes what cannot be written: the exit code tells as well."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def detach_output() -> None:
    """Let nobody who takes standard output and error hold this process up, or end it.

    Also after a fork, where the one who writes has stayed behind.
    """
    _fill_gaps()
    sys.stdout = Output(1)
    sys.stderr = Output(2)
    atexit.unregister(finish_output)
    atexit.register(finish_output)


def finish_output() -> None:
    """Wait for a moment until what has been said is written."""
    for stream in _outputs():
        stream.finish()


def lost_lines() -> int:
    """Return how many lines of this process nobody took."""
    return sum(stream.lost for stream in _outputs())


def _outputs() -> list[Output]:
    return [each for each in (sys.stdout, sys.stderr) if isinstance(each, Output)]


def _fill_gaps() -> None:
    """Open what was closed, or a file or connection would get its number, and what is said."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
