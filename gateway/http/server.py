"""All connections of a port: how many there may be, who is swept away, and how they end."""

import asyncio
import logging
import select
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from aiohttp import web

from gateway.http import replies
from gateway.http.handler import Handler
from gateway.http.handover import EXTRA, Handover
from gateway.http.heads import KnownHeads
from gateway.http.malformed import HeadLimits, MalformedReason
from gateway.http.memory_budget import Budget
from gateway.http.protocol import Connection
from gateway.http.refusals import too_many_connections
from gateway.http.slow_bodies import Arrivals
from gateway.notices import Notices
from gateway.telemetry import Telemetry

__all__ = ["TURNED_AWAY", "Server"]

_log = logging.getLogger(__name__)

_UNHEARD = logging.Logger("aiohttp.server")
"""Of what aiohttp refuses: its log would have a traceback and a part of the request, with its key,
each time.  Such requests are counted, and operators told of them, by their connections."""
_UNHEARD.disabled = True

_READ_BYTES = 64 * 1024  # of a body, held before it is asked for; twice that is the most
_MAX_HEADERS = 100

_NO_KEEPALIVE_S = 10 * 365 * 86400.0
"""aiohttp does not end connections that wait for their next request; the sweep does."""

_TURNED_AWAY_S = 1.0
TURNED_AWAY = 128
"""Connections beyond the cap that are given the time to see why."""

_GRACE_S = 1.0
"""When stopping: how long requests on connections that are open are still awaited."""

_POLL_S = 0.02

_STEPS = 20  # of a sweep

_ENDS = 4
_ENDING_S = 0.001
"""How many that are too slow are ended at a time, and how long after those nobody is: each takes
0.1 ms, and there may be thousands.  It is the shortest time that the event loop can wait."""


