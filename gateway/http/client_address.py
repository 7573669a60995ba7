"""The client's address, believed only as far as the proxies in front are known."""

import ipaddress
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

from gateway.config import ProxyHeader
from gateway.http.request import AnyRequest
from gateway.policy import Address, address_of

__all__ = ["ClientAddress"]

_log = logging.getLogger(__name__)


def _x_forwarded_for(request: AnyRequest) -> list[str]:
    # Some proxies add a line of their own to the one that the client may have made up.
    lines = request.headers.getall("X-Forwarded-For", ())
    return [hop for line in lines if line.strip() for hop in line.split(",")]


def _forwarded(request: AnyRequest) -> list[str]:
    # RFC 7239; what aiohttp cannot read of it has no "for".
    return [element.get("for", "") for element in request.forwarded]


def _x_real_ip(request: AnyRequest) -> list[str]:
    return [line for line in request.headers.getall("X-Real-IP", ()) if line.strip()][-1:]


_READERS: dict[ProxyHeader, Callable[[AnyRequest], list[str]]] = {
    "X-Forwarded-For": _x_forwarded_for,
    "Forwarded": _forwarded,
    "X-Real-IP": _x_real_ip,
}
"""What each header says about the hops of a request, the nearest one last."""


_TELLING = (
    *_READERS,
    *("CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP"),
    *("X-Original-Forwarded-For", "X-Envoy-External-Address", "X-Azure-ClientIP"),
    *("Fastly-Client-IP", "Fly-Client-IP", "X-Appengine-User-IP", "DO-Connecting-IP"),
)
"""Headers with which proxies tell the address of their client."""

_TELLING_LOWER = frozenset(map(str.lower, _TELLING))

_MAX_NOTED = 8
"""Of how many peers operators are told that they are not believed; clients can be among them."""


class ClientAddress:
    """Finds the address a request came from.

    :param trusted_proxies: networks whose word counts.
    :param headers: what they say it with; the first one that tells an address counts.
    :ivar of_peer: returns the address of a connection as it is usually written; None when it is
        none.
    """

    def __init__(self, trusted_proxies: Sequence[str], headers: Sequence[ProxyHeader]) -> None:
        self._networks = tuple(map(ipaddress.ip_network, trusted_proxies))
        self._readers = tuple(_READERS[header] for header in headers)
        self._address_of = lru_cache(maxsize=1024)(address_of)
        self.of_peer: Callable[[str], str | None] = lru_cache(maxsize=1024)(self._text_of)
        self._is_trusted = lru_cache(maxsize=1024)(self._in_networks)
        self._noted: set[Address] = set()

    def of(self, request: AnyRequest) -> str | None:
        """Return the nearest address that no trusted proxy has, as it is usually written.

        None when it cannot be told, as where a proxy says "unknown" or has an obfuscated name:
        what is written before that may be made up.
        """
        peer = self._address_of(request.remote or "")
        if peer is None:
            return None
        if not self._believes(peer):
            if len(self._noted) < _MAX_NOTED:
                self._note(
                    request,
                    peer,
                    "%s from %s is not believed, so that users have the address of who has sent "
                    "it; if that is a proxy of yours, put its network into server.trusted_proxies",
                )
            return str(peer)
        is_told = False
        for read in self._readers:
            hops = read(request)
            is_told |= bool(hops)
            address = self._nearest(hops)
            if address is not None:
                return str(address)
        if is_told:
            return None
        if len(self._noted) < _MAX_NOTED:
            self._note(
                request,
                peer,
                "%s of the proxy %s is not read, so that users have its own address; have it send "
                "one of server.proxy_headers",
            )
        return str(peer)

    def _note(self, request: AnyRequest, peer: Address, text: str) -> None:
        """Say once of a peer that what it tells of its client does not count."""
        headers = request.headers
        if peer in self._noted or _TELLING_LOWER.isdisjoint(map(str.lower, headers)):
            return
        name = next((name for name in _TELLING if headers.get(name, "").strip()), None)
        if name is not None:
            self._noted.add(peer)
            _log.warning(text, name, peer)

    def _text_of(self, peer: str) -> str | None:
        address = self._address_of(peer)
        return None if address is None else str(address)

    @property
    def trusts_nobody(self) -> bool:
        """Whether the address of a client is always that of its connection."""
        return not self._networks

    def is_trusted(self, request: AnyRequest) -> bool:
        """Return whether a request comes from a proxy whose word counts."""
        return self.is_proxy(request.remote or "")

    def is_proxy(self, peer: str) -> bool:
        """Return whether an address is that of a proxy whose word counts."""
        address = self._address_of(peer)
        return address is not None and self._believes(address)

    def _believes(self, peer: Address) -> bool:
        return bool(self._networks) and self._is_trusted(peer)

    def _nearest(self, hops: Sequence[str]) -> Address | None:
        """Return the nearest one that no trusted proxy has, else the farthest."""
        address = None
        for hop in reversed(hops):
            address = address_of(hop)
            if address is None or not self._is_trusted(address):
                break
        return address

    def _in_networks(self, address: Address) -> bool:
        return any(address in network for network in self._networks)
