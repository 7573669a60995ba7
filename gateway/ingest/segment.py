"""Segment's SDKs and HTTP API."""

from gateway.ingest.intake import Intake
from gateway.ingest.routes import Route

__all__ = ["ROUTES"]

_FAMILY = "segment"
_TYPES = ("track", "identify", "page", "screen", "group", "alias")


def _routes() -> dict[str, Route]:
    events = Route(family=_FAMILY, handle=Intake())
    routes = {"POST /v1": events, "POST /": events}
    for prefix in ("/v1", ""):
        for name in ("batch", "import"):
            routes[f"POST {prefix}/{name}"] = events
        # Browsers and phones use the short names.
        routes[f"POST {prefix}/b"] = Route(family=_FAMILY, handle=Intake(from_device=True))
        for kind in _TYPES:
            routes[f"POST {prefix}/{kind}"] = Route(family=_FAMILY, handle=Intake(type=kind))
            routes[f"POST {prefix}/{kind[0]}"] = Route(
                family=_FAMILY, handle=Intake(type=kind, from_device=True)
            )
    return routes


ROUTES = _routes()
"""React Native may post to ``/v1`` and ``/``."""
