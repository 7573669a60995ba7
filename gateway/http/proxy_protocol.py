"""The PROXY protocol, with which a balancer of connections says whose connection it passes on.

Versions 1 and 2 of HAProxy's specification.  Who has not to be believed does not come here.
"""

import ipaddress
import re
from typing import NamedTuple

__all__ = ["MAX_BYTES", "Preamble", "ProxyProtocolError", "may_begin", "read"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_STARTS = (b"PROXY ", _SIGNATURE)

MAX_BYTES = 4096
"""What a preamble may have; addresses and the extensions that balancers send take 250."""

_MAX_LINE_BYTES = 107
_LINE = re.compile(
    rb"PROXY (?:(TCP4|TCP6) ([0-9A-Fa-f.:]+) [0-9A-Fa-f.:]+ \d{1,5} \d{1,5}|UNKNOWN[ -~]*)"
)

_VERSION_2 = 2
_LOCAL, _PROXY = 0, 1
_FIXED_BYTES = 16
_ADDRESS_BYTES = {1: 4, 2: 16}  # of IPv4 and IPv6; there are two, and two ports of 2


class ProxyProtocolError(ValueError):
    """What begins like a preamble is none."""


class Preamble(NamedTuple):
    """What a connection begins with.

    :param size: how many bytes it has.
    :param address: the client's; None where the balancer speaks for itself, or does not know.
    """

    size: int
    address: str | None


def may_begin(data: bytes) -> bool:
    """Tell whether a connection begins with a preamble, as far as can be told yet.

    No request does: their methods are others.
    """
    return any(data.startswith(start) or start.startswith(data) for start in _STARTS)


def read(data: bytes) -> Preamble | None:
    """Return the preamble, None while it has not come as a whole.

    :param data: of which ``may_begin`` holds.
    :raises ProxyProtocolError: it is malformed, or too long.
    """
    return _version_1(data) if data.startswith(b"PROXY ") else _version_2(data)


def _version_1(data: bytes) -> Preamble | None:
    line, end, _ = data[:_MAX_LINE_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_LINE_BYTES:
            raise ProxyProtocolError
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyProtocolError
    address = None
    if found[2] is not None:
        address = _address(found[2].decode(), is_v6=found[1] == b"TCP6")
    return Preamble(len(line) + len(end), address)


def _address(text: str, *, is_v6: bool) -> str:
    try:
        kind = ipaddress.IPv6Address if is_v6 else ipaddress.IPv4Address
        return str(kind(text))
    except ValueError:
        raise ProxyProtocolError from None


def _version_2(data: bytes) -> Preamble | None:
    if len(data) < _FIXED_BYTES:
        return None
    version, command = divmod(data[12], 16)
    family = data[13] >> 4
    size = _FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if version != _VERSION_2 or command not in (_LOCAL, _PROXY) or size > MAX_BYTES:
        raise ProxyProtocolError
    if len(data) < size:
        return None
    length = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or length is None:
        return Preamble(size, None)
    if size < _FIXED_BYTES + 2 * length + 4:
        raise ProxyProtocolError
    return Preamble(size, str(ipaddress.ip_address(data[_FIXED_BYTES : _FIXED_BYTES + length])))
