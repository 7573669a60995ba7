"""``gateway pending retry``: send now."""

import msgspec
import typer

from gateway.cli.common import Failed, do, say
from gateway.cli.options import QueueOptions, Where
from gateway.cli.pending.access import access
from gateway.pending.model import RetryReport, RetryRequest

__all__ = ["retry_queues"]


def retry_queues(queues: QueueOptions, where: Where, *, as_json: bool) -> None:
    """Make the next attempt now where delivery waits, and say where."""
    request = RetryRequest(destination=queues.destination, endpoint=queues.endpoint)

    async def run() -> RetryReport:
        async with access(where, destination=queues.destination) as (records, place):
            if not records.is_delivered:
                raise Failed(
                    f"nobody delivers from {place}: start it, and it sends what waits at once"
                )
            return await records.retry(request)

    report = do(run())
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    for each in report.retried:
        place = f"{each.destination}/{each.endpoint}"
        say(f"gateway: {place}: {each.records} records are tried now")
        say(f"gateway: it was {each.state}: {each.detail}")
    if not report.retried:
        say("gateway: no endpoint with pending records waits; gateway pending list shows them")
