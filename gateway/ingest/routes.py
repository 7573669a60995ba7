"""What a route is, and finding it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Route", "find"]

_SLASHES = re.compile("/{2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A place that events are posted to.

    :param family: whose SDKs use it; the label of its metrics.
    :param type: the type of events that name none.
    :param from_device: whether the events come from the user's own device, so that the address of
        the connection is the user's.
    """

    family: str
    type: str | None = None
    from_device: bool = False


def find(routes: Mapping[str, Route], path: str) -> Route | None:
    """Return the route of a path; slashes may be doubled or trail.

    Nothing is ever redirected, because SDKs take a redirection for success.
    """
    route = routes.get(path)
    if route is None:
        route = routes.get(_SLASHES.sub("/", path).rstrip("/") or "/")
    return route
