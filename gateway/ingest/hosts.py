"""The host by which clients reach the gateway."""

import ipaddress
import re

from gateway.errors import RequestError
from gateway.ingest.call import Call

__all__ = ["is_loopback", "public_host"]

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def public_host(call: Call) -> str:
    """Return where the gateway is reached: a host, with the port unless it is the usual one.

    It is the configured one, else that of a trusted proxy, else what the client itself wrote.  What
    follows is the configured prefix, unless the configured host has a path of its own.

    :raises RequestError: (400) the client wrote none, or what is no host.
    """
    server = call.services.config.server
    if server.public_host is not None and "/" in server.public_host:
        return server.public_host
    return f"{server.public_host or _host(call)}{server.path_prefix}"


def _host(call: Call) -> str:
    request = call.request
    host = request.headers.get("Host", "")
    if call.services.address.is_trusted(request):
        host = request.headers.get("X-Forwarded-Host", host).partition(",")[0].strip()
    if not _HOST.fullmatch(host):
        raise RequestError(400, "invalid_host", "the Host header names no host")
    return host


def is_loopback(host: str) -> bool:
    """Return whether a host, whatever path follows it, is this machine."""
    name = re.sub(r"(:[0-9]+)?(/.*)?$", "", host).strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
