"""The port that SDKs talk to.

The low-level server of aiohttp calls one handler; a dictionary finds the route.  Whatever goes
wrong, the answer is JSON with CORS headers, and only what can never be accepted is answered 400.
"""

import asyncio
import logging
import ssl

from aiohttp import web

from gateway.config import Config
from gateway.errors import RequestError, SpoolUnavailable
from gateway.ingest import mixpanel, pages, replies, segment, shared
from gateway.ingest.address import ClientAddress
from gateway.ingest.arrivals import Arrivals
from gateway.ingest.auth import Sources
from gateway.ingest.budget import Budget
from gateway.ingest.call import Accept, AcceptRecords, Call, Services
from gateway.ingest.connection import Connection
from gateway.ingest.connections import Connections
from gateway.ingest.descriptors import connections_allowed, raise_limit
from gateway.ingest.projects import Projects
from gateway.ingest.routes import Found, Routes
from gateway.ingest.upstream import Upstream
from gateway.telemetry import Telemetry

__all__ = ["IngestServer"]

_log = logging.getLogger(__name__)

_BACKLOG = 512  # more would be accepted in one go, and everybody waits meanwhile


class IngestServer:
    """Reads requests, finds their source, hands their events on and answers.

    :param accept: called with the events of each authenticated request.
    :param accept_records: called with the records of each request of Mixpanel's own SDKs.
    """

    def __init__(
        self,
        config: Config,
        accept: Accept,
        accept_records: AcceptRecords,
        *,
        telemetry: Telemetry,
    ) -> None:
        self._config = server = config.server
        self._telemetry = telemetry
        self._routes = Routes(pages.ROUTES, segment.ROUTES | shared.ROUTES, mixpanel.ROUTES)
        self._budget = Budget(server.max_bytes_in_flight)
        self._arrivals = Arrivals(
            timeout_s=server.body_timeout_s, min_bytes_per_s=server.min_body_bytes_per_s
        )
        self._upstream = Upstream(config.proxy, self._arrivals)
        self._services = Services(
            config=config,
            sources=Sources(config.sources),
            address=ClientAddress(server.trusted_proxies),
            arrivals=self._arrivals,
            accept=accept,
            accept_records=accept_records,
            projects=Projects(config.destinations),
            upstream=self._upstream,
            telemetry=telemetry,
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
        await self._upstream.close()

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
        method = request.method
        found = self._routes.find("GET" if method == "HEAD" else method, request.path)
        if found is None:
            family, response = "other", self._without_route(request)
        else:
            family, response = await self._answer(request, found)
        if self._is_last(request):
            response.force_close()
        replies.complete(request, response)
        self._telemetry.requests.labels(family, str(response.status)).inc()
        return response

    async def _answer(
        self, request: web.BaseRequest, found: Found
    ) -> tuple[str, web.StreamResponse]:
        """Return the family that a request turned out to be of, and the answer."""
        route, params = found
        with self._budget.lease() as lease:
            call = Call(request, route.family, params, self._services, lease)
            try:
                response = await route.handle(call)
                return call.family, response
            # No error outlives its clause: it would keep the body in memory.
            except RequestError as error:
                if error.code == "overloaded":
                    self._send_away(request, "memory")
                return call.family, route.refuse(call, error)
            except SpoolUnavailable as error:
                self._send_away(request, "spool")
                return call.family, route.refuse(call, _unavailable(error))
            except Exception:
                _log.exception("a %s request failed inside; answered 503", call.family)
                internal = RequestError(503, "internal_error", "try again later", retry_after_s=5)
                return call.family, route.refuse(call, internal)

    def _without_route(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return replies.preflight(request)
        methods = self._routes.methods(request.path)
        if methods:
            return replies.method_not_allowed(methods)
        path = request.path[:200]
        return replies.failed(
            RequestError(404, "not_found", f"nothing is served at {path}; see the README")
        )

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
