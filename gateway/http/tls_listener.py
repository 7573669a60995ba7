"""Listening for connections that begin with a TLS handshake.

A protocol of asyncio knows nothing of a connection before its handshake is done, so that those
that never finish theirs would count nowhere.  Here each is accepted by hand and counted at once.
"""

import asyncio
import socket
import ssl

from gateway.http.malformed import PROXY_PROTOCOL
from gateway.http.protocol import Connection
from gateway.http.proxy_protocol import MAX_BYTES, ProxyProtocolError, may_begin, read
from gateway.http.server import TURNED_AWAY, Server
from gateway.http.tls import CurrentCertificate

__all__ = ["TlsListener"]

_SHUTDOWN_S = 2.0
"""How long a client may take to say goodbye, as TLS has it."""

_PEEK_S = 0.01
"""Between two looks at a preamble that has come in part, which hardly ever happens."""

_NO_FILES_S = 0.1
"""How long nothing is accepted when the process has no descriptor left."""


class TlsListener:
    """Accepts connections, and hands those whose handshake is done to the hub.

    :param sockets: that listen and do not block.
    :param handshake_timeout_s: time for a handshake.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        hub: Server,
        certificate: CurrentCertificate,
        *,
        handshake_timeout_s: float,
    ) -> None:
        self.sockets = sockets
        self._hub = hub
        self._certificate = certificate
        self._handshake_timeout_s = handshake_timeout_s
        self._loop = asyncio.get_running_loop()
        self._accepting = [self._loop.create_task(self._accept(each)) for each in sockets]

    def close(self) -> None:
        """Accept nothing more."""
        for task in self._accepting:
            task.cancel()
        for each in self.sockets:
            each.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_NO_FILES_S)
                continue
            others = len(self._hub)
            if others >= self._hub.max_connections + TURNED_AWAY:
                self._hub.count_refusal("connections")
                connection.close()  # without a handshake it can be told nothing
            else:
                self._hub.shake_hands(self._shake_hands(connection, self._hub.protocol(others)))
            await asyncio.sleep(0)  # others have their turn, too

    async def _shake_hands(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            if self._hub.is_proxy is not None and isinstance(protocol, Connection):
                async with asyncio.timeout(self._handshake_timeout_s):
                    protocol.told_peer = await self._take_preamble(connection)
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except (ConnectionAbortedError, TimeoutError):
            self._hub.count_refusal("handshake_timeout")
            connection.close()
        except ProxyProtocolError:
            self._hub.count_malformed(PROXY_PROTOCOL, "a proxy")
            connection.close()
        except ssl.SSLError as error:
            self._hub.count_failed_handshake((error.reason or "unknown").lower())
        except OSError:
            pass  # it went away

    async def _take_preamble(self, connection: socket.socket) -> tuple[str, int] | None:
        """Take what a trusted proxy says of its client before the handshake; return the client.

        :raises ProxyProtocolError: it is malformed.
        """
        is_proxy = self._hub.is_proxy
        if is_proxy is None or not is_proxy(connection.getpeername()[0]):
            return None
        while True:
            await self._readable(connection)
            data = connection.recv(MAX_BYTES, socket.MSG_PEEK)
            if not data or not may_begin(data):
                return None
            preamble = read(data)
            if preamble is not None:
                connection.recv(preamble.size)
                return None if preamble.address is None else (preamble.address, 0)
            await asyncio.sleep(_PEEK_S)

    async def _readable(self, connection: socket.socket) -> None:
        """Wait until there is something to read."""
        ready = asyncio.Event()
        self._loop.add_reader(connection, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(connection)
