"""``gateway pending set-aside``: make pending records dead letters."""

import msgspec
import typer

from gateway.cli.common import ask, counted, do, fail, say
from gateway.cli.dead_letters.tables import progress, show_waiting
from gateway.cli.options import RecordOptions, Where
from gateway.cli.pending.access import Access, access
from gateway.cli.pending.chosen import chosen
from gateway.cli.pending.look import summary_of
from gateway.pending.model import MAX_RECORDS, PendingSummary, SetAsideReport, SetAsideRequest
from gateway.spool.pending import PendingFilter

__all__ = ["set_records_aside"]


def set_records_aside(
    records: RecordOptions,
    where: Where,
    *,
    every: bool,
    dry_run: bool,
    limit: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make pending records dead letters, and say how many.

    :param every: all of them are meant; without it, there has to be a filter.
    """
    wanted = chosen(records)
    if not every and wanted == PendingFilter():
        raise fail("say which, by --destination, --event and so on, or --all for every one", 2)
    if every and wanted != PendingFilter():
        raise fail("give --all or a filter: only one of them", 2)

    async def run() -> SetAsideReport:
        async with access(where, destination=wanted.destination) as (store, place):
            summary = await summary_of(store, wanted)
            would = _would(summary, limit)
            if not as_json and summary.groups:
                show_waiting(summary.groups, to_stderr=not dry_run)
            if dry_run or not would.set_aside:
                return would
            asked = counted(would.set_aside, "pending record")
            ask(f"set aside {asked} of {place}?", yes=yes)
            bounded = msgspec.structs.replace(wanted, up_to=summary.up_to)
            return await _set_aside(store, bounded, would.set_aside)

    report = do(run())
    count = counted(report.set_aside, "pending record")
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    elif dry_run:
        say(f"gateway: {count} would be set aside; nothing was done")
    else:
        say(f"gateway: {count} set aside: dead letters now")
    if report.left:
        say(
            f"gateway: {report.left} were in requests and are left as they are; the same command "
            "again sets aside what comes back"
        )
    if report.problem:
        say(f"gateway: {report.problem}")
        raise typer.Exit(1)


def _would(summary: PendingSummary, limit: int | None) -> SetAsideReport:
    count = sum(group.records for group in summary.groups)
    return SetAsideReport(
        set_aside=count if limit is None else min(count, limit),
        bytes=sum(group.bytes for group in summary.groups),
        would=summary.groups,
        next=None,
        up_to=summary.up_to,
    )


async def _set_aside(records: Access, wanted: PendingFilter, most: int) -> SetAsideReport:
    """Set records aside, batch after batch; return the sum."""
    done = size = left = 0
    after: str | None = ""
    problem = ""
    with progress() as bar:
        task = bar.add_task("set aside", total=most)
        while after is not None and done < most and not problem:
            size_limit = min(MAX_RECORDS, most - done)
            request = SetAsideRequest(filter=wanted, after=after, limit=size_limit)
            report = await records.set_aside(request)
            done += report.set_aside
            size += report.bytes
            left += report.left
            problem, after = report.problem, report.next
            bar.update(task, completed=done)
    return SetAsideReport(
        set_aside=done, bytes=size, left=left, problem=problem, next=None, up_to=wanted.up_to or ""
    )
