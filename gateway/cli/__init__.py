"""The command line: ``gateway COMMAND``; ``commands`` has what can be typed."""

import typer

from gateway import __version__
from gateway.cli import commands

__all__ = ["app", "main"]


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixpanel-gateway {__version__}")
        raise typer.Exit


app = typer.Typer(
    help="A durable, drop-in gateway between analytics SDKs and Mixpanel.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it folds where the terminal ends
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


_config = _group("What can be set in a configuration.")
_config.command("keys", short_help="List keys, defaults and what they mean.")(commands.list_keys)
_config.command("schema", short_help="Print a JSON Schema, for editors.")(commands.print_schema)

_dead_letters = _group("What could not be delivered: look at it, replay it, purge it.")
_dead_letters.command("list", short_help="Count them by cause, or list each.")(
    commands.list_letters
)
_dead_letters.command("show", short_help="Print everything known of one.")(commands.show_letter)
_dead_letters.command("replay", short_help="Send them again, edited if need be.")(
    commands.replay_letters
)
_dead_letters.command("export", short_help="Write them as JSON lines.")(commands.export_letters)
_dead_letters.command("purge", short_help="Delete them for good.")(commands.purge_letters)

_pending = _group("What waits for delivery: look at it, set it aside, have it sent now.")
_pending.command("list", short_help="Count it by endpoint, or list each.")(commands.list_records)
_pending.command("set-aside", short_help="Make it dead letters.")(commands.set_records_aside)
_pending.command("retry", short_help="Make the next attempt now.")(commands.retry_queues)

app.command("run", short_help="Serve until SIGTERM or Ctrl-C.")(commands.run)
app.command("check", short_help="Name every mistake in a configuration.")(commands.check)
app.command("map", short_help="Show what events become; send nothing.")(commands.map_events)
app.add_typer(_config, name="config", short_help="What can be set in a configuration.")
app.add_typer(
    _dead_letters, name="dead-letters", short_help="What could not be delivered, and why."
)
app.add_typer(_pending, name="pending", short_help="What waits for delivery, and for what.")
app.command("send", short_help="Send one event to a running gateway.")(commands.send)
app.command("sandbox", short_help="Run a Mixpanel stand-in on its own.")(commands.sandbox)


def main() -> None:
    """Run the command that was typed."""
    app(prog_name="gateway")
