"""``gateway dead-letters purge``: delete for good."""

from typing import Annotated

import msgspec
import typer

from gateway.cli.common import counted, say
from gateway.cli.dead_letters import options
from gateway.cli.dead_letters.access import access
from gateway.cli.dead_letters.tables import progress, show_groups
from gateway.dead_letters.model import PurgeReport, PurgeRequest

__all__ = ["purge_letters"]


def purge_letters(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    destination: options.Destination = None,
    endpoint: options.Endpoint = None,
    reason: options.Reason = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    config: options.Config = None,
    admin: options.Admin = None,
    token: options.Token = None,
) -> None:
    """Delete dead letters for good; without a filter, all of them."""
    wanted = options.chosen(destination, endpoint, reason, kind, since, until, ids)

    async def run() -> PurgeReport:
        async with access(options.where(config, admin, token)) as (letters, place):
            would = await letters.purge(PurgeRequest(filter=wanted, dry_run=True))
            if not as_json and would.would:
                show_groups(would.would, to_stderr=not dry_run)
            if dry_run or not would.purged:
                return would
            options.ask(f"purge {counted(would.purged, 'dead letter')} of {place}?", yes=yes)
            request = PurgeRequest(filter=msgspec.structs.replace(wanted, up_to=would.up_to))
            purged = 0
            with progress() as bar:
                task = bar.add_task("purged", total=would.purged)
                while True:
                    report = await letters.purge(request)
                    purged += report.purged
                    bar.update(task, completed=purged)
                    if report.next is None:
                        break
                    request = msgspec.structs.replace(request, after=report.next)
            return msgspec.structs.replace(report, purged=purged)

    report = options.do(run())
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    elif dry_run:
        say(f"gateway: {counted(report.purged, 'dead letter')} would be purged; nothing was done")
    else:
        say(f"gateway: {counted(report.purged, 'dead letter')} purged")
