"""Addresses of users: how they are read, and how much of them is kept."""

import ipaddress
import re
from functools import lru_cache

from gateway.config import IpPolicy

__all__ = ["Address", "address_of", "first_address", "limited", "stricter"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_FORWARDED = 32
_MAX_LENGTH = 64  # of [address]:port; anything longer is none
_BRACKETED = re.compile(r"\[([^\]]*)\](?::\w*)?")
_V4_WITH_PORT = re.compile(r"([0-9.]+):\w*")
_STRICTNESS: tuple[IpPolicy, ...] = ("keep", "truncate", "drop")

_BITS_KEPT = {4: 24, 6: 48}
_6TO4_BITS_KEPT = 16 + _BITS_KEPT[4]
"""Such an address holds one of IPv4, after 16 bits (RFC 3056)."""


def stricter(one: IpPolicy, other: IpPolicy) -> IpPolicy:
    """Return the policy that keeps less."""
    return max(one, other, key=_STRICTNESS.index)


def address_of(text: str) -> Address | None:
    """Return the address that a text is, None when it is none.

    A port, brackets and a zone are left out; ``::ffff:192.0.2.1`` is the IPv4 address in it.
    """
    if len(text) > _MAX_LENGTH:
        return None
    text = text.strip()
    found = _BRACKETED.fullmatch(text) or _V4_WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((found[1] if found else text).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def first_address(value: object) -> str | None:
    """Return the first address of those that a value names: the client's, then those of proxies.

    :param value: a text with commas between them, as ``X-Forwarded-For``, or a list of such texts.
    """
    texts = value if isinstance(value, list) else [value]
    for text in texts[:_MAX_FORWARDED]:
        if not isinstance(text, str):
            continue
        for part in text.split(",", _MAX_FORWARDED)[:_MAX_FORWARDED]:
            address = address_of(part)
            if address is not None:
                return str(address)
    return None


def limited(text: str, policy: IpPolicy) -> str | None:
    """Return what a policy leaves of an address; None when that is nothing, or it is none.

    ``truncate`` keeps the network: 24 bits of IPv4, 48 of IPv6.
    """
    if policy == "keep":
        return text
    return _truncated(text) if policy == "truncate" and len(text) <= _MAX_LENGTH else None


@lru_cache(maxsize=1024)  # the events of a batch have the same one
def _truncated(text: str) -> str | None:
    address = address_of(text)
    if address is None:
        return None
    bits = _BITS_KEPT[address.version]
    if isinstance(address, ipaddress.IPv6Address) and address.sixtofour is not None:
        bits = _6TO4_BITS_KEPT
    dropped = address.max_prefixlen - bits
    return str(type(address)(int(address) >> dropped << dropped))
