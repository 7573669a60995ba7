"""The port that SDKs talk to.

The low-level server of aiohttp calls one handler; a dictionary finds the route.  Whatever goes
wrong, the answer is JSON with CORS headers, and only what can never be accepted is answered 400.
"""

import logging
import ssl
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from gateway.config import Config, SourceConfig
from gateway.errors import RequestError, SpoolUnavailable
from gateway.events import Received, decode
from gateway.ingest import replies, segment
from gateway.ingest.address import ClientAddress
from gateway.ingest.auth import Sources, key_in_body, key_in_request
from gateway.ingest.body import read_body
from gateway.ingest.routes import Route, find
from gateway.telemetry import Telemetry

__all__ = ["Accept", "IngestServer"]

_log = logging.getLogger(__name__)

_KEEPALIVE_S = 75.0  # SDKs reuse connections between flushes that are up to 60 s apart
_BACKLOG = 1024
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
    ) -> None:
        """Return when the events are on disk."""
        ...


class IngestServer:
    """Reads requests, finds their source, hands their events on and answers.

    :param accept: called with the events of each authenticated request.
    """

    def __init__(self, config: Config, accept: Accept, *, telemetry: Telemetry) -> None:
        self._config = config.server
        self._accept = accept
        self._telemetry = telemetry
        self._sources = Sources(config.sources)
        self._address = ClientAddress(config.server.trusted_proxies)
        self._routes: dict[str, Route] = {**segment.ROUTES}
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen.

        :raises OSError: the address cannot be used.
        """
        self._runner = web.ServerRunner(
            _Server(
                self._handle, keepalive_timeout=_KEEPALIVE_S, access_log=None, auto_decompress=False
            ),
            shutdown_timeout=self._config.shutdown_timeout_s,
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            self._config.host,
            self._config.port,
            backlog=_BACKLOG,
            ssl_context=self._tls(),
        )
        await site.start()

    async def stop(self) -> None:
        """Refuse new connections and finish what is being answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def port(self) -> int:
        """The port in use, also where the configuration says 0."""
        if self._runner is None:
            raise RuntimeError("the server is not started")
        return int(self._runner.addresses[0][1])

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
        except SpoolUnavailable as error:
            response = replies.failed(_unavailable(error))
        except Exception:
            _log.exception("a %s request failed inside the gateway; answered 503", family)
            response = replies.failed(
                RequestError(503, "internal_error", "try again later", retry_after_s=5)
            )
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
        body = await read_body(
            request,
            max_bytes=self._config.max_body_bytes,
            timeout_s=self._config.body_timeout_s,
        )
        received = decode(body)
        if source is None:
            source = self._sources.find(key_in_body(received))
        headers = request.headers
        client_ip = None
        if route.from_device or "Origin" in headers:
            client_ip = self._address.of(request.remote, headers)
        await self._accept(
            source,
            received,
            default_type=route.type,
            client_ip=client_ip,
            is_retry=headers.get("X-Retry-Count", "0") != "0"
            or headers.get("Rsa-Retry-Attempt", "0") != "0",
        )


def _unavailable(error: SpoolUnavailable) -> RequestError:
    return RequestError(
        503,
        "unavailable",
        "the events cannot be stored now; send them again later",
        retry_after_s=error.retry_after_s,
    )


class _Protocol(web.RequestHandler):
    """Answers what is no HTTP at all in JSON, too."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        text = "the request is not valid HTTP, or its line or headers are too long"
        response = replies.failed(RequestError(status, "bad_request", text, close=True))
        replies.complete(request, response)
        return response


class _Server(web.Server):
    """Creates the protocol of each connection."""

    def __call__(self) -> web.RequestHandler:
        """Return a protocol for a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)
