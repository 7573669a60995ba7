"""``gateway dead-letters replay``: send again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import typer

from gateway.cli.common import Failed, ask, counted, do, fail, say
from gateway.cli.dead_letters.access import Access, access
from gateway.cli.dead_letters.chosen import check_id, chosen
from gateway.cli.dead_letters.edits import batches, edited, read_edits
from gateway.cli.dead_letters.tables import progress, show_groups, show_problems, show_would
from gateway.cli.options import LetterOptions, Where
from gateway.dead_letters.model import Edit, Replayed, ReplayProblem, ReplayReport, ReplayRequest
from gateway.spool.dead_letters import Filter

__all__ = ["replay_letters"]

_EXAMPLES = 10


def replay_letters(
    letters: LetterOptions,
    where: Where,
    *,
    edited_file: Path | None,
    edit_id: str | None,
    editor: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send dead letters again, and say what became of them.

    :param edited_file: has the letters, with other payloads.
    :param edit_id: the only letter, to be edited by a person.
    """
    wanted = chosen(letters)
    if edit_id is not None:
        check_id("--edit", edit_id)
    if sum((wanted != Filter(), edited_file is not None, edit_id is not None)) > 1:
        raise fail("give filters, or --edited FILE, or --edit ID: only one of them", 2)
    # All of them are read before any is sent: a mistake in the last stops the first.
    edits = sum(1 for _ in read_edits(edited_file)) if edited_file else 0

    async def run() -> bool:
        async with access(where, destination=wanted.destination) as (store, place):
            plan = _Plan(store, dry_run=dry_run, as_json=as_json)
            if edit_id is not None:
                letter = await store.get(edit_id)
                if letter is None:
                    raise Failed(f"there is no dead letter {edit_id} in {place}")
                edit = edited(letter, editor)
                plan.of_edits(1, lambda: iter([edit]))
            elif edited_file is not None:
                plan.of_edits(edits, lambda: read_edits(edited_file))
            else:
                await plan.of_filter(wanted)
            if not plan.total:
                say("gateway: no dead letters to replay")
                return True
            if not dry_run:
                ask(f"replay {counted(plan.total, 'dead letter')} of {place}?", yes=yes)
            return await plan.carry_out()

    if not do(run()):
        raise typer.Exit(1)


class _Plan:
    """What is to be replayed, and what has become of it so far."""

    def __init__(self, letters: Access, *, dry_run: bool, as_json: bool) -> None:
        self._letters = letters
        self._dry_run = dry_run
        self._as_json = as_json
        self._edits: Callable[[], Iterator[Edit]] | None = None
        self._filter = Filter()
        self.total = 0
        self._replayed = self._records = self._missing = 0
        self._problems: list[ReplayProblem] = []
        self._would: list[Replayed] = []

    def of_edits(self, total: int, edits: Callable[[], Iterator[Edit]]) -> None:
        """Replay these letters as edited."""
        self.total, self._edits = total, edits

    async def of_filter(self, wanted: Filter) -> None:
        """Replay what there is now of these letters."""
        summary = await self._letters.summary(wanted)
        self.total = sum(group.letters for group in summary.groups)
        self._filter = msgspec.structs.replace(wanted, up_to=summary.up_to)
        if summary.groups and not self._as_json:
            show_groups(summary.groups, to_stderr=True)

    async def carry_out(self) -> bool:
        """Replay batch after batch, and report; return whether everything could be done."""
        with progress() as bar:
            task = bar.add_task("looked at" if self._dry_run else "replayed", total=self.total)
            if self._edits is not None:
                for edits in batches(self._edits()):
                    request = ReplayRequest(edits=tuple(edits), dry_run=self._dry_run)
                    self._note(await self._letters.replay(request))
                    bar.update(task, advance=len(edits))
            else:
                after: str | None = ""
                while after is not None:
                    request = ReplayRequest(filter=self._filter, after=after, dry_run=self._dry_run)
                    report = await self._letters.replay(request)
                    self._note(report)
                    after = report.next
                    bar.update(task, completed=self._replayed + len(self._problems) + self._missing)
        self._tell()
        return not self._problems

    def _note(self, report: ReplayReport) -> None:
        self._replayed += report.replayed
        self._records += report.records
        self._missing += report.missing
        self._problems += report.problems
        if self._dry_run and self._as_json:
            for each in (*report.would, *report.problems):
                typer.echo(msgspec.json.encode(each).decode())
        else:
            self._would += report.would[: _EXAMPLES - len(self._would)]

    def _tell(self) -> None:
        if self._as_json:
            if not self._dry_run:
                report = {
                    "replayed": self._replayed,
                    "records": self._records,
                    "missing": self._missing,
                    "problems": self._problems,
                }
                typer.echo(msgspec.json.encode(report).decode())
            return
        show_would(self._would, self._replayed)
        show_problems(self._problems)
        verb = "would become" if self._dry_run else "became"
        letters = counted(self._replayed, "dead letter")
        say(f"gateway: {letters} {verb} {counted(self._records, 'pending record')}")
        if self._missing:
            say(f"gateway: {self._missing} were not there any more: replayed or purged by others")
        if self._problems:
            count = len(self._problems)
            stay = "stays a dead letter" if count == 1 else "stay dead letters"
            say(f"gateway: {count} {stay}, for the reasons above")
        if self._dry_run:
            say("gateway: nothing was done")
