"""Segment's SDKs and HTTP API: where they post events."""

from gateway.ingest.routes import Route

__all__ = ["ROUTES"]

_FAMILY = "segment"
_TYPES = ("track", "identify", "page", "screen", "group", "alias")


def _routes() -> dict[str, Route]:
    routes = {"/v1": Route(family=_FAMILY), "/": Route(family=_FAMILY)}
    for prefix in ("/v1", ""):
        for name in ("batch", "import"):
            routes[f"{prefix}/{name}"] = Route(family=_FAMILY)
        # Browsers and phones use the short names.
        routes[f"{prefix}/b"] = Route(family=_FAMILY, from_device=True)
        for kind in _TYPES:
            routes[f"{prefix}/{kind}"] = Route(family=_FAMILY, type=kind)
            routes[f"{prefix}/{kind[0]}"] = Route(family=_FAMILY, type=kind, from_device=True)
    return routes


ROUTES = _routes()
"""Paths without a trailing slash.  React Native may post to ``/v1`` and ``/``."""
