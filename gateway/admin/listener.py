"""The operators' port: who may ask, and what is said to questions that have no page."""

import hmac
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web

from gateway.config import AdminConfig
from gateway.readable import readable_json

__all__ = ["AdminListener", "problem"]

_OPEN = frozenset({"/livez", "/readyz"})
"""What answers without the token: it tells nothing but whether the gateway is well."""


def problem(status: int, message: str) -> web.Response:
    """Return an answer that says what is wrong."""
    return web.json_response({"message": message}, status=status)


class AdminListener:
    """Serves pages to operators.

    :param served: what is at the port, for those who ask for something else.
    :param max_body_bytes: of a request.
    """

    def __init__(
        self,
        config: AdminConfig,
        routes: Sequence[web.RouteDef],
        *,
        served: str,
        max_body_bytes: int,
    ) -> None:
        self._config = config
        self._served = served
        self._app = web.Application(
            middlewares=[readable_json, self._authorize], client_max_size=max_body_bytes
        )
        self._app.router.add_routes(routes)
        self._runner: web.AppRunner | None = None

    async def start(
        self, path: Path | None = None, listeners: Sequence[socket.socket] = ()
    ) -> None:
        """Listen.

        :param path: of a socket, in place of the configured address.
        :param listeners: that listen already, likewise.
        :raises OSError: the address cannot be used.
        """
        self._runner = web.AppRunner(self._app, access_log=None)
        await self._runner.setup()
        sites: list[web.BaseSite] = [web.SockSite(self._runner, each) for each in listeners]
        if path is not None:
            sites = [web.UnixSite(self._runner, path)]
        elif not sites:
            sites = [web.TCPSite(self._runner, self._config.host, self._config.port)]
        for site in sites:
            await site.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def port(self) -> int:
        """The port in use, also where the configuration says 0."""
        if self._runner is None:
            raise RuntimeError("the server is not started")
        return int(self._runner.addresses[0][1])

    @web.middleware
    async def _authorize(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        token = self._config.token
        if token is not None and request.path not in _OPEN:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            given_bytes = given.encode("utf-8", "surrogateescape")  # any bytes may be sent
            if not hmac.compare_digest(given_bytes, token.reveal().encode()):
                return problem(401, "send the admin token: Authorization: Bearer TOKEN")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return problem(404, f"this is the admin port; served here: {self._served}")
        except web.HTTPMethodNotAllowed as error:
            return problem(405, f"use {' or '.join(sorted(error.allowed_methods))}")
