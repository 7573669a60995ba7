"""A reverse proxy to hosts that the configuration fixes: streaming, and bounded in every way.

Nothing goes on that is not named here: neither cookies nor what proxies in front have added reach
the other side, and its answers set nothing in the name of this host.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from gateway.config import ProxyConfig
from gateway.errors import RequestError
from gateway.http import replies
from gateway.http.body import ask_for_body
from gateway.http.memory_budget import MemoryLease
from gateway.http.refusals import no_room
from gateway.http.slow_bodies import Arrivals
from gateway.resolver import Resolver

__all__ = ["ReverseProxy"]

_CONNECT_TIMEOUT_S = 10.0
_BUFFER_BYTES = 64 * 1024
"""What a connection holds of what is passed on; there are two of them for each request."""

_REQUEST_HEADERS = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "User-Agent"),
    *("If-Modified-Since", "If-None-Match"),
)
_PRIVATE_REQUEST_HEADERS = (
    *("Authorization", "Content-Encoding", "Content-Length", "Content-Type"),
    *("Origin", "Referer", "traceparent", "tracestate"),
)
_ANSWER_HEADERS = (
    *("Age", "Cache-Control", "Content-Encoding", "Content-Language", "Content-Length"),
    *("Content-Type", "ETag", "Expires", "Last-Modified", "Retry-After", "Vary"),
)


class _Oversized(Exception):
    """More than may pass."""


class ReverseProxy:
    """Passes requests on.

    :param arrivals: watches bodies that are still arriving.
    :param count_refusal: called for each request beyond those that may be under way.
    """

    def __init__(
        self, config: ProxyConfig, arrivals: Arrivals, count_refusal: Callable[[], None]
    ) -> None:
        self.is_enabled = config.enabled
        self.cdn_url = config.cdn_url.rstrip("/")
        self._config = config
        self._arrivals = arrivals
        self._count_refusal = count_refusal
        self._under_way = 0
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections.  Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def forward(
        self, request: web.BaseRequest, lease: MemoryLease, url: str, told: Mapping[str, str] | None
    ) -> web.StreamResponse:
        """Pass a request on and stream the answer.

        :param lease: holds what it takes.
        :param url: absolute, and encoded already.
        :param told: the headers by which the other side learns who asks; None: it may not.
        :raises RequestError: (503) there are too many, or no answer can be had; (400) it is too
            large.
        """
        if self._under_way >= self._config.requests:
            self._count_refusal()
            raise _unavailable("too many such requests are under way")
        self._under_way += 1
        try:
            return await self._forward(request, lease, url, told)
        finally:
            self._under_way -= 1

    async def _forward(
        self, request: web.BaseRequest, lease: MemoryLease, url: str, told: Mapping[str, str] | None
    ) -> web.StreamResponse:
        most = self._config.max_body_bytes
        if (request.content_length or 0) > most:
            raise _too_large(most)
        if not lease.resize(2 * _BUFFER_BYTES, arriving=not request.content.is_eof()):
            raise no_room()
        sending = _Sending(request, lease, self._arrivals, most)
        response: web.StreamResponse | None = None
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                self._open().request(
                    request.method,
                    URL(url, encoded=True),
                    headers=_request_headers(request, told),
                    data=sending.parts() if request.can_read_body else None,
                    allow_redirects=False,
                ) as answer,
            ):
                if 300 <= answer.status < 400 and answer.status != 304:
                    raise _unavailable("it redirects")
                if (answer.content_length or 0) > most:
                    raise _unavailable("its answer is too large")
                response = web.StreamResponse(status=answer.status)
                _take_headers(answer, request, response)
                await response.prepare(request)
                if request.method != "HEAD":
                    await _stream(answer, response, most)
                return response
        except (aiohttp.ClientError, OSError, TimeoutError, _Oversized) as error:
            if response is not None and response.prepared:
                # What has been sent cannot be taken back, only be seen to be incomplete.
                if request.transport is not None:
                    request.transport.abort()
                return response
            if sending.error is not None:
                raise sending.error from None
            raise _unavailable(type(error).__name__) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.requests, resolver=Resolver()),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                read_bufsize=_BUFFER_BYTES,
            )
        return self._session


class _Sending:
    """The body of a request on its way.

    :param most: bytes of it.
    """

    def __init__(
        self, request: web.BaseRequest, lease: MemoryLease, arrivals: Arrivals, most: int
    ) -> None:
        self._request = request
        self._lease = lease
        self._arrivals = arrivals
        self._most = most
        self.error: RequestError | None = None

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; what goes wrong is noted in ``error``."""
        content, size = self._request.content, 0
        await ask_for_body(self._request)
        self._arrivals.begin(content, self._lease)
        try:
            while part := await content.readany():
                size += len(part)
                if size > self._most:
                    raise _too_large(self._most)
                yield part
        except RequestError as error:
            self.error = error
            raise
        finally:
            self._arrivals.end(content)


async def _stream(answer: aiohttp.ClientResponse, response: web.StreamResponse, most: int) -> None:
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > most:
            raise _Oversized
        await response.write(part)


def _request_headers(request: web.BaseRequest, told: Mapping[str, str] | None) -> dict[str, str]:
    given = request.headers
    names = _REQUEST_HEADERS if told is None else (*_REQUEST_HEADERS, *_PRIVATE_REQUEST_HEADERS)
    return {name: given[name] for name in names if name in given} | dict(told or {})


def _take_headers(
    answer: aiohttp.ClientResponse, request: web.BaseRequest, response: web.StreamResponse
) -> None:
    for name in _ANSWER_HEADERS:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    varies = response.headers.get("Vary")
    replies.complete(response, request.headers.get("Origin"))
    if varies and "Origin" in request.headers:
        response.headers["Vary"] = f"Origin, {varies}"


def _too_large(most: int) -> RequestError:
    return RequestError(
        400, "body_too_large", f"a body that is forwarded may have {most} bytes", close=True
    )


def _unavailable(why: str) -> RequestError:
    return RequestError(
        503, "upstream_unavailable", f"Mixpanel cannot be asked now: {why}", retry_after_s=5
    )
