"""Pages with which operators see what events hold, and change it: who may use them, and how."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from gateway.config import AdminConfig
from gateway.errors import SpoolUnavailable
from gateway.events.depth import check_depth
from gateway.readable import PRETTY
from gateway.spool.dead_letters import Id

__all__ = ["MAX_BODY_BYTES", "OperatorPages", "Refused", "body_of", "query_of", "split_listing"]

MAX_BODY_BYTES = 16 * 1024 * 1024
"""What a request may hold: a batch of edited letters."""

_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[msgspec.Struct]]


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a list is asked for besides a filter."""

    after: Id = ""
    limit: int = 100
    payload: bool = True


class OperatorPages:
    """Serves handlers; who may use them is decided before, by the token."""

    def __init__(self, config: AdminConfig) -> None:
        self._config = config

    def served(self, handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return a handler for the server, that answers what the given one returns or raises."""

        async def serve(request: web.Request) -> web.Response:
            try:
                self._refuse_browsers(request)
                return _json(200, await handler(request))
            except Refused as error:
                return _json(error.status, {"message": error.message})
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                return _json(400, {"message": f"the request cannot be read: {error}"})
            except web.HTTPRequestEntityTooLarge:
                text = f"a request may have {MAX_BODY_BYTES} bytes; send fewer letters at once"
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
            raise Refused(403, "pages of other sites may not ask for this")
        name = urlsplit(f"//{host}").hostname or ""
        if self._config.token is None and not _is_address(name) and name != self._config.host:
            raise Refused(
                403,
                f"the gateway does not know that {name} is its name; use its IP address, or set "
                "admin.token and send it",
            )
        if request.method == "POST" and request.content_type != "application/json":
            raise Refused(415, "send JSON, with Content-Type: application/json")


def query_of(request: web.Request) -> dict[str, Any]:
    """Return what stands in the query; ids as a list, and not how it is to be shown."""
    others = ("ids", PRETTY)
    query: dict[str, Any] = {
        name: value for name, value in request.query.items() if name not in others
    }
    if "ids" in request.query:
        given = ",".join(request.query.getall("ids")).split(",")
        query["ids"] = [each for each in given if each]  # perhaps none of them
    return query


def split_listing(query: dict[str, Any]) -> Listing:
    """Take out of a query what a list is asked for besides a filter, and return that.

    :raises Refused, msgspec.ValidationError: it cannot be used.
    """
    own = {name: query.pop(name) for name in Listing.__struct_fields__ if name in query}
    listing = msgspec.convert(own, Listing, strict=False)
    if listing.limit < 1:
        raise Refused(400, "limit: expected 1 or more")
    return listing


async def body_of(request: web.Request, kind: type[_T]) -> _T:
    """Return what stands in the body.

    :raises msgspec.DecodeError: it is not of that kind.
    :raises RecursionError: it is nested too deep.
    """
    body = await request.read()
    check_depth(body)
    return msgspec.json.decode(body, type=kind)


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
