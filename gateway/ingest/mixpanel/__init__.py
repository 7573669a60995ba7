"""Mixpanel's own SDKs: what they send is taken, what they ask for is asked of Mixpanel."""

from gateway.ingest.mixpanel import forward
from gateway.ingest.mixpanel.collect import Collect, Import, refuse, refuse_import
from gateway.ingest.router import Route

__all__ = ["IMPORT", "PREFIX", "ROUTES", "TRACK"]

FAMILY = "mixpanel"

PREFIX = "/_mp/api"
"""Under which Mixpanel's guide to proxies has its API."""

TRACK = Route(family=FAMILY, handle=Collect("import"), refuse=refuse)
IMPORT = Route(family=FAMILY, handle=Import(), refuse=refuse_import)
_ENGAGE = Route(family=FAMILY, handle=Collect("engage"), refuse=refuse)
_GROUPS = Route(family=FAMILY, handle=Collect("groups"), refuse=refuse)


def _routes() -> dict[str, Route]:
    # Without the prefix these two are Segment's, too: see gateway.ingest.shared_paths.
    routes = {f"POST {PREFIX}/track": TRACK, f"POST {PREFIX}/import": IMPORT}
    for prefix in ("", PREFIX):
        # Node's SDK sends single records with GET.
        routes[f"GET {prefix}/track"] = TRACK
        routes[f"GET {prefix}/import"] = IMPORT
        for method in ("GET", "POST"):
            routes[f"{method} {prefix}/engage"] = _ENGAGE
            routes[f"{method} {prefix}/groups"] = _GROUPS
        for place, handle in forward.HANDLERS.items():
            method, path = place.split(" ")
            routes[f"{method} {prefix}{path}"] = Route(
                family=FAMILY, handle=handle, is_streamed=True
            )
    for place, handle in forward.LIBRARIES.items():
        routes[place] = Route(family=FAMILY, handle=handle, is_streamed=True)
    return routes


ROUTES = _routes()
