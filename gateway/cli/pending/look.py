"""``gateway pending list``: what waits."""

import msgspec
import typer

from gateway.cli.common import do, say
from gateway.cli.dead_letters.tables import show_waiting, show_waiting_each
from gateway.cli.options import RecordOptions, Where
from gateway.cli.pending.access import Access, access
from gateway.cli.pending.chosen import chosen
from gateway.pending.model import PendingGroup, PendingSummary, merged
from gateway.spool.pending import PendingFilter

__all__ = ["list_records", "summary_of"]

_FIRST = 100


def list_records(
    records: RecordOptions, where: Where, *, each: bool, limit: int | None, as_json: bool
) -> None:
    """Print what waits, by destination and endpoint, or record by record."""
    wanted = chosen(records)

    async def run() -> None:
        async with access(where, destination=wanted.destination) as (store, _):
            if each:
                await _list_each(store, wanted, limit or _FIRST, as_json=as_json)
                return
            summary = await summary_of(store, wanted)
            if as_json:
                typer.echo(msgspec.json.encode(summary).decode())
            elif summary.groups:
                show_waiting(summary.groups)
            else:
                _say_none(wanted)

    do(run())


async def summary_of(records: Access, wanted: PendingFilter) -> PendingSummary:
    """Return all parts of a summary as one."""
    groups: list[PendingGroup] = []
    after: str | None = ""
    summary = PendingSummary(groups=(), up_to="")
    while after is not None:
        summary = await records.summary(wanted, after=after)
        groups += summary.groups
        # The parts are of the same records, whatever comes meanwhile.
        wanted = msgspec.structs.replace(wanted, up_to=summary.up_to)
        after = summary.next
    return PendingSummary(groups=merged(groups), up_to=summary.up_to)


async def _list_each(records: Access, wanted: PendingFilter, limit: int, *, as_json: bool) -> None:
    count = 0
    after: str | None = ""
    is_cut = False
    while after is not None and not is_cut:
        page = await records.page(wanted, after=after, limit=limit - count, has_payload=as_json)
        shown = page.records[: limit - count]
        if as_json:
            for record in shown:
                typer.echo(msgspec.json.encode(record).decode())
        elif shown:
            show_waiting_each(shown, has_header=count == 0)
        count += len(shown)
        after = page.next
        is_cut = count >= limit and (after is not None or len(shown) < len(page.records))
    if not count:
        _say_none(wanted)
    elif is_cut:
        say(f"gateway: the first {count}; --limit N shows more")


def _say_none(wanted: PendingFilter) -> None:
    say("gateway: no pending records")
    if wanted.source is not None:
        say(
            "gateway: --source goes by what records say themselves: those of a destination with "
            "settings.sourceName"
        )
