"""The options that several commands share; a command names a group of them as one parameter."""

import enum
import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

__all__ = [
    "AsJson",
    "ConfigFile",
    "DryRun",
    "LetterKind",
    "LetterOptions",
    "QueueOptions",
    "RecordOptions",
    "Where",
    "Yes",
    "spread",
]


class LetterKind(enum.Enum):
    """What a dead letter holds."""

    EVENT = "event"
    RECORD = "record"


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration: a .toml, .yaml or .json file. Without it, the environment is read: "
        "MIXPANEL_PROJECT_TOKEN, WRITE_KEY and what gateway config keys lists.",
        metavar="FILE",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _text(metavar: str, text: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, show_default=False)


Destination = Annotated[str | None, _text("NAME", "For this destination.")]
EndpointName = Annotated[
    str | None, _text("NAME", "For this endpoint: import, track, engage or groups.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the command line says about where the gateway is."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The gateway's configuration: tells its admin port and token, and where its spool "
            "is.",
            show_default=False,
        ),
    ] = None
    admin: Annotated[
        str | None,
        _text("URL", "The gateway's admin port, as in http://127.0.0.1:8081 or 127.0.0.1:8081."),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar="GATEWAY_ADMIN_TOKEN", help="The token of the admin port.", show_default=False
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterOptions:
    """Which dead letters are meant."""

    destination: Destination = None
    endpoint: Annotated[
        str | None,
        _text("NAME", 'For this endpoint: import, track, engage or groups; "" for events.'),
    ] = None
    reason: Annotated[str | None, _text("WORD", "With this reason.")] = None
    kind: Annotated[
        LetterKind | None,
        typer.Option(help="Events as received, or records as sent.", show_default=False),
    ] = None
    since: Annotated[
        str | None, _text("TIME", "Kept since: ISO 8601, or an age as in 30m, 2h, 3d.")
    ] = None
    until: Annotated[str | None, _text("TIME", "Kept before: as --since.")] = None
    ids: Annotated[list[str] | None, _text("ID", "This one; may be repeated.", "--id")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """Which endpoints are meant."""

    destination: Destination = None
    endpoint: EndpointName = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """Which pending records are meant."""

    destination: Destination = None
    endpoint: EndpointName = None
    since: Annotated[
        str | None, _text("TIME", "Accepted since: ISO 8601, or an age as in 30m, 2h, 3d.")
    ] = None
    until: Annotated[str | None, _text("TIME", "Accepted before: as --since.")] = None
    event: Annotated[str | None, _text("NAME", "Events of this name.")] = None
    project_token: Annotated[
        str | None, _text("TOKEN", "Records with this token of a project.")
    ] = None
    source: Annotated[
        str | None,
        _text("NAME", "Records that name this source, as with sourceName in the settings."),
    ] = None
    ids: Annotated[
        list[str] | None,
        _text("ID", "This one, as list --each shows it; may be repeated.", "--id"),
    ] = None


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of its parameters that are dataclasses.

    The command itself gets the dataclasses.
    """
    groups: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if not is_dataclass(hints[name]):
            options.append(parameter.replace(annotation=hints[name]))
            continue
        groups[name] = hints[name]
        of_fields = get_type_hints(hints[name], include_extras=True)
        options += (
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=of_fields[field.name],
            )
            for field in fields(hints[name])
        )

    @functools.wraps(command)
    def called(**given: Any) -> None:
        own = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **own)

    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in options}
    return called
