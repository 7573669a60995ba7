"""What is served to everybody: whether the gateway is there."""

from aiohttp import web

from gateway.ingest import replies
from gateway.ingest.call import Call
from gateway.ingest.routes import Route

__all__ = ["ROUTES"]


async def _health(call: Call) -> web.StreamResponse:
    return replies.empty()


_HEALTH = Route(family="other", handle=_health)

ROUTES = {"GET /": _HEALTH, "GET /health": _HEALTH}
