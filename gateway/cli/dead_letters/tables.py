"""How dead letters and pending records look at a terminal."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.dead_letters.model import Letter, Replayed, ReplayProblem
from gateway.pending.model import PendingGroup, PendingRecord
from gateway.spool.dead_letters import LetterGroup

__all__ = [
    "progress",
    "show_groups",
    "show_letters",
    "show_problems",
    "show_waiting",
    "show_waiting_each",
    "show_would",
]

_EXAMPLES = 10


def show_groups(groups: Iterable[LetterGroup], *, to_stderr: bool = False) -> None:
    """Print counts by cause."""
    file = sys.stderr if to_stderr else sys.stdout
    rows = [("letters", "reason", "kind", "destination/endpoint", "size")]
    notes = [""]
    for group in groups:
        place = f"{group.destination}/{group.endpoint or '-'}"
        count, size = str(group.letters), _size(group.bytes)
        rows.append((count, group.reason, group.kind, place, size))
        span = f"{_time(group.oldest_ms)} to {_time(group.newest_ms)}"
        notes.append(f"{span}  {_plain(group.example)}")
    for row, note in zip(_aligned(rows, right=1), notes, strict=True):
        print(row, file=file)
        if note:
            print(_folded(note, file), file=file)


def show_letters(letters: Sequence[Letter], *, has_header: bool) -> None:
    """Print letters without what they hold: one line each, for a terminal folded."""
    if sys.stdout.isatty():
        _show_letters_folded(letters, has_header=has_header)
        return
    rows = [("id", "created", "destination/endpoint", "kind", "reason", "detail")]
    for letter in letters:
        about = (letter.kind, letter.reason, _plain(letter.detail))
        rows.append((str(letter.id), letter.created, _place(letter), *about))
    for row in _aligned(rows, right=1)[0 if has_header else 1 :]:
        print(row)


def _show_letters_folded(letters: Sequence[Letter], *, has_header: bool) -> None:
    rows = [("id", "reason", "kind", "destination/endpoint")]
    rows += [(str(letter.id), letter.reason, letter.kind, _place(letter)) for letter in letters]
    header, *lines = _aligned(rows, right=1)
    if has_header:
        print(header)
    for line, letter in zip(lines, letters, strict=True):
        print(line)
        print(_folded(f"{letter.created}  {_plain(letter.detail)}", sys.stdout))


def _place(letter: Letter) -> str:
    return f"{letter.destination}/{letter.endpoint or '-'}"


def show_waiting(groups: Iterable[PendingGroup], *, to_stderr: bool = False) -> None:
    """Print what waits, by endpoint."""
    file = sys.stderr if to_stderr else sys.stdout
    rows = [("records", "state", "destination/endpoint", "size", "oldest")]
    notes = [""]
    for group in groups:
        place, size = f"{group.destination}/{group.endpoint}", _size(group.bytes)
        rows.append((str(group.records), group.state, place, size, _time(group.oldest_ms)))
        wait = group.next_attempt_in_s
        when = "" if wait is None else f"next attempt in {wait:.0f} s: "
        notes.append(f"{when}{_plain(group.detail)}")
    for row, note in zip(_aligned(rows, right=1), notes, strict=True):
        print(row, file=file)
        if note:
            print(_folded(note, file), file=file)


def show_waiting_each(records: Sequence[PendingRecord], *, has_header: bool) -> None:
    """Print one line a record, without what it holds."""
    rows = [("id", "accepted", "destination/endpoint", "event")]
    for record in records:
        place = f"{record.destination}/{record.endpoint}"
        rows.append((record.id, record.accepted, place, _plain(record.event or "-")))
    for row in _aligned(rows, right=1)[0 if has_header else 1 :]:
        print(row)


def show_problems(problems: Sequence[ReplayProblem]) -> None:
    """Print on standard error why letters stay as they are, by reason, with examples."""
    by_reason: dict[tuple[str, str], list[ReplayProblem]] = {}
    for problem in problems:
        by_reason.setdefault((problem.destination, problem.reason), []).append(problem)
    if not by_reason:
        return
    rows = [("stays", "reason", "destination")]
    rows += [(str(len(same)), reason, name) for (name, reason), same in by_reason.items()]
    header, *lines = _aligned(rows, right=1)
    print(header, file=sys.stderr)
    for line, same in zip(lines, by_reason.values(), strict=True):
        ids = ", ".join(str(each.id) for each in same[:_EXAMPLES])
        more = ", ..." if len(same) > _EXAMPLES else ""
        print(line, file=sys.stderr)
        print(_folded(f"{_plain(same[0].detail)} ({ids}{more})", sys.stderr), file=sys.stderr)


def show_would(would: Sequence[Replayed], total: int) -> None:
    """Print what letters would become; examples of many."""
    for letter in would[:_EXAMPLES]:
        print(f"dead letter {letter.id} for {letter.destination} becomes:")
        for made in letter.made:
            print(f"  {made.endpoint:7} {bytes(made.record).decode('utf-8', 'replace')}")
    if total > _EXAMPLES:
        print(f"... and {total - _EXAMPLES} more; --json prints all of them")


def progress() -> Progress:
    """Return a progress bar on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, markup=False, highlight=False),
    )


def _aligned(rows: Sequence[Sequence[str]], *, right: int) -> list[str]:
    """Return a line for each row; nothing is ever cut, however narrow the terminal is.

    :param right: so many columns, the first ones, hold numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i < right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _folded(text: str, file: TextIO) -> str:
    """Return what belongs to the line above: indented, and folded where a terminal ends."""
    if not file.isatty():
        return f"    {text}"
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    ")


def _plain(text: str) -> str:
    """Return text of others without what would move the cursor of a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
