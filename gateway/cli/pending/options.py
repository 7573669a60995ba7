"""The options that the commands share besides those of ``gateway dead-letters``."""

from typing import Annotated

import msgspec
import typer

from gateway.cli.common import fail
from gateway.cli.dead_letters.options import time_of
from gateway.pending.choice import Ids as PendingIds
from gateway.spool.dead_letters import MAX_IDS
from gateway.spool.pending import PendingFilter

__all__ = ["Endpoint", "Event", "Ids", "Since", "Source", "Token", "Until", "chosen"]

Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="For this endpoint: import, track, engage or groups.",
        show_default=False,
    ),
]
Event = Annotated[
    str | None, typer.Option(metavar="NAME", help="Events of this name.", show_default=False)
]
Token = Annotated[
    str | None,
    typer.Option(
        "--project-token",
        metavar="TOKEN",
        help="Records with this token of a project.",
        show_default=False,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Records that name this source, as with sourceName in the settings.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Accepted since: ISO 8601, or an age as in 30m, 2h, 3d.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Accepted before: as --since.", show_default=False),
]
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="This one, as list --each shows it; may be repeated.",
        show_default=False,
    ),
]


def chosen(
    destination: str | None,
    endpoint: str | None,
    since: str | None,
    until: str | None,
    event: str | None,
    token: str | None,
    source: str | None,
    ids: list[str] | None,
) -> PendingFilter:
    """Return the filter that the options are; exits with 2 when they cannot be read."""
    if ids and len(ids) > MAX_IDS:
        raise fail(f"--id: expected up to {MAX_IDS} ids of pending records", 2)
    try:
        PendingIds(ids)
    except msgspec.ValidationError as error:
        raise fail(f"--id: {error}", 2) from None
    return PendingFilter(
        destination=destination,
        endpoint=endpoint,
        since_ms=time_of("--since", since),
        until_ms=time_of("--until", until),
        event=event,
        token=token,
        source=source,
        ids=tuple(ids) if ids else None,
    )
