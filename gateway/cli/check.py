"""``gateway check``: find every mistake in a configuration."""

import json
from pathlib import Path

import typer

from gateway.cli.about import busy_ports, destinations_and_spool
from gateway.cli.common import counted, say
from gateway.cli.configuration import TO_RUN, load_or_exit
from gateway.clock import SystemClock
from gateway.config import Config, redacted
from gateway.config.reader import ConfigReader
from gateway.http.tls import expiry_warning, load
from gateway.spool.backends import outlook

__all__ = ["check"]


def check(path: Path | None, *, show: bool) -> None:
    """Check a configuration; exits with 2 and names every mistake when it is wrong.

    :param show: print the effective configuration, without secrets.
    """
    loaded = load_or_exit(path, checks=(*TO_RUN, _check_spool))
    cert, key = loaded.server.tls_cert, loaded.server.tls_key
    if cert is not None and key is not None:
        warning = expiry_warning(load(cert, key), SystemClock().now_ms())
        if warning is not None:
            say(f"gateway: warning: server.tls_cert: {warning}")
    free, wanted = outlook(loaded.spool.path).free_bytes, loaded.spool.min_free_bytes
    if free < wanted:
        say(
            f"gateway: warning: spool.min_free_bytes: the disk of {loaded.spool.path} has {free} "
            f"bytes free, {wanted} have to stay so: every event would be answered 503; make room "
            "on it, or lower the value"
        )
    for busy in busy_ports(loaded):
        say(f"gateway: warning: {busy}")
    if show:
        typer.echo(json.dumps(redacted(loaded), indent=2, ensure_ascii=False))
    say(
        f"gateway: the configuration is valid: {counted(len(loaded.sources), 'source')}, "
        f"{counted(len(loaded.destinations), 'destination')}"
    )
    for line in destinations_and_spool(loaded):
        say(f"gateway: {line}")


def _check_spool(config: Config, reader: ConfigReader) -> None:
    """Report a folder that cannot hold a spool, or holds one that cannot be opened."""
    folder: object = config.spool.path
    if not isinstance(folder, str):
        return
    problem = outlook(folder).problem
    if problem:
        reader.report(("spool", "path"), problem.removeprefix("spool.path: "))
