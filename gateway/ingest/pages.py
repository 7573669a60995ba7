"""What is served to everybody: whether events are taken, and that robots have no business."""

import json

from aiohttp import web

from gateway import __version__
from gateway.errors import RequestError
from gateway.http import replies
from gateway.ingest.context import RequestContext
from gateway.ingest.router import Route

__all__ = ["ROUTES"]


_HEALTH = ("/health", "/healthz", "/ready", "/readyz")
"""Where load balancers are told to look; the first is that of RudderStack's and Jitsu's servers."""


async def _health(context: RequestContext) -> web.StreamResponse:
    """Answer as an event would be; why it is so is for operators."""
    if not await context.services.is_healthy():
        text = "events cannot be stored now; /readyz of the admin port says why"
        raise RequestError(503, "unavailable", text, retry_after_s=5)
    answer = replies.empty()
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _version(context: RequestContext) -> web.StreamResponse:
    body = json.dumps({"version": __version__}).encode()
    return replies.document(body, cache="no-store")


async def _robots(context: RequestContext) -> web.StreamResponse:
    body = b"User-agent: *\nDisallow: /\n"
    return replies.document(body, cache="public, max-age=86400", content_type="text/plain")


ROUTES = {
    **{f"GET {path}": Route(family="other", handle=_health) for path in _HEALTH},
    "GET /version": Route(family="other", handle=_version),
    "GET /robots.txt": Route(family="other", handle=_robots),
}
