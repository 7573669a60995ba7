"""What is told of a configuration: what is unwise in it, and what of it may be shown."""

import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.config.load import VARIABLES
from gateway.config.schema import Config
from gateway.config.variables import unread_variables

__all__ = ["redacted", "warnings"]


def warnings(config: Config, file: Path | None = None) -> list[str]:
    """Return what is allowed but unwise, one line each, starting with the key's path.

    :param file: what the configuration was read from.
    """
    found = [
        f"{name} is set, but not read: {file} does not name it as ${{{name}}}"
        for name in (unread_variables(file, VARIABLES, os.environ) if file else ())
    ]
    if not all(map(_is_loopback, config.server.hosts)) and config.server.tls_cert is None:
        found.append(
            "server.host: other machines can reach this port without TLS; "
            "set tls_cert and tls_key unless a proxy in front does it"
        )
    if any(ipaddress.ip_network(each).prefixlen == 0 for each in config.server.trusted_proxies):
        found.append(
            "server.trusted_proxies: everybody is believed, so that clients can choose their "
            "address; name the networks of your proxies"
        )
    if not _is_loopback(config.admin.host) and config.admin.token is None:
        found.append(
            "admin.host: DANGER: anyone who reaches this port can read events and counters; "
            "set admin.token or listen on 127.0.0.1"
        )
    for i, destination in enumerate(config.destinations):
        path, settings = f"destinations[{i}]", destination.settings
        if settings.apiSecret is not None and settings.serviceAccount is None:
            found.append(
                f"{path}.settings.apiSecret: Mixpanel retires project secrets on 2027-03-03; "
                "use serviceAccount, or leave it out to use projectToken"
            )
        url = urlsplit(destination.base_url or "")
        if url.scheme == "http" and not _is_loopback(url.hostname or ""):
            found.append(
                f"{path}.base_url: events and credentials leave this machine unencrypted; "
                "use https://"
            )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def redacted(config: Config) -> dict[str, Any]:
    """Return the effective configuration as plain data that may be printed."""
    plain: dict[str, Any] = msgspec.to_builtins(config, enc_hook=lambda _: "***")
    for destination, shown in zip(config.destinations, plain["destinations"], strict=True):
        shown["settings"]["apiRegion"] = destination.settings.apiRegion.name
        shown["settings"]["projectToken"] = destination.settings.projectToken[:4] + "…"
    return plain
