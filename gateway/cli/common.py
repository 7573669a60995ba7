"""What several commands share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from gateway.config import Check, Config, load, warnings
from gateway.errors import ConfigError
from gateway.mapping import check_subscriptions, mapping_warnings

__all__ = ["CHECKS", "ConfigFile", "counted", "fail", "load_or_exit", "say"]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration: a .toml, .yaml or .json file. Without it, the environment is read: "
        "MIXPANEL_PROJECT_TOKEN, WRITE_KEY and those in docs/configuration.md.",
        metavar="FILE",
        show_default=False,
    ),
]

CHECKS = (check_subscriptions,)
"""What only other parts of the program can find wrong in a configuration."""


def say(text: str) -> None:
    """Print a line for the person at the terminal; standard output is left to data."""
    typer.echo(text, err=True)


def fail(text: str, code: int = 1) -> typer.Exit:
    """Print what went wrong and return what to raise."""
    say(f"gateway: {text}")
    return typer.Exit(code)


def counted(count: int, thing: str) -> str:
    """Return a number of things, as in ``1 dead letter`` and ``2 dead letters``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def load_or_exit(
    path: Path | None,
    fallback: Mapping[str, str] = MappingProxyType({}),
    *,
    checks: Sequence[Check] = (),
    warn: bool = True,
) -> Config:
    """Return the configuration; with mistakes in it, print each and exit with 2.

    :param checks: what only some commands need to be right.
    :param warn: say what is unwise for serving; of no concern to who looks after what runs.
    """
    try:
        config = load(path, fallback=fallback, checks=(*CHECKS, *checks))
    except ConfigError as error:
        where = str(path) if path else "the environment"
        say(f"gateway: {counted(len(error.problems), 'problem')} in {where}:")
        for problem in error.problems:
            say(f"  {problem}")
        raise typer.Exit(2) from None
    for warning in (*warnings(config, path), *mapping_warnings(config)) if warn else ():
        say(f"gateway: warning: {warning}")
    return config
