"""The HTTP client of one Mixpanel endpoint."""

import asyncio
import io
import traceback
from collections.abc import Hashable
from typing import Self

import aiohttp

from gateway import __version__
from gateway.config import DestinationConfig, DestinationSettings
from gateway.delivery.batch import Body
from gateway.delivery.mixpanel.quote import without
from gateway.delivery.mixpanel.request import ORDERED, DeliveryRequest, build, is_quick
from gateway.delivery.mixpanel.response import interpret
from gateway.delivery.mixpanel.route import proxy_of
from gateway.delivery.outcome import Outcome, RetryLater
from gateway.resolver import Resolver
from gateway.subject import subject_of

__all__ = ["MixpanelEndpoint", "project_of"]

_CONNECT_TIMEOUT_S = 10.0

_MAX_ANSWER_BYTES = 1024 * 1024
"""What is read of an answer.  2000 refused records, each with its message, take about 400 kB; an
answer that is cut off costs a split of the batch, one without a bound could cost all memory."""


class MixpanelEndpoint:
    """Sends to one endpoint of one destination over connections of its own.

    Not shared with other endpoints, so that one that hangs takes no connection from another.
    Redirects are not followed, nor cookies kept.  Must be created inside the event loop.

    :param name: ``import``, ``track``, ``engage`` or ``groups``.
    """

    def __init__(self, name: str, destination: DestinationConfig) -> None:
        self.name = name
        self.is_ordered = self.sends_plain = name in ORDERED  # these do not understand gzip
        self.names_refused = name == "import"
        self._settings = destination.settings
        self._base_url = destination.host
        self._proxy = proxy_of(destination.host, destination.delivery.proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=destination.delivery.connections, resolver=Resolver()
            ),
            timeout=aiohttp.ClientTimeout(
                total=destination.delivery.request_timeout_s, sock_connect=_CONNECT_TIMEOUT_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": f"mixpanel-gateway/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # answers are small, and a bomb would not be
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def is_quick(self, body: Body) -> bool:
        """Whether nothing large is to be inflated or compressed for a request."""
        return is_quick(self.name, body)

    def prepare(self, body: Body) -> DeliveryRequest:
        """Build the request for these records; inflates and compresses megabytes.

        :raises ValueError: the stored bytes are damaged.
        """
        return build(self.name, self._settings, body)

    def subject_of(self, record: bytes) -> Hashable:
        """Return the profile that an update is for."""
        return subject_of(record)

    async def send(self, request: DeliveryRequest) -> Outcome:
        """Send a request and return what became of it."""
        try:
            # In a task of its own: frames of an error lead back to those that called them, which
            # hold the request, since Python 3.13 even when they have ended.
            return await asyncio.create_task(self._post(request))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp's errors of connecting refer to themselves by way of their frames, which hold
            # the request, too: no budget counts it while it waits to be collected as garbage.
            traceback.clear_frames(error.__traceback__)
            return RetryLater(None, _describe(error))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, request: DeliveryRequest) -> Outcome:
        async with self._session.post(
            self._base_url + request.path,
            params=request.query,
            headers=request.headers,
            data=io.BytesIO(request.body),  # as plain bytes, aiohttp warns of large ones
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            answer = without(_secrets(self._settings, request), await _read(response))
            return interpret(self.name, response.status, response.headers, answer, request.records)


def _secrets(settings: DestinationSettings, request: DeliveryRequest) -> list[str]:
    """Return what no log and no dead letter may show, though a page repeats the request."""
    _, _, basic = request.headers.get("Authorization", "").partition(" ")
    return [*settings.credentials()[:2], settings.projectToken, basic]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for part in response.content.iter_any():
        answer += part
        if len(answer) > _MAX_ANSWER_BYTES:
            response.close()
            break
    return bytes(answer[:_MAX_ANSWER_BYTES])


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy on the way refuses to connect (status {error.status})"
    # Only errors of the network are quoted: others may repeat what was sent or answered.
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, OSError) else name


def project_of(destination: DestinationConfig) -> tuple[str, str]:
    """Return what tells apart the projects that Mixpanel limits: the host and the token."""
    return destination.host.lower(), destination.settings.projectToken
