"""The port that SDKs talk to.

The low-level server of aiohttp calls one handler; a dictionary finds the route.  Whatever goes
wrong, the answer is JSON with CORS headers, and only what can never be accepted is answered 400.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage

from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.errors import RequestError, SpoolUnavailable
from gateway.http import replies
from gateway.http.body import Bodies, encoding_of
from gateway.http.client_address import ClientAddress
from gateway.http.descriptors import connections_allowed, raise_limit
from gateway.http.memory_budget import Budget
from gateway.http.slow_bodies import Arrivals
from gateway.http.sockets import BACKLOG, listen
from gateway.http.tls import CurrentCertificate
from gateway.ingest import jitsu, mixpanel, pages, rudder, segment, shared, syft
from gateway.ingest.auth import Sources
from gateway.ingest.bundle import Bundle
from gateway.ingest.call import Accept, AcceptRecords, Call, Services
from gateway.ingest.connection import Connection
from gateway.ingest.connections import Connections
from gateway.ingest.heads import CommonHeads, Known
from gateway.ingest.intake import Intake
from gateway.ingest.projects import Projects
from gateway.ingest.rates import Rates
from gateway.ingest.routes import Found, Handler, Routes, aliases, as_json
from gateway.ingest.short_way import ShortWay
from gateway.ingest.tls_listener import TlsListener
from gateway.ingest.upstream import Upstream
from gateway.model import Health
from gateway.notices import Notices
from gateway.telemetry import Telemetry

__all__ = ["ROUTES", "IngestServer"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

ROUTES = (
    pages.ROUTES,
    segment.ROUTES | shared.ROUTES,
    *(family.ROUTES for family in (rudder, jitsu, syft, mixpanel)),
)

_NOTED = {
    "invalid_credentials": "a request of Mixpanel's SDKs was answered 401: its token or credentials"
    " are those of no destination; compare them with destinations[].settings",
}
"""What operators are told of refusals, by their codes."""


async def _unchecked() -> Health:
    return Health(accepting=True)


class IngestServer:
    """Reads requests, finds their source, hands their events on and answers.

    :param accept: called with the events of each authenticated request.
    :param accept_records: called with the records of each request of Mixpanel's own SDKs.
    :param check: tells whether events can be stored now.
    """

    def __init__(
        self,
        config: Config,
        accept: Accept,
        accept_records: AcceptRecords,
        *,
        telemetry: Telemetry,
        check: Callable[[], Awaitable[Health]] = _unchecked,
        clock: Clock | None = None,
    ) -> None:
        self._check = check
        self._config = server = config.server
        self._clock = clock or SystemClock()
        self._telemetry = telemetry
        self._notices = Notices(_log, self._clock)
        names = aliases() if server.neutral_paths else {}
        self._routes = Routes(*ROUTES, prefix=server.path_prefix, names=names)
        self._prompt_paths = self._routes.taskless("POST")
        self._budget = Budget(server.max_bytes_in_flight)
        self._arrivals = Arrivals(
            timeout_s=server.body_timeout_s, min_bytes_per_s=server.min_body_bytes_per_s
        )
        self._upstream = Upstream(config.proxy, self._arrivals)
        self._services = Services(
            config=config,
            sources=Sources(config.sources, server.default_source, notices=self._notices),
            address=ClientAddress(server.trusted_proxies, server.proxy_headers),
            bodies=Bodies(self._arrivals, max_bytes=server.max_body_bytes),
            imports=Bodies(
                self._arrivals,
                max_bytes=server.import_bytes,
                patience=max(1.0, server.import_bytes / server.max_body_bytes),
            ),
            bundle=Bundle(server.browser_bundle),
            accept=accept,
            accept_records=accept_records,
            is_healthy=self._is_healthy,
            projects=Projects(config.destinations),
            rates=Rates(config, self._clock, telemetry, self._notices),
            upstream=self._upstream,
            telemetry=telemetry,
            notices=self._notices,
        )
        self._connections: Connections | None = None
        self._max_connections = server.max_connections
        self._listeners: Sequence[asyncio.Server | TlsListener] = ()
        self._certificate: CurrentCertificate | None = None
        self._watching: asyncio.Task[None] | None = None
        telemetry.bytes_in_flight.set_function(lambda: self._budget.used)
        telemetry.connections.set_function(lambda: len(self._connections or ()))

    async def start(self, listeners: Sequence[socket.socket] = ()) -> None:
        """Listen.

        :param listeners: sockets that listen, in place of the configured address.
        :raises OSError: the address or the bundle cannot be used.
        :raises CertificateError: the certificate or its key cannot be used.
        """
        config = self._config
        self._services.bundle.load()
        files = raise_limit()
        self._max_connections = config.max_connections or connections_allowed(files)
        self._connections = Connections(
            self._handle,
            respond=self._respond,
            respond_again=self._respond_again,
            is_prompt=self._is_prompt,
            is_proxy=self._services.address.is_proxy if config.trusted_proxies else None,
            common=None if config.trusted_proxies else CommonHeads(self._services.address.of_peer),
            budget=self._budget,
            arrivals=self._arrivals,
            max_header_bytes=config.max_header_bytes,
            max_head_bytes=config.max_head_bytes,
            max_connections=self._max_connections,
            header_timeout_s=config.header_timeout_s,
            keepalive_timeout_s=config.keepalive_timeout,
            body_timeout_s=config.body_timeout_s,
            sweep_s=min(1.0, config.header_timeout_s / 4, config.body_timeout_s / 4),
            telemetry=self._telemetry,
            notices=self._notices,
        )
        sockets = list(listeners) or listen(config.hosts, config.port)
        if config.tls_cert is not None and config.tls_key is not None:
            self._certificate = CurrentCertificate(
                config.tls_cert, config.tls_key, clock=self._clock, telemetry=self._telemetry
            )
            self._listeners = [
                TlsListener(
                    sockets,
                    self._connections,
                    self._certificate,
                    handshake_timeout_s=config.header_timeout_s,
                )
            ]
        else:
            create_server = asyncio.get_running_loop().create_server
            self._listeners = [
                await create_server(self._connections, sock=each, backlog=BACKLOG)
                for each in sockets
            ]
        self._connections.start_sweeping()
        if self._certificate is not None:
            self._watching = asyncio.create_task(self._certificate.watch())

    async def stop(self, timeout_s: float | None = None) -> None:
        """Refuse new connections, finish what is being answered, and close the others.

        :param timeout_s: in place of the configured one.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners = ()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
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
        if not self._listeners:
            raise RuntimeError("the server is not started")
        return int(self._listeners[0].sockets[0].getsockname()[1])

    async def reload_certificate(self) -> None:
        """Read the files of the certificate again; a pair that cannot be used changes nothing."""
        if self._certificate is not None:
            await self._certificate.reload()

    async def _is_healthy(self) -> bool:
        """Return whether the next event would be taken, and others should come here."""
        draining = self._connections is not None and self._connections.draining
        return not draining and (await self._check()).accepting

    def _is_prompt(self, message: RawRequestMessage) -> bool:
        """Return whether a request can be handled without a task, and answered in bytes."""
        return (
            message.method == "POST"
            and message.path.partition("?")[0] in self._prompt_paths
            and message.version == HttpVersion11
            and not (message.should_close or message.upgrade or "Expect" in message.headers)
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request as aiohttp wants it."""
        response = self._response(request, await self._answer(request))
        replies.complete(response, request.headers.get("Origin"))
        return response

    async def _respond(self, request: web.BaseRequest) -> tuple[web.StreamResponse | bytes, bool]:
        """Answer a request of which ``_is_prompt`` holds, in bytes where the whole answer is known.

        With bytes goes whether the connection goes on.
        """
        answer = await self._answer(request)
        origin = request.headers.get("Origin")
        if isinstance(answer, replies.Constant) and not self._is_last(request):
            return answer.wire(origin), True
        response = self._response(request, answer)
        if type(response) is web.Response:
            return replies.wire(response, origin), response.keep_alive is not False
        return response, False  # a stream, whose headers are sent already

    async def _respond_again(
        self, connection: ShortWay, known: Known, body: bytes
    ) -> tuple[bytes, bool]:
        """Answer a request whose head is known; tell whether its connection goes on."""
        answer: replies.Answer
        with self._budget.lease() as lease:
            try:
                known.intake.admit(known.told)
                payload = await self._services.bodies.take(body, known.encoding, lease)
                stored = known.intake.store(
                    known.told,
                    payload,
                    self._services,
                    client_ip=known.client_ip,
                    hold=lease.resize,
                )
                del body, payload
                await stored
                answer = known.intake.answer()
            except Exception as error:
                answer = replies.failed(self._refusal(error, known.family, connection))
        origin = known.told.origin
        self._telemetry.requests.labels(known.family, str(answer.status)).inc()
        if isinstance(answer, replies.Constant):
            return answer.wire(origin), True
        response = cast(web.Response, answer)
        return replies.wire(response, origin), response.keep_alive is not False

    def _response(self, request: web.BaseRequest, answer: replies.Answer) -> web.StreamResponse:
        """Return an answer for aiohttp, that ends the connection where it has to end."""
        response = answer.response() if isinstance(answer, replies.Constant) else answer
        if self._is_last(request):
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> replies.Answer:
        if isinstance(request.protocol, Connection):
            request.protocol.begin_request()
        method = request.method
        found = self._routes.find("GET" if method == "HEAD" else method, request.path)
        answer: replies.Answer
        if found is None:
            family, answer = "other", self._without_route(request)
        else:
            family, answer = await self._call(request, found)
        self._telemetry.requests.labels(family, str(answer.status)).inc()
        return answer

    async def _call(self, request: web.BaseRequest, found: Found) -> tuple[str, replies.Answer]:
        """Return the family that a request turned out to be of, and the answer."""
        route, params = found
        connection = request.protocol
        beside = connection.head_taken if isinstance(connection, Connection) else 0
        with self._budget.lease(beside) as lease:
            call = Call(request, route.family, params, self._services, lease)
            try:
                answer = await route.handle(call)
            except Exception as error:
                refusal = self._refusal(error, route.family, request.protocol)
                return call.family, route.refuse(call, refusal)
            if isinstance(answer, replies.Constant) and route.refuse is as_json:
                self._remember(call, route.handle)
            return call.family, answer

    def _refusal(
        self, error: Exception, family: str, connection: asyncio.BaseProtocol
    ) -> RequestError:
        """Return what the client is told whose request has failed."""
        # No error outlives its request: it would keep the body in memory.
        if isinstance(error, RequestError):
            if error.code == "overloaded":
                self._send_away(connection, "memory")
            elif error.code in _NOTED:
                self._notices.say(error.code, None, _NOTED[error.code])
            # That of a body that was cut off stays with it, and its traceback would keep all.
            error.__traceback__ = None
            return error
        if isinstance(error, SpoolUnavailable):
            self._send_away(connection, "spool")
            return _unavailable(error)
        _log.error("a %s request failed inside; answered 503", family, exc_info=error)
        return RequestError(503, "internal_error", "try again later", retry_after_s=5)

    def _remember(self, call: Call, handle: Handler) -> None:
        """Have the head of a request known again."""
        connection = call.request.protocol
        if isinstance(connection, Connection) and isinstance(handle, Intake) and call.told:
            encoding = encoding_of(call.request)
            known = Known(handle, call.told, call.family, encoding, call.client_ip())
            connection.remember(known)

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
        if draining or request.content.is_eof():
            return draining
        connection = request.protocol
        return not (isinstance(connection, Connection) and connection.may_skip(request))

    def _send_away(self, connection: asyncio.BaseProtocol, reason: str) -> None:
        """Count a refusal, and take nothing more from that client until a while has passed.

        A proxy's connection is also that of other clients, who were not told to wait.
        """
        self._telemetry.refusals.labels(reason).inc()
        if isinstance(connection, Connection):
            connection.send_away(rests=not self._services.address.is_proxy(connection.peer))


def _unavailable(error: SpoolUnavailable) -> RequestError:
    return RequestError(
        503,
        "unavailable",
        "the events cannot be stored now; send them again later",
        retry_after_s=error.retry_after_s,
    )
