"""What SDKs ask Mixpanel for beside sending records: flags, settings, replays, the library."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from gateway.config import DestinationConfig
from gateway.errors import RequestError
from gateway.ingest.context import RequestContext
from gateway.ingest.mixpanel import answers
from gateway.ingest.mixpanel.sent import options_of
from gateway.ingest.router import Handler

__all__ = ["HANDLERS", "LIBRARIES"]

_LIBRARY = {
    "lib.js": "mixpanel-2-latest.js",
    "lib.min.js": "mixpanel-2-latest.min.js",
}
"""The names that Mixpanel's own proxy gives to the library, and those that it has."""

_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.js")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class _ToApi:
    """Asks the project's own host, whoever names the project as Mixpanel wants it.

    :param path: that Mixpanel has it at; names in braces stand for those of the route.
    """

    path: str

    async def __call__(self, context: RequestContext) -> web.StreamResponse:
        proxy = context.services.reverse_proxy
        if not proxy.is_enabled:
            raise _switched_off()
        destination = _destination(context)
        if destination is None:
            raise answers.unauthorized()
        url = context.request.rel_url
        # The route has been found by a less literal path.
        if "%" in url.raw_path or not all(map(_ID.fullmatch, context.params.values())):
            raise RequestError(404, "not_found", "no such path of Mixpanel's")
        slash = "/" if url.raw_path.endswith("/") else ""
        query = f"?{url.raw_query_string}" if url.raw_query_string else ""
        target = f"{destination.host}{self.path.format_map(context.params)}{slash}{query}"
        client_ip = context.client_ip()
        told = {} if client_ip is None else {"X-Forwarded-For": client_ip, "X-Real-IP": client_ip}
        return await proxy.forward(_request(context), context.lease, target, told)


def _destination(context: RequestContext) -> DestinationConfig | None:
    request, projects = context.request, context.services.projects
    options = options_of(request.rel_url.raw_query_string)
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        return projects.of_credentials(authorization, options.get("project_id"))
    return projects.of_token(options.get("token", ""))


@dataclass(frozen=True, slots=True)
class _Library:
    """Fetches a script of Mixpanel's library from where it is published.

    :param name: of the script; None: the path has it.
    """

    name: str | None = None

    async def __call__(self, context: RequestContext) -> web.StreamResponse:
        proxy = context.services.reverse_proxy
        if not proxy.is_enabled:
            raise _switched_off()
        name = self.name or context.params["name"]
        name = _LIBRARY.get(name, name)
        if not _SCRIPT.fullmatch(name):
            raise RequestError(404, "not_found", "no such script")
        url = f"{proxy.cdn_url}/libs/{name}"
        return await proxy.forward(_request(context), context.lease, url, None)


def _request(context: RequestContext) -> web.BaseRequest:
    """Return the request, which aiohttp has read: its answer is a stream."""
    return cast(web.BaseRequest, context.request)


async def _decide(context: RequestContext) -> web.StreamResponse:
    return answers.gone()


def _switched_off() -> RequestError:
    return RequestError(404, "not_found", "the gateway does not forward this; see proxy.enabled")


_ASKED = (
    *("GET /flags", "POST /flags", "GET /flags/definitions", "POST /flags/{id}/first-time-events"),
    *("GET /settings", "POST /record"),
    *("GET /lookup-tables", "PUT /lookup-tables/{id}"),
)

HANDLERS: Mapping[str, Handler] = {
    **{place: _ToApi(place.partition(" ")[2]) for place in _ASKED},
    "GET /decide": _decide,
    "POST /decide": _decide,
}
"""By method and path."""

LIBRARIES: Mapping[str, Handler] = {
    **{f"GET /{name}": _Library(name) for name in _LIBRARY},
    "GET /libs/{name}": _Library(),
    "GET /_mp/libs/{name}": _Library(),
}
"""Likewise; Mixpanel's guide to proxies has other prefixes for these."""
