"""``gateway pending``: what waits for delivery, and what to do about it."""

import typer

from gateway.cli.pending.look import list_records
from gateway.cli.pending.retry import retry_queues
from gateway.cli.pending.set_aside import set_records_aside

__all__ = ["pending"]

pending = typer.Typer(
    help="What waits for delivery: look at it, set it aside, have it sent now.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
pending.command("list", short_help="Count it by endpoint, or list each.")(list_records)
pending.command("set-aside", short_help="Make it dead letters.")(set_records_aside)
pending.command("retry", short_help="Make the next attempt now.")(retry_queues)
