"""Where a request may lead whoever sent it, by a link in a mail for instance.

An address from a query that is followed wherever it points lends this host's good name to anybody
(an open redirect): only origins that the configuration lists are.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web

from gateway.policy import is_origin_allowed

__all__ = ["redirection"]

_USUAL_PORTS = {"http": 80, "https": 443}


def redirection(url: str, allowed: Sequence[str]) -> web.Response | None:
    """Return the answer that leads to a URL; None unless that is one of an allowed origin.

    :param url: as the client wrote it.
    :param allowed: origins as the configuration has them; none: nothing is followed.
    """
    origin = _origin_of(url) if url and allowed else None
    if origin is None or not is_origin_allowed(origin, allowed):
        return None
    return web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})


def _origin_of(url: str) -> str | None:
    """Return an origin as browsers write it; None of what they may read in another way."""
    # They leave out tabs and line ends, take "\" for "/", and what stands before "@" for a user.
    if not (url.isascii() and url.isprintable()) or set(url) & set(' \\"<>'):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _USUAL_PORTS or not host or "@" in parts.netloc:
        return None
    if not url[len(parts.scheme) :].startswith("://"):
        return None
    name = f"[{host}]" if ":" in host else host
    usual = port in (None, _USUAL_PORTS[parts.scheme])
    return f"{parts.scheme}://{name}" if usual else f"{parts.scheme}://{name}:{port}"
