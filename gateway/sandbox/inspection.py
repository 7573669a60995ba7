"""What a person or a test may ask the sandbox about itself, as JSON."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from gateway.sandbox import replies
from gateway.sandbox.faults import EndpointPath, Fault, Faults
from gateway.sandbox.store import ENDPOINTS, Store

__all__ = ["Inspection"]

DEFAULT_SHOWN = 100

_HELP = {
    "what": "A stand-in for Mixpanel's ingestion API. Nothing leaves this process.",
    "try": {
        "POST /import?strict=1": "events; Basic auth, JSON array or application/x-ndjson, gzip",
        "POST /track, /engage, /groups": "JSON or form data=; verbose=1",
        "GET /flags, /settings, POST /record": "what SDKs ask for; Basic auth",
        "GET /records": "the last records; endpoint=, event=, since= (epoch ms), limit=",
        "GET /stats": "the counts alone",
        "DELETE /records": "forget everything",
        "GET /faults": "how it misbehaves now",
        "PUT /faults": [
            {"action": "status", "status": 429, "share": 0.1, "retry_after_s": 2},
            {"action": "reset", "after": True, "count": 1, "endpoints": ["/import"]},
            {"action": "stall", "stall_s": 5, "share": 0.01},
        ],
    },
}


class Inspection:
    """The pages about what the sandbox took, and the one that makes it misbehave."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, to be added to an application."""
        return [
            web.get("/", self._show_help),
            web.get("/stats", self._show_stats),
            web.get("/records", self._show_records),
            web.delete("/records", self._clear),
            web.get("/faults", self._show_faults),
            web.put("/faults", self._replace_faults),
        ]

    async def _show_help(self, request: web.Request) -> web.Response:
        return replies.as_json(_HELP)

    async def _show_stats(self, request: web.Request) -> web.Response:
        return replies.as_json({"counts": self._store.counts})

    async def _show_records(self, request: web.Request) -> web.Response:
        query = request.query
        endpoint = query.get("endpoint")
        try:
            records = self._store.records(
                endpoint=None if endpoint is None else _endpoint(endpoint),
                event=query.get("event"),
                since_ms=_natural(query, "since", 0),
                limit=_natural(query, "limit", DEFAULT_SHOWN),
            )
        except ValueError as error:
            return replies.as_json({"error": str(error)}, status=400)
        shown = [
            {
                "endpoint": kept.endpoint,
                "received_ms": kept.received_ms,
                "duplicate": kept.duplicate,
                "record": msgspec.Raw(kept.record),
            }
            for kept in records
        ]
        return replies.as_json({"counts": self._store.counts, "records": shown})

    async def _clear(self, request: web.Request) -> web.Response:
        self._store.clear()
        return replies.as_json({"counts": self._store.counts})

    async def _show_faults(self, request: web.Request) -> web.Response:
        return replies.as_json(self._faults.rules())

    async def _replace_faults(self, request: web.Request) -> web.Response:
        try:
            rules = msgspec.json.decode(await request.read(), type=list[Fault])
        except (msgspec.DecodeError, RecursionError) as error:
            return replies.as_json({"error": f"expected an array of faults: {error}"}, status=400)
        self._faults.replace(rules)
        return replies.as_json(self._faults.rules())


def _endpoint(text: str) -> EndpointPath:
    for endpoint in ENDPOINTS:
        if text.strip("/") == endpoint[1:]:
            return endpoint
    raise ValueError(f"endpoint: expected one of {', '.join(ENDPOINTS)}")


def _natural(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name}: expected a whole number")
    return int(text)
