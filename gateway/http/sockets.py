"""Where SDKs connect to, before anybody accepts."""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any

__all__ = ["BACKLOG", "lacks_host", "listen", "listen_together", "unusable"]

BACKLOG = 512
"""Connections that may wait; more would be accepted in one go, and everybody waits meanwhile."""


def listen(hosts: str | Sequence[str], port: int, *, shared: bool = False) -> list[socket.socket]:
    """Return a listening socket, that does not block, for each address of one or more hosts.

    ``::`` stands for all addresses of IPv4 as well, unless one of those is among the others.

    :param port: 0 for any that is free; the same one for all addresses.
    :param shared: whether it shares the port with others that may be shared; see
        ``listen_together``.
    :raises OSError: an address cannot be used.
    """
    sockets: list[socket.socket] = []
    host = ""
    hosts = (hosts,) if isinstance(hosts, str) else hosts
    try:
        found: dict[tuple[Any, ...], str] = {}
        for host in hosts:
            for family, *_, address in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                found.setdefault((family, *address), host)
        has_v4 = any(family == socket.AF_INET for family, *_ in found)
        for (family, name, _, *scope), host in found.items():  # noqa: B007 - for the error
            listener = socket.create_server(
                (name, port, *scope),
                family=family,
                backlog=BACKLOG,
                reuse_port=shared,
                dualstack_ipv6=name == "::" and not has_v4 and socket.has_dualstack_ipv6(),
            )
            sockets.append(listener)
            listener.setblocking(False)
            # Connections inherit it, and each is spared the call.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            port = int(listener.getsockname()[1])
    except OSError as error:
        for each in sockets:
            each.close()
        raise OSError(error.errno, unusable(host, port, error)) from error
    return sockets


def unusable(host: str, port: int, error: OSError) -> str:
    """Return why nothing can listen there, and how to find who does."""
    number = error.errno or 0  # negative where the host has no address
    reason = os.strerror(number) if number > 0 else error.strerror
    if number == errno.EADDRINUSE:
        reason = (
            f"{reason} by another process, which may be a gateway that runs already "
            f"(ss -ltnp sport = :{port} shows it)"
        )
    return f"cannot listen on {host}, port {port}: {reason}"


def lacks_host(error: OSError) -> bool:
    """Whether nothing can listen there because this machine has no such address."""
    return error.errno == errno.EADDRNOTAVAIL or (error.errno or 0) < 0


def listen_together(hosts: str | Sequence[str], port: int, count: int) -> list[list[socket.socket]]:
    """Return so many sets of sockets that share a port; the kernel spreads connections.

    The first one takes the port for itself alone, which only one process can do at a time, and
    opens it to the others afterwards: a second gateway is refused, whenever it comes.  A set that
    was closed may come back (``shared``) as long as another one listens.

    :param port: as for ``listen``.
    :raises OSError: likewise, also where somebody else listens there, shared or not.
    """
    sets = [listen(hosts, port)]
    try:
        for each in sets[0]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = int(sets[0][0].getsockname()[1])
        while len(sets) < count:
            sets.append(listen(hosts, port, shared=True))
    except OSError:
        for each in (each for one in sets for each in one):
            each.close()
        raise
    return sets
