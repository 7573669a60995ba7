"""The command line: ``gateway COMMAND``; one module for each command."""

import typer

from gateway import __version__
from gateway.cli.check import check
from gateway.cli.dead_letters import dead_letters
from gateway.cli.map import map_events
from gateway.cli.run import run
from gateway.cli.sandbox import sandbox
from gateway.cli.send import send

__all__ = ["main"]

app = typer.Typer(
    help="A durable, drop-in gateway between analytics SDKs and Mixpanel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(check)
app.command("map")(map_events)
app.command()(sandbox)
app.command()(send)
app.add_typer(dead_letters, name="dead-letters")


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


def main() -> None:
    """Run the command that was typed."""
    app()
