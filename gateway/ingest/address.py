"""The client's address, believed only as far as the proxies in front are known."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from multidict import MultiMapping

__all__ = ["ClientAddress"]

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddress:
    """Finds the address a request came from.

    :param trusted_proxies: networks whose X-Forwarded-For is believed.
    """

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        networks = tuple(ipaddress.ip_network(text, strict=False) for text in trusted_proxies)
        self._networks: tuple[_Network, ...] = networks
        self._is_trusted = lru_cache(maxsize=1024)(self._in_networks)

    def of(self, peer: str | None, headers: MultiMapping[str]) -> str | None:
        """Return the nearest address that no trusted proxy has.

        :param peer: the address at the other end of the connection.
        """
        if peer is None or not self.trusts(peer):
            return peer
        # Some proxies add a line of their own to the one that the client may have made up.
        lines = headers.getall("X-Forwarded-For", ())
        hops = [hop.strip() for line in lines for hop in line.split(",")]
        for hop in reversed(hops):
            if not hop:
                break
            if not self._is_trusted(hop):
                return hop
            peer = hop
        return peer

    def trusts(self, peer: str | None) -> bool:
        """Return whether the headers that a proxy adds are believed from this peer."""
        return peer is not None and bool(self._networks) and self._is_trusted(peer)

    def _in_networks(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
