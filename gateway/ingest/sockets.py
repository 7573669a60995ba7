"""Where SDKs connect to, before anybody accepts."""

import os
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
            listener = socket.create_server(
                address, family=family, backlog=BACKLOG, reuse_port=shared
            )
            sockets.append(listener)
            listener.setblocking(False)
            # Connections inherit it, and each is spared the call.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            port = int(listener.getsockname()[1])
    except OSError as error:
        for each in sockets:
            each.close()
        number = error.errno or 0  # negative where the host has no address
        reason = os.strerror(number) if number > 0 else error.strerror
        raise OSError(error.errno, f"cannot listen on {host}, port {port}: {reason}") from error
    return sockets