class Server:
    """The protocols of all connections, and what they share.

    :param handler: answers requests.
    :param paths: those whose POSTs are answered without aiohttp where they are usual.
    :param is_proxy: tells which addresses may say by the PROXY protocol whose connection it is;
        None where none may.
    :param max_header_bytes: of the first line of a request, and of each header.
    :param max_head_bytes: of all of them.
    :param notices: tell operators what is wrong with requests that are no HTTP.
    :param max_connections: those beyond it are answered 503 and closed.
    :param header_timeout_s: time from the first byte of a request to the end of its headers.
    :param keepalive_timeout_s: how long a connection may wait for its next request.
    :param body_timeout_s: for the rest of a body that nobody reads.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        paths: frozenset[str],
        is_proxy: Callable[[str], bool] | None,
        budget: Budget,
        arrivals: Arrivals,
        max_header_bytes: int,
        max_head_bytes: int,
        max_connections: int,
        header_timeout_s: float,
        keepalive_timeout_s: float,
        body_timeout_s: float,
        sweep_s: float,
        telemetry: Telemetry,
        notices: Notices,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.handler = handler
        self.paths = paths
        self._aiohttp = web.Server(
            self._handle,
            keepalive_timeout=_NO_KEEPALIVE_S,
            access_log=None,
            logger=_UNHEARD,
            auto_decompress=False,
            lingering_time=0,
            tcp_keepalive=False,  # they have it from the listening socket
            read_bufsize=_READ_BYTES,
            max_line_size=max_head_bytes,  # what is larger does not come so far
            max_field_size=max_head_bytes,
        )
        self.limits = HeadLimits(max_header_bytes, max_head_bytes, _MAX_HEADERS)
        self.is_proxy = is_proxy
        self.budget = budget
        self.heads = KnownHeads()
        self.header_timeout_s = header_timeout_s
        self.keepalive_timeout_s = keepalive_timeout_s
        self.body_timeout_s = body_timeout_s
        self.arrivals = arrivals
        self.max_connections = max_connections
        self._telemetry = telemetry
        self._notices = notices
        self._sweep_s = sweep_s
        self._sweeping: asyncio.Task[None] | None = None
        self._ended = 0  # by the sweep
        self._connections: dict[Connection, asyncio.Transport] = {}
        self._turned_away: set[asyncio.Transport] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self.draining = False

    def __call__(self) -> asyncio.Protocol:
        """Return a protocol for a new connection."""
        return self.protocol(len(self))

    def protocol(self, others: int) -> asyncio.Protocol:
        """Return a protocol for a new connection.

        :param others: how many there are beside it.
        """
        if others < self.max_connections:
            return Connection(self)
        self.count_refusal("connections")
        return _TurnedAway(self)

    def aiohttp(self) -> asyncio.Protocol:
        """Return a protocol of aiohttp's."""
        return cast(asyncio.Protocol, self._aiohttp())

    def add(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Know a connection from now on."""
        self._connections[connection] = transport

    def remove(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.pop(connection, None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request as aiohttp wants it, and tell its connection when it is answered."""
        handover: Handover | None = request.get_extra_info(EXTRA)
        connection = None if handover is None else handover.front
        if not isinstance(connection, Connection):
            return web.Response()  # the client has gone
        connection.begin_request(request)
        try:
            answer = await self.handler.respond(request, connection)
            response = connection.response(answer)
            if not response.prepared:
                replies.complete(response, request.headers.get("Origin"))
                await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            connection.fail()
            return web.Response()
        except Exception:
            _log.exception("an answer failed; its connection is closed")
            connection.fail()
            return web.Response()
        connection.end_request(goes_on=bool(response.keep_alive))
        return response

    def shake_hands(self, handshake: Coroutine[Any, Any, None]) -> None:
        """Begin a connection with a handshake; it counts from now on."""
        task = self.loop.create_task(handshake)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def count_refusal(self, reason: str) -> None:
        """Count a connection or request that was refused for want of time or room."""
        self._telemetry.refusals.labels(reason).inc()

    def count_answer(self, status: int) -> None:
        """Count an answer to what belongs to no route."""
        self._telemetry.requests.labels("other", str(status)).inc()

    def count_failed_handshake(self, reason: str) -> None:
        """Count a handshake that has failed, and tell operators of it.

        :param reason: as OpenSSL has it.
        """
        self.count_refusal("handshake")
        why = "it speaks plain HTTP" if reason == "http_request" else reason.replace("_", " ")
        self._notices.say(
            "handshake",
            reason,
            "a client was refused in its TLS handshake: %s; clients need https://, TLS 1.2, and to "
            "trust the certificate",
            why,
        )

    def count_malformed(self, fault: MalformedReason, peer: str) -> None:
        """Count a request that was refused because it is no HTTP, and tell operators of it.

        :param peer: where it came from.
        """
        self._telemetry.malformed.labels(fault.reason).inc()
        self._notices.say(
            f"malformed {fault.reason}",
            None,
            "a request from %s was answered 400, because %s",
            peer or "a client",
            fault.message,
        )

    def __len__(self) -> int:
        return len(self._connections) + len(self._handshakes)

    def start_sweeping(self) -> None:
        """Look at every connection from now on, about once a second."""
        self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Look at a part of all at a time: nobody waits for ten thousand of them."""
        while True:
            connections = list(self._connections)
            step = len(connections) // _STEPS + 1
            for start in range(0, step * _STEPS, step):
                await self._cut_slow_bodies()
                await self._look_at(connections[start : start + step])
                await asyncio.sleep(self._sweep_s / _STEPS)

    async def _cut_slow_bodies(self) -> None:
        for body in self.arrivals.slow(self.loop.time()):
            if self.arrivals.cut(body):
                self.count_refusal("body_timeout")
                await self._let_others_go_on()

    async def _look_at(self, connections: Sequence[Connection]) -> None:
        now = self.loop.time()
        for connection in connections:
            transport = self._connections.get(connection)
            if transport is None:
                continue  # it has ended meanwhile
            if connection.sweep(now, transport):
                connection.end_slow(transport)
                await self._let_others_go_on()

    async def _let_others_go_on(self) -> None:
        """Wait for a moment after some ends, which would be work without a pause otherwise."""
        self._ended += 1
        if self._ended % _ENDS == 0:
            await asyncio.sleep(_ENDING_S)

    async def drain(self, timeout_s: float) -> None:
        """Finish the requests under way and close all connections.

        Every answer says that it is the last one of its connection.  A connection without a request
        is closed after a moment, and only when nothing can be read from it.
        """
        self.draining = True
        now = self.loop.time()
        idle_end, end = now + min(_GRACE_S, timeout_s / 2), now + timeout_s
        while self._connections and now < end:
            if now >= idle_end:
                self._close_idle()
            await asyncio.sleep(_POLL_S)
            now = self.loop.time()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for handshake in list(self._handshakes):
            handshake.cancel()
        for transport in list(self._turned_away):
            self._let_go(transport)
        for connection in list(self._connections):
            connection.close()
        await self._aiohttp.shutdown(_POLL_S)

    def _close_idle(self) -> None:
        readable = select.poll()
        idle: dict[int, Connection] = {}
        for connection, transport in self._connections.items():
            if connection.is_idle:
                fd = transport.get_extra_info("socket").fileno()
                idle[fd] = connection
                readable.register(fd, select.POLLIN)
        for fd, _ in readable.poll(0):
            del idle[fd]
        for connection in idle.values():
            connection.close()

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Tell a connection beyond the cap so, and close it."""
        transport.pause_reading()
        transport.write(replies.raw(too_many_connections()))
        if len(self._turned_away) >= TURNED_AWAY:
            transport.close()
            return
        if transport.can_write_eof():
            # Closing at once would discard the answer together with what the client has sent.
            transport.write_eof()
        else:
            transport.close()  # TLS: when the client has said goodbye, too
        self._turned_away.add(transport)
        self.loop.call_later(_TURNED_AWAY_S, self._let_go, transport)

    def _let_go(self, transport: asyncio.Transport) -> None:
        self._turned_away.discard(transport)
        transport.abort()


class _TurnedAway(asyncio.Protocol):
    """A connection that there is no room for."""

    def __init__(self, hub: Server) -> None:
        self._hub = hub

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer without reading."""
        self._hub.turn_away(cast(asyncio.Transport, transport))
