"""RudderStack's SDKs, where they differ from Segment's.

Its mobile ones delete every event they hold when they are answered 401, or 400 for their
source's configuration, and stop sending at 404.  So the configuration is served for every key.

What these SDKs put elsewhere in an event, as the names of screens, is brought into its place by
``gateway/mapping/prepare.py``.
"""

import msgspec
from aiohttp import web

from gateway.http import replies
from gateway.ingest import pixels
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.router import Route
from gateway.ingest.segment import discard

__all__ = ["ROUTES"]

_FAMILY = "rudder"

_NAME = "gateway"
_UPDATED_AT = "2024-01-01T00:00:00.000Z"  # never changes: SDKs keep what they have


async def _source_config(context: RequestContext) -> web.StreamResponse:
    """Answer with a source that sends to nobody but its data plane."""
    nothing = {"enabled": False}
    source = {
        "id": _NAME,
        "name": _NAME,
        "writeKey": context.key() or "",
        "enabled": True,
        "workspaceId": _NAME,
        "updatedAt": _UPDATED_AT,
        "config": {"statsCollection": {"errors": nothing, "metrics": nothing}},
        "destinations": [],
    }
    return replies.document(msgspec.json.encode({"source": source}), cache="private, max-age=300")


ROUTES = {
    # Browsers send it without a header of their own when a page is left; the key is in the query.
    "POST /beacon/v1/batch": Route(family=_FAMILY, handle=EventHandler(from_device=True)),
    "POST /v1/merge": Route(family=_FAMILY, handle=EventHandler(type="merge")),
    "POST /merge": Route(family=_FAMILY, handle=EventHandler(type="merge")),
    "POST /rsaMetrics": Route(family=_FAMILY, handle=discard),
    "GET /sourceConfig": Route(family=_FAMILY, handle=_source_config),
    "GET /pixel/v1/track": pixels.route(
        _FAMILY, EventHandler(type="track", from_device=True), channel="web"
    ),
    "GET /pixel/v1/page": pixels.route(
        _FAMILY, EventHandler(type="page", from_device=True), channel="web", name="Unknown Page"
    ),
}
