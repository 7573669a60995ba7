"""What Mixpanel is asked for beside records: flags, settings, replays, tables, the library."""

from aiohttp import web

from gateway.sandbox import replies
from gateway.sandbox.auth import Credentials
from gateway.sandbox.body import TooLarge, read_bounded

__all__ = ["Extras"]

_FLAGS = {
    "flags": {"sandbox-flag": {"variant_key": "on", "variant_value": True}},
    "pending_first_time_events": [],
}
_DEFINITIONS: dict[str, list[object]] = {"flags": []}
_SETTINGS = {"sdk_config": {"config": {}}, "recording": {"is_enabled": True, "error": None}}
_TABLES: dict[str, object] = {"code": 200, "status": "OK", "results": []}
_LIBRARY = "/* the sandbox has no library */\n"


class Extras:
    """Simple answers in the shapes that the SDKs read.

    :param credentials: who may ask.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, to be added to an application."""
        routes = []
        for slash in ("", "/"):
            routes += [
                web.get(f"/flags{slash}", self._flags),
                web.get(f"/flags/definitions{slash}", self._definitions),
                web.post(f"/flags/{{id}}/first-time-events{slash}", self._taken),
                web.get(f"/settings{slash}", self._settings),
                web.post(f"/record{slash}", self._taken),
                web.get(f"/lookup-tables{slash}", self._tables),
                web.put(f"/lookup-tables/{{id}}{slash}", self._taken),
            ]
        return [*routes, web.get(r"/libs/{name:[\w.-]+\.js}", self._library)]

    async def _flags(self, request: web.Request) -> web.Response:
        return self._answer(request, _FLAGS)

    async def _definitions(self, request: web.Request) -> web.Response:
        return self._answer(request, _DEFINITIONS)

    async def _settings(self, request: web.Request) -> web.Response:
        return self._answer(request, _SETTINGS)

    async def _tables(self, request: web.Request) -> web.Response:
        return self._answer(request, _TABLES)

    async def _taken(self, request: web.Request) -> web.Response:
        try:
            body = await read_bounded(request.content)
        except TooLarge:
            return replies.too_large()
        return self._answer(request, {"code": 200, "status": "OK", "bytes": len(body)})

    async def _library(self, request: web.Request) -> web.Response:
        return web.Response(text=_LIBRARY, content_type="text/javascript")

    def _answer(self, request: web.Request, body: object) -> web.Response:
        authorization = request.headers.get("Authorization")
        if not self._credentials.admit(authorization, request.query):
            return replies.unauthorized()
        return replies.as_json(body)
