"""The command line: ``gateway COMMAND``; one module for each command."""

import importlib
from typing import Any, NamedTuple

import typer
import typer.core

from gateway import __version__
from gateway.signals import ignore_signals

__all__ = ["COMMANDS", "main"]


class Command(NamedTuple):
    """Where a command is, and what the overview says of it.

    :param module: is imported when the command is called: all of them together take a second.
    :param name: of the function, or of the ``typer.Typer`` of a command that has commands itself.
    :param serves: whether it goes on until it is told to stop; nothing else ends it then.
    """

    module: str
    name: str
    summary: str
    serves: bool = False


COMMANDS = {
    "run": Command("gateway.cli.run", "run", "Serve until SIGTERM or Ctrl-C.", serves=True),
    "check": Command("gateway.cli.check", "check", "Name every mistake in a configuration."),
    "map": Command("gateway.cli.map", "map_events", "Show what events become; send nothing."),
    "dead-letters": Command(
        "gateway.cli.dead_letters", "dead_letters", "What could not be delivered, and why."
    ),
    "pending": Command("gateway.cli.pending", "pending", "What waits for delivery, and for what."),
    "send": Command("gateway.cli.send", "send", "Send one event to a running gateway."),
    "sandbox": Command(
        "gateway.cli.sandbox", "sandbox", "Run a Mixpanel stand-in on its own.", serves=True
    ),
}


class _ImportsWhenCalled(typer.core.TyperGroup):
    """Knows the names of all commands, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _load(str(name)), rest


def _load(name: str) -> Any:
    place = COMMANDS[name]
    if place.serves:
        ignore_signals()  # before what takes its time
    found = getattr(importlib.import_module(place.module), place.name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(name)(found)
        found = alone
    found.info.name = name
    return typer.main.get_command(found)


app = typer.Typer(
    cls=_ImportsWhenCalled,
    help="A durable, drop-in gateway between analytics SDKs and Mixpanel.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it folds where the terminal ends
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixpanel-gateway {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.summary)(lambda: None)


def main() -> None:
    """Run the command that was typed."""
    app(prog_name="gateway")
