"""Handlers that give pages the browser bundle."""

from aiohttp import web

from gateway.errors import RequestError
from gateway.http import replies
from gateway.ingest.browser_bundle import ENTRY
from gateway.ingest.context import RequestContext

__all__ = ["chunk", "entry"]


async def entry(context: RequestContext) -> web.StreamResponse:
    """Answer with what the snippet loads; it finds its write key in its own address."""
    return _script(context, ENTRY)


async def chunk(context: RequestContext) -> web.StreamResponse:
    """Answer with what that loads later, if ever."""
    return _script(context, context.params["name"])


def _script(context: RequestContext, name: str) -> web.StreamResponse:
    file = context.services.bundle.find(name)
    if file is None:
        raise RequestError(
            404,
            "not_found",
            "no such script is served; see server.browser_bundle in docs/configuration.md",
        )
    headers = context.request.headers
    if file.tag in headers.get("If-None-Match", ""):
        response = replies.not_modified(cache=file.cache)
    elif "gzip" in headers.get("Accept-Encoding", ""):
        response = replies.document(file.gzipped, cache=file.cache, content_type=file.content_type)
        response.headers["Content-Encoding"] = "gzip"
    else:
        response = replies.document(file.body, cache=file.cache, content_type=file.content_type)
    response.headers["ETag"] = file.tag
    response.headers.add("Vary", "Accept-Encoding")
    return response
