"""What a route is, and finding it.

A family of SDKs is a module with ``ROUTES``: what it serves, by method and path.  A new family
needs nothing else but a line in ``server.py``.
"""

import re
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from aiohttp import web

from gateway.errors import RequestError
from gateway.http import replies
from gateway.ingest.context import RequestContext

__all__ = ["Found", "Handler", "Refuse", "Route", "Router", "aliases", "as_json"]

Handler: TypeAlias = Callable[[RequestContext], Awaitable[replies.Answer]]
Refuse: TypeAlias = Callable[[RequestContext, RequestError], web.StreamResponse]

_SLASHES = re.compile("/{2,}")
_NAME = re.compile(r"\{(\w+)\}")
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


def as_json(context: RequestContext, error: RequestError) -> web.StreamResponse:
    """Refuse as most SDKs understand it."""
    return replies.failed(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What is done with the requests of one method and path.

    :param family: whose SDKs use it; the label of its metrics.
    :param handle: answers a request.  It may raise RequestError, and SpoolUnavailable when what it
        was given cannot be kept now.
    :param refuse: turns what ``handle`` raised into the answer that these SDKs understand; a 503
        has to stay one.
    :param is_streamed: whether ``handle`` streams its answer, which only aiohttp does.
    """

    family: str
    handle: Handler
    refuse: Refuse = as_json
    is_streamed: bool = False


@cache
def aliases() -> Mapping[str, str]:
    """Return ``aliases.toml``: the paths that neutral names stand for."""
    text = (files(__package__) / "aliases.toml").read_text("utf-8")
    return MappingProxyType(tomllib.loads(text))


def _renamed(path: str, names: Mapping[str, str]) -> Iterator[str]:
    for name, stands_for in names.items():
        if path == stands_for or path.startswith(f"{stands_for}/"):
            yield name + path.removeprefix(stands_for)


def _pattern(path: str) -> re.Pattern[str]:
    parts = _NAME.split(path)  # texts and names in turn
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = (f"(?P<{name}>[^/]+)" for name in parts[1::2])
    return re.compile("".join(parts))


class Found(NamedTuple):
    """A route, and what its names in braces stand for in the path."""

    route: Route
    params: Mapping[str, str]


class Router:
    """The routes of all families.

    :param families: by method and path, as in ``"GET /v1/projects/{key}/settings"``.  A name in
        braces is one segment of the path.
    :param prefix: under which everything is served, too; "" for none.
    :param names: other names of paths; each stands for what lies below its path as well.
    :raises ValueError: two families claim the same.
    """

    def __init__(
        self,
        *families: Mapping[str, Route],
        prefix: str = "",
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._fixed: dict[str, dict[str, Found]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        routes: dict[str, Route] = {}
        for place, route in (item for family in families for item in family.items()):
            if place in routes:
                raise ValueError(f"two routes for {place}")
            routes[place] = route
        for start in dict.fromkeys(("", prefix)):  # what is served without it stays as it is
            for place, route in routes.items():
                method, path = place.split(" ")
                for spelling in (path, *_renamed(path, names)):
                    self._add(method, f"{start}{spelling}".rstrip("/") or "/", route)

    def _add(self, method: str, path: str, route: Route) -> None:
        fixed = self._fixed.setdefault(method, {})
        if "{" in path:
            self._patterns.setdefault(method, []).append((_pattern(path), route))
        else:
            fixed.setdefault(path, Found(route, _NO_PARAMS))

    def find(self, method: str, path: str) -> Found | None:
        """Return what serves a path; slashes may be doubled or trail.

        Nothing is ever redirected, because SDKs take a redirection for success.
        """
        fixed = self._fixed.get(method)
        if fixed is None:
            return None
        return fixed.get(path) or self._search(method, fixed, path)

    def _search(self, method: str, fixed: Mapping[str, Found], path: str) -> Found | None:
        path = _SLASHES.sub("/", path).rstrip("/") or "/"
        found = fixed.get(path)
        if found is not None:
            return found
        for pattern, route in self._patterns.get(method, ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return Found(route, match.groupdict())
        return None

    def usual(self, method: str) -> Mapping[str, Found]:
        """Return the routes whose path is fixed, and whose answers are no streams, by path.

        A slash may stand at the end.
        """
        found = {
            path: each
            for path, each in self._fixed.get(method, {}).items()
            if not each.route.is_streamed
        }
        return {f"{path}/": each for path, each in found.items()} | found

    def methods(self, path: str) -> list[str]:
        """Return the methods that a path has."""
        return [method for method in self._fixed if self.find(method, path)]
