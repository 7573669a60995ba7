"""``gateway dead-letters``: what could not be delivered, and what to do about it."""

import typer

from gateway.cli.dead_letters.look import export_letters, list_letters, show_letter
from gateway.cli.dead_letters.purge import purge_letters
from gateway.cli.dead_letters.replay import replay_letters

__all__ = ["dead_letters"]

dead_letters = typer.Typer(
    help="What could not be delivered: look at it, replay it, purge it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
dead_letters.command("list", short_help="Count them by cause, or list each.")(list_letters)
dead_letters.command("show", short_help="Print everything known of one.")(show_letter)
dead_letters.command("replay", short_help="Send them again, edited if need be.")(replay_letters)
dead_letters.command("export", short_help="Write them as JSON lines.")(export_letters)
dead_letters.command("purge", short_help="Delete them for good.")(purge_letters)
