"""The options that the commands share: where the letters are, and which are meant."""

import enum
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from gateway.cli.admin_port import Failed
from gateway.cli.common import fail
from gateway.cli.reach import Where
from gateway.clock import SystemClock
from gateway.config import TIMES
from gateway.config.reader import measured
from gateway.mapping.preview import parse_time
from gateway.process import run_async
from gateway.spool.dead_letters import MAX_IDS, Filter

__all__ = [
    "Admin",
    "AsJson",
    "Config",
    "Destination",
    "Endpoint",
    "Ids",
    "Kind",
    "KindOption",
    "Reason",
    "Since",
    "Token",
    "Until",
    "Yes",
    "ask",
    "chosen",
    "do",
    "time_of",
    "where",
]

_T = TypeVar("_T")


class Kind(enum.Enum):
    """What a dead letter holds."""

    EVENT = "event"
    RECORD = "record"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The gateway's configuration: tells its admin port and token, and where its spool is.",
        show_default=False,
    ),
]
Admin = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The gateway's admin port.", show_default=False),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="GATEWAY_ADMIN_TOKEN", help="The token of the admin port.", show_default=False
    ),
]
Destination = Annotated[
    str | None, typer.Option(metavar="NAME", help="For this destination.", show_default=False)
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help='For this endpoint: import, track, engage or groups; "" for events.',
        show_default=False,
    ),
]
Reason = Annotated[
    str | None, typer.Option(metavar="WORD", help="With this reason.", show_default=False)
]
KindOption = Annotated[
    Kind | None,
    typer.Option(help="Events as received, or records as sent.", show_default=False),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Kept since: ISO 8601, or an age as in 30m, 2h, 3d.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Kept before: as --since.", show_default=False),
]
Ids = Annotated[
    list[int] | None,
    typer.Option("--id", metavar="ID", help="This one; may be repeated.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def where(config: Path | None, admin: str | None, token: str | None) -> Where:
    """Return where the gateway is."""
    return Where(config, admin, token)


def chosen(
    destination: str | None,
    endpoint: str | None,
    reason: str | None,
    kind: Kind | None,
    since: str | None,
    until: str | None,
    ids: list[int] | None,
) -> Filter:
    """Return the filter that the options are; exits with 2 when they cannot be read."""
    if ids and (len(ids) > MAX_IDS or not all(0 <= each < 2**63 for each in ids)):
        raise fail(f"--id: expected up to {MAX_IDS} numbers of dead letters", 2)
    return Filter(
        destination=destination,
        endpoint=endpoint,
        reason=reason,
        kind=kind.value if kind else None,
        since_ms=time_of("--since", since),
        until_ms=time_of("--until", until),
        ids=tuple(ids) if ids else None,
    )


def ask(question: str, *, yes: bool) -> None:
    """Go on only when the person agrees.

    :raises Failed: they do not, or there is nobody.
    """
    if yes:
        return
    try:
        is_agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise Failed("nothing was done: answer y, or give --yes") from None
    if not is_agreed:
        raise Failed("nothing was done")


def do(work: Coroutine[Any, Any, _T]) -> _T:
    """Run what a command does; exits with 1 when it cannot be done."""
    try:
        return run_async(work)
    except Failed as error:
        raise fail(str(error)) from None
    except KeyboardInterrupt:
        raise fail(
            "stopped; what is done is done, and the same command again does the rest"
        ) from None


def time_of(option: str, text: str | None) -> int | None:
    """Return a time or an age in epoch milliseconds; exits with 2 when it cannot be read."""
    if text is None:
        return None
    if text[-1:].isalpha():
        with suppress(ValueError):
            age_s = measured(text, TIMES, is_composed=True)
            return max(0, SystemClock().now_ms() - int(age_s * 1000))
    time = parse_time(text)
    if time is None or time < 0:
        raise fail(f"{option}: not a time: {text!r}; expected e.g. 2026-01-31T12:00:00Z or 2h", 2)
    return time
