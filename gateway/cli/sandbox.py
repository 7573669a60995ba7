"""``gateway sandbox``: a Mixpanel stand-in on its own."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import msgspec

from gateway.cli.common import fail, say
from gateway.http.sockets import unusable
from gateway.output import detach_output
from gateway.process import log_to_stderr, run_async
from gateway.sandbox import Fault, Sandbox
from gateway.signals import Signals

__all__ = ["serve"]


class _Options(TypedDict):
    token: str | None
    keep: int
    max_records_per_second: float | None
    retry_after_s: int | None
    validate: bool


def serve(host: str, port: int, *, faults: Sequence[str], **options: Unpack[_Options]) -> None:
    """Run the stand-in until it is told to stop.

    :param faults: its misbehaviour, each as JSON.
    """
    try:
        misbehaviour = [msgspec.json.decode(text, type=Fault) for text in faults]
    except msgspec.DecodeError as error:
        raise fail(f"--fault: {error}", code=2) from None
    detach_output()
    log_to_stderr()
    stand_in = Sandbox(faults=misbehaviour, **options)
    try:
        run_async(_serve(stand_in, host, port))
    except OSError as error:
        raise fail(f"cannot start: {unusable(host, port, error)}; choose another --port") from None


async def _serve(stand_in: Sandbox, host: str, port: int) -> None:
    told = Signals()
    await stand_in.start(host, port)
    say(f"gateway: Mixpanel stand-in  {stand_in.url}  (records: {stand_in.url}/records)")
    try:
        await told.until_stop()
    finally:
        await stand_in.stop()
