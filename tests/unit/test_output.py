"""What a process says: whoever takes it decides about nothing."""

import fcntl
import os
import pty
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.output import Output

PIPE_BYTES = 65536
PAGE = 4096  # what the smallest pipe takes


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            try:
                os.close(fd)
            except OSError:
                continue  # by the test


def read_all(fd: int) -> str:
    os.set_blocking(fd, False)
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(fd, PIPE_BYTES)
        except BlockingIOError:
            return b"".join(parts).decode()
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def test_lines_arrive_whole_and_in_their_order() -> None:
    with pipe() as (reader, writer):
        output = Output(writer)
        for number in range(100):
            output.write(f"line {number} ☃\n")
        assert output.finish()
        assert read_all(reader).splitlines() == [f"line {number} ☃" for number in range(100)]
        assert output.lost == 0
        assert threading.active_count() == 1 or "output" not in {
            thread.name for thread in threading.enumerate()
        }


def test_text_that_is_not_unicode_is_written_all_the_same() -> None:
    with pipe() as (reader, writer):
        output = Output(writer)
        output.write("half \ud83d\n")
        assert output.finish()
        assert read_all(reader) == "half \\ud83d\n"


def test_reader_that_has_gone_costs_lines_and_nothing_else() -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        output = Output(writer)
        for _ in range(10):
            output.write("line\n")
            assert output.finish()
        assert output.lost == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_costs_lines_and_nothing_else() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        output = Output(full)
        output.write("one\ntwo\n")
        assert output.finish()
        assert output.lost == 2
    finally:
        os.close(full)


def test_terminal_that_has_gone_costs_lines_and_nothing_else() -> None:
    ours, theirs = pty.openpty()
    output = Output(theirs)
    output.write("seen\n")
    assert output.finish()
    assert output.isatty()
    os.close(ours)
    output.write("not seen\n")
    assert output.finish()
    assert output.lost == 1
    os.close(theirs)


def test_reader_that_hangs_holds_nobody_up_and_is_told_later_how_much_is_lost() -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x" * (PAGE - 1) + b"\n")  # there is no room from the start
        output = Output(writer, most_bytes=10_000)
        for number in range(1000):
            output.write(f"line {number:03} of the log\n")  # 20 bytes
        assert not output.finish(0.1)
        lost = output.lost
        assert lost == 1000 - 10_000 / 20

        os.set_blocking(reader, True)
        kept = [os.read(reader, PIPE_BYTES)]
        while not output.finish(0.05):
            kept.append(os.read(reader, PIPE_BYTES))
        output.write("again\n")
        assert output.finish()
        lines = (b"".join(kept).decode() + read_all(reader)).splitlines()
    notices = [line for line in lines if "lost" in line]
    assert notices == [f"gateway: {lost} lines before this one are lost: nobody took them in time"]
    assert lines[-1] == "again"
    said = [line for line in lines if line.startswith("line")]
    assert said == [f"line {number:03} of the log" for number in range(1000 - lost)]
    assert output.lost == lost


def test_descriptor_that_others_have_made_non_blocking_loses_nothing() -> None:
    with pipe() as (reader, writer):
        os.set_blocking(writer, False)
        output = Output(writer)
        for number in range(1000):
            output.write(f"line {number:03}\n")
        text = ""
        while not output.finish(0.05):
            text += read_all(reader)
        text += read_all(reader)
        assert text.splitlines() == [f"line {number:03}" for number in range(1000)]
        assert output.lost == 0


def test_line_that_was_cut_by_a_full_disk_does_not_run_into_the_next(tmp_path: Path) -> None:
    """A limit of the size of files fails in the middle of a line, as a disk does."""
    script = """
import resource, sys, os
from gateway.output import Output
output = Output(1)
output.write("first\\n")
output.finish()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
output.write("second, which is cut\\n")
output.finish()
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
output.write("third\\n")
output.finish()
"""
    path = tmp_path / "log"
    with path.open("wb") as log:
        subprocess.run([sys.executable, "-c", script], stdout=log, check=True, timeout=30)
    lines = path.read_text().splitlines()
    assert lines[:2] == ["first", "seco"]
    assert lines[2].startswith("gateway: 1 lines before this one are lost: ")
    assert lines[3:] == ["third"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)


def test_what_is_said_while_something_is_said_does_not_hold_it_up() -> None:
    class Garbage:
        def __str__(self) -> str:
            return "text"

    with pipe() as (reader, writer):
        output = Output(writer)
        with output._changed:  # as when a finalizer runs inside write
            output.write("inner\n")
        assert output.finish()
        assert read_all(reader) == "inner\n"
