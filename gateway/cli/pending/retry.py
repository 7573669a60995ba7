"""``gateway pending retry``: send now."""

import msgspec
import typer

from gateway.cli.admin_port import Failed
from gateway.cli.common import say
from gateway.cli.dead_letters import options as shared
from gateway.cli.pending import options
from gateway.cli.pending.access import access
from gateway.pending import Pending
from gateway.pending.model import RetryReport, RetryRequest

__all__ = ["retry_queues"]


def retry_queues(
    as_json: shared.AsJson = False,
    destination: shared.Destination = None,
    endpoint: options.Endpoint = None,
    config: shared.Config = None,
    admin: shared.Admin = None,
    token: shared.Token = None,
) -> None:
    """Make the next attempt now where delivery waits: of paused and of retrying endpoints.

    It is one attempt; when it fails as well, the waiting goes on as before.
    """
    request = RetryRequest(destination=destination, endpoint=endpoint)

    async def run() -> RetryReport:
        async with access(shared.where(config, admin, token)) as (records, place):
            if isinstance(records, Pending):
                raise Failed(
                    f"nobody delivers from {place}: start it, and it sends what waits at once"
                )
            return await records.retry(request)

    report = shared.do(run())
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    for each in report.retried:
        place = f"{each.destination}/{each.endpoint}"
        say(f"gateway: {place}: {each.records} records are tried now")
        say(f"gateway: it was {each.state}: {each.detail}")
    if not report.retried:
        say("gateway: no endpoint with pending records waits; gateway pending list shows them")
