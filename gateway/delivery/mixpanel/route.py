"""The proxy on the way to a destination, if there is one."""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

__all__ = ["proxy_of"]


def proxy_of(url: str, configured: str | None) -> str | None:
    """Return the URL of the proxy by which ``url`` is reached; None where it is reached directly.

    ``configured`` comes first, then what the environment says: ``HTTPS_PROXY`` or ``HTTP_PROXY``,
    by the scheme of ``url`` and in either case, unless ``NO_PROXY`` names the host.  This machine
    is reached directly unless a proxy is configured.  May hold a user and a password.
    """
    if configured is not None:
        return configured
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None  # nothing can be sent there anyway
    proxies = getproxies_environment()
    if _is_loopback(host) or proxy_bypass_environment(host, proxies):
        return None
    found = proxies.get(parts.scheme.lower())
    if not found:
        return None
    return found if "://" in found else f"http://{found}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
