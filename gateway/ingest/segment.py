"""Segment's SDKs and HTTP API.

Most of them first ask for a project's settings, and send to the host that those name: where they
get none, they send to Segment's own.  So settings are served for every key, right or wrong.
"""

from typing import Any

import msgspec
from aiohttp import web

from gateway.errors import RequestError
from gateway.http import replies
from gateway.ingest import pixels, scripts
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.hosts import public_host, public_scheme
from gateway.ingest.router import Route

__all__ = ["ROUTES", "TYPES", "discard"]

_FAMILY = "segment"

TYPES = ("track", "identify", "page", "screen", "group", "alias")

_MAX_RETRIES = 100
_MAX_WAIT_S = 300
_GIVE_UP_S = 12 * 60 * 60

_HTTP_CONFIG: dict[str, Any] = {
    "rateLimitConfig": {
        "enabled": True,
        "maxRetryCount": _MAX_RETRIES,
        "maxRetryInterval": _MAX_WAIT_S,
    },
    "backoffConfig": {
        "enabled": True,
        "maxRetryCount": _MAX_RETRIES,
        "baseBackoffInterval": 0.5,
        "maxBackoffInterval": _MAX_WAIT_S,
        "maxTotalBackoffDuration": _GIVE_UP_S,
        "jitterPercent": 10,
        "default4xxBehavior": "drop",
        "default5xxBehavior": "retry",
        "statusCodeOverrides": {
            **dict.fromkeys(("408", "410", "429", "460"), "retry"),
            **dict.fromkeys(("501", "505", "511"), "drop"),
        },
    },
}
"""How the SDKs for Kotlin and Swift try again.  Without it they ignore ``Retry-After``, send for
ever what is refused, and do not say when they send something again."""


async def settings(context: RequestContext) -> web.StreamResponse:
    """Answer with the settings of a project: where to send, and to nobody else."""
    server = context.services.config.server
    host = public_host(context)
    segment: dict[str, Any] = {
        "apiKey": context.params.get("key") or context.key() or "",
        "apiHost": host + ("/d/v" if server.neutral_paths else "/v1"),
        "protocol": public_scheme(context, host),  # browsers take https unless told
        "httpConfig": _HTTP_CONFIG,
    }
    # Exactly one integration, or analytics.js loads more of itself; no metrics to Segment.
    document = {"integrations": {"Segment.io": segment}, "metrics": {"sampleRate": 0}}
    # What a header decided must not be kept for others.
    scope = "public" if "://" in (server.public_host or "") else "private"
    return replies.document(msgspec.json.encode(document), cache=f"{scope}, max-age=300")


async def _root(context: RequestContext) -> web.StreamResponse:
    """Answer whoever asks whether the gateway is there, be it an SDK that asks for settings."""
    try:
        return await settings(context)
    except RequestError:
        return replies.empty()


async def discard(context: RequestContext) -> replies.Answer:
    """Accept what an SDK tells its maker about itself, and forget it."""
    await context.body()
    return replies.ACCEPTED


def _routes() -> dict[str, Route]:
    events = Route(family=_FAMILY, handle=EventHandler())
    from_device = Route(family=_FAMILY, handle=EventHandler(from_device=True))
    document = Route(family=_FAMILY, handle=settings)
    # React Native may post to and ask the very host that it is given.
    routes = {
        "POST /": from_device,
        "GET /": Route(family=_FAMILY, handle=_root),
        "POST /v1": from_device,
        "GET /v1": document,
    }
    for prefix in ("/v1", ""):
        for name in ("batch", "import"):
            routes[f"POST {prefix}/{name}"] = events
        # Browsers and phones use the short names.
        for name in ("b", "batch/b"):
            routes[f"POST {prefix}/{name}"] = from_device
        for kind in TYPES:
            routes[f"POST {prefix}/{kind}"] = Route(family=_FAMILY, handle=EventHandler(type=kind))
            routes[f"POST {prefix}/{kind[0]}"] = Route(
                family=_FAMILY, handle=EventHandler(type=kind, from_device=True)
            )
            routes[f"GET {prefix}/pixel/{kind}"] = pixels.route(
                _FAMILY, EventHandler(type=kind, from_device=True)
            )
        routes[f"POST {prefix}/m"] = Route(family=_FAMILY, handle=discard)
        for path in ("projects", "projects/{key}/settings", "projects/projects/{key}/settings"):
            routes[f"GET {prefix}/{path}"] = document
    routes["GET /analytics.js/v1/{key}/analytics.min.js"] = Route(
        family=_FAMILY, handle=scripts.entry
    )
    routes["GET /analytics-next/bundles/{name}"] = Route(family=_FAMILY, handle=scripts.chunk)
    return routes


ROUTES = _routes()
