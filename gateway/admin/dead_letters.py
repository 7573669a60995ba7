"""Dead letters over HTTP: the only pages of the admin port that show what events hold."""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from gateway.config import AdminConfig
from gateway.dead_letters import DeadLetters, PurgeRequest, ReplayRequest
from gateway.errors import SpoolUnavailable
from gateway.spool.dead_letters import Filter

__all__ = ["DeadLetterPages"]

_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[msgspec.Struct]]


class _Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the list is asked for besides a filter."""

    after: int = 0
    limit: int = 100
    payload: bool = True


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class DeadLetterPages:
    """The routes below ``/dead-letters``; who may use them is decided before, by the token."""

    MAX_BODY_BYTES = 16 * 1024 * 1024
    """What a request may hold: a batch of edited letters."""

    def __init__(self, dead_letters: DeadLetters, config: AdminConfig) -> None:
        self._dead_letters = dead_letters
        self._config = config

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, to be added to an application."""
        return [
            web.get("/dead-letters/summary", self._served(self._summary)),
            web.get("/dead-letters", self._served(self._list)),
            web.get(r"/dead-letters/{id:\d{1,18}}", self._served(self._show)),
            web.post("/dead-letters/replay", self._served(self._replay)),
            web.post("/dead-letters/purge", self._served(self._purge)),
        ]

    def _served(self, handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            try:
                self._refuse_browsers(request)
                return _json(200, await handler(request))
            except _Refused as error:
                return _json(error.status, {"message": error.message})
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                return _json(400, {"message": f"the request cannot be read: {error}"})
            except web.HTTPRequestEntityTooLarge:
                text = f"a request may have {self.MAX_BODY_BYTES} bytes; send fewer letters at once"
                return _json(413, {"message": text})
            except SpoolUnavailable as error:
                response = _json(503, {"message": error.detail})
                response.headers["Retry-After"] = str(error.retry_after_s)
                return response

        return serve

    def _refuse_browsers(self, request: web.Request) -> None:
        """Refuse what a page of another site makes an operator's browser send.

        Without a token a name that leads here may be anybody's, so only addresses are believed.
        """
        host = request.host
        site = request.headers.get("Sec-Fetch-Site", "none")
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        if is_foreign or site not in ("none", "same-origin"):
            raise _Refused(403, "pages of other sites may not ask for this")
        name = urlsplit(f"//{host}").hostname or ""
        if self._config.token is None and not _is_address(name) and name != self._config.host:
            raise _Refused(
                403,
                f"the gateway does not know that {name} is its name; use its IP address, or set "
                "admin.token and send it",
            )
        if request.method == "POST" and request.content_type != "application/json":
            raise _Refused(415, "send JSON, with Content-Type: application/json")

    async def _summary(self, request: web.Request) -> msgspec.Struct:
        return await self._dead_letters.summary(_filter(_query(request)))

    async def _list(self, request: web.Request) -> msgspec.Struct:
        query = _query(request)
        own = {name: query.pop(name) for name in _Listing.__struct_fields__ if name in query}
        listing = msgspec.convert(own, _Listing, strict=False)
        if not (0 <= listing.after < 2**63 and listing.limit >= 1):
            raise _Refused(400, "after: expected 0 or more; limit: expected 1 or more")
        return await self._dead_letters.page(
            _filter(query),
            after=listing.after,
            limit=listing.limit,
            has_payload=listing.payload,
        )

    async def _show(self, request: web.Request) -> msgspec.Struct:
        letter_id = int(request.match_info["id"])
        letter = await self._dead_letters.get(letter_id)
        if letter is None:
            text = f"there is no dead letter {letter_id}: it was replayed, purged or dropped"
            raise _Refused(404, text)
        return letter

    async def _replay(self, request: web.Request) -> msgspec.Struct:
        wanted = await _body(request, ReplayRequest)
        return await self._dead_letters.replay(wanted)

    async def _purge(self, request: web.Request) -> msgspec.Struct:
        return await self._dead_letters.purge(await _body(request, PurgeRequest))


def _query(request: web.Request) -> dict[str, Any]:
    query: dict[str, Any] = {name: value for name, value in request.query.items() if name != "ids"}
    if "ids" in request.query:
        query["ids"] = ",".join(request.query.getall("ids")).split(",")
    return query


def _filter(query: Mapping[str, Any]) -> Filter:
    return msgspec.convert(query, Filter, strict=False)


async def _body(request: web.Request, kind: type[_T]) -> _T:
    return msgspec.json.decode(await request.read(), type=kind)


def _json(status: int, value: object) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True
