"""What several commands share."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from gateway.config import Check, Config, load, warnings
from gateway.errors import ConfigError
from gateway.mapping import check_subscriptions

__all__ = ["ConfigFile", "fail", "load_or_exit", "log_to_stderr", "run_async", "say", "until_told"]

_T = TypeVar("_T")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration: a .toml, .yaml or .json file. Without it, MIXPANEL_PROJECT_TOKEN and "
        "WRITE_KEY are read from the environment.",
        metavar="FILE",
        show_default=False,
    ),
]


def say(text: str) -> None:
    """Print a line for the person at the terminal; standard output is left to data."""
    typer.echo(text, err=True)


def fail(text: str, code: int = 1) -> typer.Exit:
    """Print what went wrong and return what to raise."""
    say(f"gateway: {text}")
    return typer.Exit(code)


def load_or_exit(
    path: Path | None,
    fallback: Mapping[str, str] = MappingProxyType({}),
    *,
    checks: Sequence[Check] = (),
) -> Config:
    """Return the configuration; with mistakes in it, print each and exit with 2.

    :param checks: what only some commands need to be right.
    """
    try:
        config = load(path, fallback=fallback, checks=(check_subscriptions, *checks))
    except ConfigError as error:
        where = str(path) if path else "the environment"
        count = len(error.problems)
        say(f"gateway: {count} problem{'s' if count > 1 else ''} in {where}:")
        for problem in error.problems:
            say(f"  {problem}")
        raise typer.Exit(2) from None
    for warning in warnings(config):
        say(f"gateway: warning: {warning}")
    return config


def log_to_stderr() -> None:
    """Log one line an event to standard error."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def run_async(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def until_told() -> None:
    """Wait for SIGTERM or SIGINT; from now on, neither of them does anything else."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
