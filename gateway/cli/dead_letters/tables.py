"""How dead letters look at a terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gateway.dead_letters.model import Letter, Problem, Replayed
from gateway.spool.dead_letters import Group

__all__ = ["progress", "show_groups", "show_letters", "show_problems", "show_would"]

_EXAMPLES = 10


def show_groups(groups: Iterable[Group], *, to_stderr: bool = False) -> None:
    """Print counts by cause."""
    table = _table("destination", "endpoint", "kind", "reason", "letters", "size", "oldest")
    table.columns[4].justify = table.columns[5].justify = "right"
    for each in ("newest", "example"):
        table.add_column(each, overflow="fold")
    for group in groups:
        table.add_row(
            *(group.destination, group.endpoint or "-", group.kind, group.reason),
            *(str(group.letters), _size(group.bytes), _time(group.oldest_ms)),
            *(_time(group.newest_ms), _plain(group.example)),
        )
    _console(to_stderr=to_stderr).print(table)


def show_letters(letters: Iterable[Letter], *, has_header: bool) -> None:
    """Print one line a letter, without what it holds."""
    if has_header:
        print(f"{'id':>8}  {'created':24}  destination/endpoint  kind  reason  detail")
    for letter in letters:
        place = f"{letter.destination}/{letter.endpoint or '-'}"
        print(
            f"{letter.id:>8}  {letter.created:24}  {place}  {letter.kind}  {letter.reason}  "
            f"{_plain(letter.detail)}"
        )


def show_problems(problems: Sequence[Problem]) -> None:
    """Print on standard error why letters stay as they are, by reason, with examples."""
    by_reason: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        by_reason.setdefault((problem.destination, problem.reason), []).append(problem)
    table = _table("stays", "destination", "reason", "why", "ids")
    for (destination, reason), same in by_reason.items():
        ids = ", ".join(str(each.id) for each in same[:_EXAMPLES])
        more = ", ..." if len(same) > _EXAMPLES else ""
        table.add_row(str(len(same)), destination, reason, _plain(same[0].detail), ids + more)
    if by_reason:
        _console(to_stderr=True).print(table)


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
        console=_console(to_stderr=True),
    )


def _console(*, to_stderr: bool) -> Console:
    console = Console(stderr=to_stderr, markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1000  # nothing is cut or folded in a file
    return console


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


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
