"""The configuration that a command works with, and what has to be right in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import typer

from gateway.cli.common import counted, say
from gateway.config import Check, Config, load, warnings
from gateway.errors import ConfigError
from gateway.http.tls import check_certificate
from gateway.ingest.browser_bundle import check_bundle
from gateway.mapping import check_subscriptions, mapping_warnings

__all__ = ["TO_RUN", "load_or_exit"]

_ALWAYS: Sequence[Check] = (check_subscriptions,)
"""What only other parts of the program can find wrong in a configuration."""

TO_RUN: Sequence[Check] = (*_ALWAYS, check_certificate, check_bundle)
"""The same of one that is to be served with; the files that it names are looked at, too."""


def load_or_exit(
    path: Path | None,
    fallback: Mapping[str, str] = MappingProxyType({}),
    *,
    checks: Sequence[Check] = _ALWAYS,
    warn: bool = True,
) -> Config:
    """Return the configuration; with mistakes in it, print each and exit with 2.

    :param checks: what else has to be right.
    :param warn: say what is unwise for serving; of no concern to who looks after what runs.
    """
    try:
        config = load(path, fallback=fallback, checks=checks)
    except ConfigError as error:
        where = str(path) if path else "the environment"
        say(f"gateway: {counted(len(error.problems), 'problem')} in {where}:")
        for problem in error.problems:
            say(f"  {problem}")
        raise typer.Exit(2) from None
    for warning in (*warnings(config, path), *mapping_warnings(config)) if warn else ():
        say(f"gateway: warning: {warning}")
    return config
