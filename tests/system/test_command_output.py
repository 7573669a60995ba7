"""Commands that end by themselves, where nobody takes what they say, or nothing has room for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.model import Entry
from tests.support.letters import IMPORT, record_letter, spool_in

CONFIG = """
spool.path = "spool"
server.port = 1
admin.port = 2
[[sources]]
name = "web"
write_key = "key"
[[destinations]]
name = "mixpanel"
[destinations.settings]
projectToken = "abcdefgh"
"""

WRITING = (
    ("--help",),
    ("run", "--help"),
    ("check", "-c", "gateway.toml", "--print"),
    ("map", "event.json"),
    ("dead-letters", "list", "-c", "gateway.toml"),
    ("dead-letters", "export", "-c", "gateway.toml", "-"),
    ("pending", "list", "-c", "gateway.toml"),
)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """One with a spool in it, of a gateway that is stopped."""
    (tmp_path / "gateway.toml").write_text(CONFIG)
    (tmp_path / "event.json").write_text('{"type": "track", "event": "E", "userId": "u"}')
    async with spool_in(tmp_path / "spool") as spool:
        letters = [record_letter(n) for n in range(3)]
        await spool.append([Entry(IMPORT, b"{}\n" * 3, 3)], letters)
    return tmp_path


def gateway(
    folder: Path, *arguments: str, stdout: int | None = None, stderr: int = subprocess.PIPE
) -> tuple[int, str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    if stdout is None:
        command = ["/bin/sh", "-c", 'exec "$@" <&- >&-', "sh", *command]
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        timeout=60,
        check=False,
    )
    return ended.returncode, (ended.stderr or b"").decode()


@contextmanager
def full_disk() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def dead_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_output_that_cannot_be_written_is_one_plain_line(
    folder: Path, command: tuple[str, ...]
) -> None:
    with full_disk() as fd:
        code, said = gateway(folder, *command, stdout=fd)
    lines = [line for line in said.splitlines() if not line.startswith("gateway: warning:")]
    told = "gateway: cannot write to standard output: No space left on device"
    assert (code, lines[-1:]) == (1, [told]), said
    assert "Traceback" not in said
    assert "Error" not in said


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_mistake(
    folder: Path, command: tuple[str, ...]
) -> None:
    with dead_reader() as fd:
        code, said = gateway(folder, *command, stdout=fd)
    assert code == 141
    assert not [word for word in ("Traceback", "rror", "Broken", "cannot") if word in said], said


@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_a_closed_output_holds_up_nothing(folder: Path, command: tuple[str, ...]) -> None:
    code, said = gateway(folder, *command)
    assert code == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("check", "-c", "gateway.toml"), 0),
        (("check", "-c", "missing.toml"), 2),
        (("no-such-command",), 2),
        (("dead-letters", "show", "77", "-c", "gateway.toml"), 1),
        (("dead-letters", "export", "-c", "gateway.toml", "out.ndjson"), 0),
    ],
)
def test_what_nobody_can_be_told_changes_no_exit_code(
    folder: Path, command: tuple[str, ...], expected: int
) -> None:
    with full_disk() as full, dead_reader() as dead:
        for fd in (full, dead):
            code, _ = gateway(folder, *command, stdout=subprocess.DEVNULL, stderr=fd)
            assert code == expected
