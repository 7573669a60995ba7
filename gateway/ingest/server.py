"""The port that SDKs talk to.

The low-level server of aiohttp calls one handler; a dictionary finds the route.  Whatever goes
wrong, the answer is JSON with CORS headers, and only what can never be accepted is answered 400.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from gateway.config import Config, SourceConfig
from gateway.errors import RequestError, SpoolUnavailable
from gateway.events import Received, decode
from gateway.ingest import replies, segment
from gateway.ingest.address import ClientAddress
from gateway.ingest.arrivals import Arrivals
from gateway.ingest.auth import Sources, key_in_body, key_in_request
from gateway.ingest.body import read_body
from gateway.ingest.budget import Budget
from gateway.ingest.connection import Connection
from gateway.ingest.connections import Connections
from gateway.ingest.descriptors import connections_allowed, raise_limit
from gateway.ingest.routes import Route, find
from gateway.telemetry import Telemetry

__all__ = ["Accept", "IngestServer"]

_log = logging.getLogger(__name__)

_BACKLOG = 512  # more would be accepted in one go, and everybody waits meanwhile
_HEALTH = frozenset({"/health", "/"})


class Accept(Protocol):
    """Makes events durable; see ``gateway.pipeline.Pipeline.accept``."""

    async def __call__(
        self,
        source: SourceConfig,
        received: Received,
        *,
        default_type: str | None,
        client_ip: str | None,
        is_retry: bool,
        hold: Callable[[int], bool],
    ) -> None:
        """Return when the events are on disk.

        :param hold: asks for the room that the records take in place of the body.
        """
        ...


class IngestServer:
    """Reads requests, finds their source, hands their events on and answers.

    :param accept: called with the events of each authenticated request.
    """

    def __init__(self, config: Config, accept: Accept, *, telemetry: Telemetry) -> None:
        self._config = server = config.server
        self._accept = accept
        self._telemetry = telemetry
        self._sources = Sources(config.sources)
        self._address = ClientAddress(server.trusted_proxies)
        self._routes: dict[str, Route] = {**segment.ROUTES}
        self._budget = Budget(server.max_bytes_in_flight)
        self._arrivals = Arrivals(
            timeout_s=server.body_timeout_s, min_bytes_per_s=server.min_body_bytes_per_s
        )
        self._connections: Connections | None = None
        self._max_connections = server.max_connections
        self._listener: asyncio.Server | None = None
        telemetry.bytes_in_flight.set_function(lambda: self._budget.used)
        telemetry.connections.set_function(lambda: len(self._connections or ()))

    async def start(self) -> None:
        """Listen.

        :raises OSError: the address cannot be used.
        """
        config = self._config
        files = raise_limit()
        self._max_connections = config.max_connections or connections_allowed(files)
        self._connections = Connections(
            self._handle,
            budget=self._budget,
            arrivals=self._arrivals,
            max_connections=self._max_connections,
            header_timeout_s=config.header_timeout_s,
            sweep_s=min(1.0, config.header_timeout_s / 4, config.body_timeout_s / 4),
            telemetry=self._telemetry,
        )
        tls = self._tls()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections,
            config.host,
            config.port,
            backlog=_BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=config.header_timeout_s if tls else None,
        )
        self._connections.start_sweeping()

    async def stop(self, timeout_s: float | None = None) -> None:
        """Refuse new connections, finish what is being answered, and close the others.

        :param timeout_s: in place of the configured one.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._connections is None:
            return
        if timeout_s is None:
            timeout_s = self._config.shutdown_timeout_s
        await self._connections.drain(timeout_s)

    def status(self) -> dict[str, int]:
        """Return what requests take now, and the bounds of it."""
        return {
            "connections": len(self._connections or ()),
            "max_connections": self._max_connections,
            "bytes_in_flight": self._budget.used,
            "max_bytes_in_flight": self._budget.capacity,
            "bodies_arriving": len(self._arrivals),
        }

    @property
    def port(self) -> int:
        """The port in use, also where the configuration says 0."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        return int(self._listener.sockets[0].getsockname()[1])

    def _tls(self) -> ssl.SSLContext | None:
        if self._config.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._config.tls_cert, self._config.tls_key)
        return context

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route = find(self._routes, request.path)
        family = route.family if route else "other"
        try:
            response = await self._answer(request, route)
        except RequestError as error:
            response = replies.failed(error)
            if error.code == "overloaded":
                self._send_away(request, "memory")
            # A body that was cut off keeps its error, whose traceback keeps the body: thousands of
            # such circles at once would be work for the garbage collector.
            error.__traceback__ = None
        except SpoolUnavailable as error:
            response = replies.failed(_unavailable(error))
            self._send_away(request, "spool")
        except Exception:
            _log.exception("a %s request failed inside the gateway; answered 503", family)
            response = replies.failed(
                RequestError(503, "internal_error", "try again later", retry_after_s=5)
            )
        if self._is_last(request):
            response.force_close()
        replies.complete(request, response)
        self._telemetry.requests.labels(family, str(response.status)).inc()
        return response

    async def _answer(self, request: web.BaseRequest, route: Route | None) -> web.Response:
        if request.method == "OPTIONS":
            return replies.preflight(request)
        if request.method in ("GET", "HEAD") and request.path in _HEALTH:
            return replies.empty()
        if route is None:
            raise RequestError(
                404, "not_found", f"nothing is served at {request.path[:200]}; see the README"
            )
        if request.method != "POST":
            raise RequestError(405, "method_not_allowed", "send events with POST")
        await self._take(request, route)
        return replies.accepted()

    async def _take(self, request: web.BaseRequest, route: Route) -> None:
        key = key_in_request(request)
        source = self._sources.find(key) if key is not None else None
        with self._budget.lease() as lease:
            body = await read_body(
                request,
                lease=lease,
                arrivals=self._arrivals,
                max_bytes=self._config.max_body_bytes,
            )
            received = decode(body)
            if source is None:
                source = self._sources.find(key_in_body(received))
            headers = request.headers
            client_ip = None
            if route.from_device or "Origin" in headers:
                client_ip = self._address.of(request.remote, headers)
            stored = self._accept(
                source,
                received,
                default_type=route.type,
                client_ip=client_ip,
                is_retry=headers.get("X-Retry-Count", "0") != "0"
                or headers.get("Rsa-Retry-Attempt", "0") != "0",
                hold=lease.resize,
            )
            # What waits for the disk is the records; nothing else of the request is kept.
            del body, received
            await stored

    def _is_last(self, request: web.BaseRequest) -> bool:
        """Whether the connection ends with this answer."""
        draining = self._connections is not None and self._connections.draining
        return draining or not request.content.is_eof()

    def _send_away(self, request: web.BaseRequest, reason: str) -> None:
        """Count a refusal, and take nothing more from that client until a while has passed."""
        self._telemetry.refusals.labels(reason).inc()
        if isinstance(request.protocol, Connection):
            request.protocol.rest()


def _unavailable(error: SpoolUnavailable) -> RequestError:
    return RequestError(
        503,
        "unavailable",
        "the events cannot be stored now; send them again later",
        retry_after_s=error.retry_after_s,
    )
