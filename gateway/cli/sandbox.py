"""``gateway sandbox``: a Mixpanel stand-in on its own."""

import msgspec
import typer

from gateway.cli.common import fail, say
from gateway.http.sockets import unusable
from gateway.output import detach_output
from gateway.process import log_to_stderr, run_async
from gateway.sandbox import Fault, Sandbox
from gateway.signals import Told

__all__ = ["sandbox"]


def sandbox(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8082, min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    token: str | None = typer.Option(None, help="The only project token that is accepted."),
    keep: int = typer.Option(10_000, min=0, help="How many of the last records are kept."),
    max_records_per_second: float | None = typer.Option(
        None, min=1, help="Answer 429 beyond this rate."
    ),
    retry_after: int | None = typer.Option(
        None, min=0, help="Seconds of the Retry-After header of those answers."
    ),
    fault: list[str] = typer.Option(  # noqa: B008 - how typer declares a repeated option
        [],
        help="Misbehaviour as JSON, may be repeated; as in "
        '{"action": "status", "status": 500, "share": 0.1}. Actions: status, reset, stall. '
        'With "holding": "text", only requests whose body holds that text.',
    ),
    validate: bool = typer.Option(
        True, help="Check every record. Without it records are only counted, for load tests."
    ),
) -> None:
    """Run a Mixpanel stand-in that enforces the documented contract.

    Point a destination's base_url at it; GET /records shows what arrived, GET /stats counts it, PUT
    /faults changes its misbehaviour.
    """
    try:
        faults = [msgspec.json.decode(text, type=Fault) for text in fault]
    except msgspec.DecodeError as error:
        raise fail(f"--fault: {error}", code=2) from None
    detach_output()
    log_to_stderr()
    stand_in = Sandbox(
        token=token,
        keep=keep,
        max_records_per_second=max_records_per_second,
        retry_after_s=retry_after,
        faults=faults,
        validate=validate,
    )
    try:
        run_async(_serve(stand_in, host, port))
    except OSError as error:
        raise fail(f"cannot start: {unusable(host, port, error)}; choose another --port") from None


async def _serve(stand_in: Sandbox, host: str, port: int) -> None:
    told = Told()
    await stand_in.start(host, port)
    say(f"gateway: Mixpanel stand-in  {stand_in.url}  (records: {stand_in.url}/records)")
    try:
        await told.until_stop()
    finally:
        await stand_in.stop()
