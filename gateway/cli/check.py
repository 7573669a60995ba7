"""``gateway check``: find every mistake in a configuration."""

import json

import typer

from gateway.cli.common import ConfigFile, load_or_exit, say
from gateway.clock import SystemClock
from gateway.config import redacted
from gateway.ingest.bundle import check_bundle
from gateway.ingest.tls import check_certificate, expiry_warning, load

__all__ = ["check"]


def check(
    config: ConfigFile = None,
    show: bool = typer.Option(
        False, "--print", help="Print the effective configuration as JSON, without secrets."
    ),
) -> None:
    """Check a configuration; exits with 2 and names every mistake when it is wrong."""
    loaded = load_or_exit(config, checks=(check_certificate, check_bundle))
    cert, key = loaded.server.tls_cert, loaded.server.tls_key
    if cert is not None and key is not None:
        warning = expiry_warning(load(cert, key), SystemClock().now_ms())
        if warning is not None:
            say(f"gateway: warning: server.tls_cert: {warning}")
    if show:
        typer.echo(json.dumps(redacted(loaded), indent=2, ensure_ascii=False))
    say(
        f"gateway: the configuration is valid: {len(loaded.sources)} source(s), "
        f"{len(loaded.destinations)} destination(s)"
    )
