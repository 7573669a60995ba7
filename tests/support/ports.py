"""Ports that stay free while a server is down."""

import socket
from pathlib import Path
from random import Random

__all__ = ["lasting_port"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_TRIES = 100
_rng = Random()


def lasting_port() -> int:
    """Return a free port that no connection is given as its own.

    One that the system gives to whoever asks for port 0 may belong to an outgoing connection when
    the server comes back.  Clients that try to connect to it meanwhile may even meet themselves.
    """
    first_given = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    for _ in range(_TRIES):
        port = _rng.randrange(_LOWEST, first_given)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("found no free port")
