"""What is served to everybody: whether the gateway is there, and that robots have no business."""

import json

from aiohttp import web

from gateway import __version__
from gateway.ingest import replies
from gateway.ingest.call import Call
from gateway.ingest.routes import Route

__all__ = ["ROUTES"]


async def _health(call: Call) -> web.StreamResponse:
    return replies.empty()


async def _version(call: Call) -> web.StreamResponse:
    body = json.dumps({"version": __version__}).encode()
    return replies.document(body, cache="no-store")


async def _robots(call: Call) -> web.StreamResponse:
    body = b"User-agent: *\nDisallow: /\n"
    return replies.document(body, cache="public, max-age=86400", content_type="text/plain")


ROUTES = {
    "GET /health": Route(family="other", handle=_health),
    "GET /version": Route(family="other", handle=_version),
    "GET /robots.txt": Route(family="other", handle=_robots),
}
