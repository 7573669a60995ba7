"""``gateway dead-letters``: what could not be delivered, and what to do about it."""

import typer

from gateway.cli.dead_letters.look import export_letters, list_letters, show_letter
from gateway.cli.dead_letters.purge import purge_letters
from gateway.cli.dead_letters.replay import replay_letters

__all__ = ["dead_letters"]

dead_letters = typer.Typer(
    help="What could not be delivered: look at it, replay it, purge it.", no_args_is_help=True
)
dead_letters.command("list")(list_letters)
dead_letters.command("show")(show_letter)
dead_letters.command("replay")(replay_letters)
dead_letters.command("export")(export_letters)
dead_letters.command("purge")(purge_letters)
