"""Where SDKs connect to, before anybody accepts."""

import socket

__all__ = ["BACKLOG", "listen"]

BACKLOG = 512
"""Connections that may wait; more would be accepted in one go, and everybody waits meanwhile."""


def listen(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Return a listening socket, that does not block, for each address of a host.

    :param port: 0 for any that is free; the same one for all addresses.
    :param shared: whether other sockets may share the port; the kernel spreads connections.
    :raises OSError: an address cannot be used.
    """
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, (name, _, *scope) in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            address = (name, port, *scope)
            sockets.append(
                socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=shared)
            )
            sockets[-1].setblocking(False)
            port = int(sockets[-1].getsockname()[1])
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
