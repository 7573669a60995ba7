"""The port that SDKs talk to.

The low-level server of aiohttp calls one handler; a dictionary finds the route.  Whatever goes
wrong, the answer is JSON with CORS headers, and only what can never be accepted is answered 400.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

from aiohttp import web

from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.errors import RequestError, SpoolUnavailable
from gateway.http import replies
from gateway.http.body import Bodies, encoding_of, is_plain
from gateway.http.client_address import ClientAddress
from gateway.http.descriptors import connections_allowed, raise_limit
from gateway.http.handler import Client, Done
from gateway.http.incoming import Incoming
from gateway.http.memory_budget import Budget, MemoryLease
from gateway.http.request import AnyRequest, Head, Request
from gateway.http.server import Server
from gateway.http.slow_bodies import Arrivals
from gateway.http.sockets import BACKLOG, listen
from gateway.http.tls import CurrentCertificate
from gateway.http.tls_listener import TlsListener
from gateway.ingest import jitsu, mixpanel, pages, rudderstack, segment, shared_paths, syft
from gateway.ingest.auth import Sources
from gateway.ingest.browser_bundle import BrowserBundle
from gateway.ingest.context import Accept, AcceptRecords, RequestContext, Services
from gateway.ingest.event_handler import EventHandler, RequestMetadata
from gateway.ingest.projects import Projects
from gateway.ingest.rates import Rates
from gateway.ingest.reverse_proxy import ReverseProxy
from gateway.ingest.router import Found, Router, aliases, as_json
from gateway.model import Health
from gateway.notices import Notices
from gateway.telemetry import Telemetry

__all__ = ["ROUTES", "IngestServer"]

_log = logging.getLogger(__name__)

ROUTES = (
    pages.ROUTES,
    segment.ROUTES | shared_paths.ROUTES,
    *(family.ROUTES for family in (rudderstack, jitsu, syft, mixpanel)),
)

_NOTED = {
    "invalid_credentials": "a request of Mixpanel's SDKs was answered 401: its token or credentials"
    " are those of no destination; compare them with destinations[].settings",
}
"""What operators are told of refusals, by their codes."""


class _Known(NamedTuple):
    """What is done with requests that have a certain head.

    :param family: whose SDK sends them.
    :param encoding: of their bodies.
    :param count_accepted: counts one whose events are on disk.
    """

    handler: EventHandler
    told: RequestMetadata
    family: str
    encoding: str
    count_accepted: Callable[[], None]


async def _unchecked() -> Health:
    return Health(accepting=True)


class IngestServer:
    """Reads requests, finds their source, hands their events on and answers.

    :param accept: called with the events of each authenticated request.
    :param accept_records: called with the records of each request of Mixpanel's own SDKs.
    :param check: tells whether events can be stored now.
    :param has_fast_path: whether usual requests are answered without aiohttp.
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
        has_fast_path: bool = True,
    ) -> None:
        self._check = check
        self._config = server = config.server
        self._clock = clock or SystemClock()
        self._telemetry = telemetry
        self._notices = Notices(_log, self._clock)
        names = aliases() if server.neutral_paths else {}
        self._routes = Router(*ROUTES, prefix=server.path_prefix, names=names)
        self._usual = self._routes.usual("POST") if has_fast_path else {}
        self._budget = Budget(server.max_bytes_in_flight)
        self._arrivals = Arrivals(
            timeout_s=server.body_timeout_s, min_bytes_per_s=server.min_body_bytes_per_s
        )
        self._reverse_proxy = ReverseProxy(
            config.proxy, self._arrivals, telemetry.refusals.labels("proxy").inc
        )
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
            bundle=BrowserBundle(server.browser_bundle),
            accept=accept,
            accept_records=accept_records,
            is_healthy=self._is_healthy,
            projects=Projects(config.destinations),
            rates=Rates(config, self._clock, telemetry, self._notices),
            reverse_proxy=self._reverse_proxy,
            telemetry=telemetry,
            notices=self._notices,
        )
        self._connections: Server | None = None
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
        self._connections = Server(
            self,
            paths=frozenset(self._usual),
            is_proxy=self._services.address.is_proxy if config.trusted_proxies else None,
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
        await self._reverse_proxy.close()

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

    def at_once(self, request: Request, body: bytes, client: Client, done: Done) -> bool:
        """Begin to answer a request of events that has come as a whole; see ``Handler``."""
        found = self._usual[request.path]
        handler = found.route.handle
        if not (
            isinstance(handler, EventHandler) and handler.is_plain and found.route.refuse is as_json
        ):
            return False
        context = RequestContext(
            request, found.route.family, found.params, self._services, self._budget.lease()
        )
        try:
            told = handler.read(context)
            context.client_ip()  # operators are told here of a proxy that is not believed
        except Exception as error:
            done(self._failed(error, context.family, client))
            return True
        accepted = self._telemetry.requests.labels(context.family, "200").inc
        head = request.head
        head.note = _Known(handler, told, context.family, encoding_of(head.headers), accepted)
        head.noted_by = self
        self.again(head, body, client, done)
        return True

    def again(self, head: Head, body: bytes, client: Client, done: Done) -> None:
        """Do the same for a head of which something was noted; see ``Handler``."""
        known = cast(_Known, head.note)
        handler, told = known.handler, known.told
        lease = self._budget.lease(client.head_taken)
        try:
            handler.admit(told)
            client_ip = self._client_ip(head, client)
            stored: Awaitable[None]
            if is_plain(body, known.encoding):
                payload = self._services.bodies.take_plain(body, lease)
                stored = handler.store(
                    told, payload, self._services, client_ip=client_ip, hold=lease.resize
                )
            else:
                stored = self._store_inflated(known, body, lease, client_ip)
            asyncio.ensure_future(stored).add_done_callback(
                partial(self._answer_stored, known, lease, client, done)
            )
        except Exception as error:
            lease.release()
            done(self._failed(error, known.family, client))

    async def _store_inflated(
        self, known: _Known, body: bytes, lease: MemoryLease, client_ip: str | None
    ) -> None:
        body = await self._services.bodies.take(body, known.encoding, lease)
        stored = known.handler.store(
            known.told, body, self._services, client_ip=client_ip, hold=lease.resize
        )
        del body  # what waits for the disk is to be small
        await stored

    def _client_ip(self, head: Head, client: Client) -> str | None:
        address, peer = self._services.address, client.peer
        if address.trusts_nobody:
            return address.of_peer(peer)
        return address.of(Request(head, Incoming(), peer))

    def _answer_stored(
        self,
        known: _Known,
        lease: MemoryLease,
        client: Client,
        done: Done,
        stored: "asyncio.Future[None]",
    ) -> None:
        """Answer a request of events whose commit has ended."""
        lease.release()
        error = SpoolUnavailable("given up") if stored.cancelled() else stored.exception()
        if error is None:
            known.count_accepted()
            done(known.handler.answer())
        else:
            done(self._failed(error, known.family, client))

    def _failed(self, error: BaseException, family: str, client: Client) -> replies.Answer:
        """Return and count the answer to a request that has failed."""
        answer = replies.failed(self._refusal(error, family, client))
        self._telemetry.requests.labels(family, str(answer.status)).inc()
        return answer

    async def respond(self, request: AnyRequest, client: Client) -> replies.Answer:
        """Return the answer to a request; see ``Handler``."""
        method = request.method
        found = self._routes.find("GET" if method == "HEAD" else method, request.path)
        answer: replies.Answer
        if found is None:
            family, answer = "other", self._without_route(request)
        else:
            family, answer = await self._call(request, found, client)
        self._telemetry.requests.labels(family, str(answer.status)).inc()
        return answer

    async def _call(
        self, request: AnyRequest, found: Found, client: Client
    ) -> tuple[str, replies.Answer]:
        """Return the family that a request turned out to be of, and the answer."""
        route, params = found
        with self._budget.lease(client.head_taken) as lease:
            context = RequestContext(request, route.family, params, self._services, lease)
            try:
                answer = await route.handle(context)
            except Exception as error:
                return context.family, route.refuse(
                    context, self._refusal(error, route.family, client)
                )
            return context.family, answer

    def _refusal(self, error: BaseException, family: str, client: Client) -> RequestError:
        """Return what the client is told whose request has failed."""
        # No error outlives its request: it would keep the body in memory.
        if isinstance(error, RequestError):
            if error.code == "overloaded":
                self._send_away(client, "memory")
            elif error.code in _NOTED:
                self._notices.say(error.code, None, _NOTED[error.code])
            # That of a body that was cut off stays with it, and its traceback would keep all.
            error.__traceback__ = None
            return error
        if isinstance(error, SpoolUnavailable):
            self._send_away(client, "spool")
            return _unavailable(error)
        _log.error("a %s request failed inside; answered 503", family, exc_info=error)
        return RequestError(503, "internal_error", "try again later", retry_after_s=5)

    def _without_route(self, request: AnyRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return replies.preflight(request.headers)
        methods = self._routes.methods(request.path)
        if methods:
            return replies.method_not_allowed(methods)
        path = request.path[:200]
        return replies.failed(
            RequestError(
                404,
                "not_found",
                f"nothing is served at {path} on the port for SDKs; see the README",
            )
        )

    def _send_away(self, client: Client, reason: str) -> None:
        """Count a refusal, and take nothing more from that client until a while has passed.

        A proxy's connection is also that of other clients, who were not told to wait.
        """
        self._telemetry.refusals.labels(reason).inc()
        client.send_away(rests=not self._services.address.is_proxy(client.peer))


def _unavailable(error: SpoolUnavailable) -> RequestError:
    return RequestError(
        503,
        "unavailable",
        "the events cannot be stored now; send them again later",
        retry_after_s=error.retry_after_s,
    )
