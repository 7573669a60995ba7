"""``gateway dead-letters purge``: delete for good."""

import msgspec
import typer

from gateway.cli.common import ask, counted, do, say
from gateway.cli.dead_letters.access import access
from gateway.cli.dead_letters.chosen import chosen
from gateway.cli.dead_letters.tables import progress, show_groups
from gateway.cli.options import LetterOptions, Where
from gateway.dead_letters.model import PurgeReport, PurgeRequest

__all__ = ["purge_letters"]


def purge_letters(
    letters: LetterOptions, where: Where, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Delete dead letters for good, and say how many."""
    wanted = chosen(letters)

    async def run() -> PurgeReport:
        async with access(where, destination=wanted.destination) as (store, place):
            would = await store.purge(PurgeRequest(filter=wanted, dry_run=True))
            if not as_json and would.would:
                show_groups(would.would, to_stderr=not dry_run)
            if dry_run or not would.purged:
                return would
            ask(f"purge {counted(would.purged, 'dead letter')} of {place}?", yes=yes)
            request = PurgeRequest(filter=msgspec.structs.replace(wanted, up_to=would.up_to))
            purged = 0
            with progress() as bar:
                task = bar.add_task("purged", total=would.purged)
                while True:
                    report = await store.purge(request)
                    purged += report.purged
                    bar.update(task, completed=purged)
                    if report.next is None:
                        break
                    request = msgspec.structs.replace(request, after=report.next)
            return msgspec.structs.replace(report, purged=purged)

    report = do(run())
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    elif dry_run:
        say(f"gateway: {counted(report.purged, 'dead letter')} would be purged; nothing was done")
    else:
        say(f"gateway: {counted(report.purged, 'dead letter')} purged")
