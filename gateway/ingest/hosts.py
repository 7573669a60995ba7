"""The host by which clients reach the gateway, and the scheme."""

import ipaddress
import re
from typing import Literal, TypeAlias

from gateway.errors import RequestError
from gateway.http.request import AnyRequest
from gateway.ingest.context import RequestContext

__all__ = ["Scheme", "is_loopback", "public_host", "public_scheme"]

Scheme: TypeAlias = Literal["http", "https"]

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def public_host(context: RequestContext) -> str:
    """Return where the gateway is reached: a host, with the port unless it is the usual one.

    It is the configured one, else that of a trusted proxy, else what the client itself wrote.  What
    follows is the configured prefix, unless the configured host has a path of its own.

    :raises RequestError: (400) the client wrote none, or what is no host.
    """
    server = context.services.config.server
    configured = (server.public_host or "").rpartition("://")[2]
    if "/" in configured:
        return configured
    return f"{configured or _host(context)}{server.path_prefix}"


def _host(context: RequestContext) -> str:
    request = context.request
    host = request.headers.get("Host", "")
    if context.services.address.is_trusted(request):
        host = request.headers.get("X-Forwarded-Host", host).partition(",")[0].strip()
    if not _HOST.fullmatch(host):
        raise RequestError(400, "invalid_host", "the Host header names no host")
    return host


def public_scheme(context: RequestContext, host: str) -> Scheme:
    """Return the scheme of the URLs by which a client is to reach the gateway.

    It is the configured one, else the one that was used: with a certificate of its own, or as a
    trusted proxy tells.  A page on https may not send to http, whatever is between.

    :param host: by which it is reached.
    """
    server = context.services.config.server
    request = context.request
    configured = (server.public_host or "").lower()
    if configured.startswith("http:"):
        return "http"
    if configured.startswith("https:") or server.tls_cert is not None:
        return "https"
    if is_loopback(host):
        return "http"  # nobody has https there, and pages on https may send to it nevertheless
    page = request.headers.get("Origin") or request.headers.get("Referer") or ""
    if page.lower().startswith("https:"):
        return "https"
    if context.services.address.is_trusted(request) and _is_https_before(request):
        return "https"
    return "http"


_TELLING = (
    *("X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Scheme"),
    *("X-Url-Scheme", "CloudFront-Forwarded-Proto", "X-Forwarded-Ssl", "Front-End-Https"),
    "CF-Visitor",
)
"""What proxies call the scheme that their client has used, or whether that is https."""

_HTTPS = frozenset({"https", "ssl", "on", '{"scheme":"https"}'})
"""What they say where it is."""

_OF_HTTPS_ALONE = "X-ARR-SSL"
"""What IIS adds where it is: the certificate."""


def _is_https_before(request: AnyRequest) -> bool:
    """Tell whether a proxy says that its client has come by https; the first of several counts."""
    if any(each.get("proto", "").lower() == "https" for each in request.forwarded[:1]):
        return True
    headers = request.headers
    if headers.get(_OF_HTTPS_ALONE, "").strip():
        return True
    return any(
        headers.get(name, "").partition(",")[0].replace(" ", "").lower() in _HTTPS
        for name in _TELLING
    )


def is_loopback(host: str) -> bool:
    """Return whether a host, whatever path follows it, is this machine."""
    name = re.sub(r"(:[0-9]+)?(/.*)?$", "", host).strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
