"""Pending records over HTTP."""

import msgspec
from aiohttp import web

from gateway.admin.operator_pages import OperatorPages, body_of, query_of, split_listing
from gateway.pending import Pending, RetryRequest, SetAsideRequest
from gateway.spool.pending import PendingFilter

__all__ = ["PendingPages"]


class PendingPages:
    """What is below ``/pending``."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    def routes(self, pages: OperatorPages) -> list[web.RouteDef]:
        """Return the routes, to be added to an application."""
        return [
            web.get("/pending/summary", pages.served(self._summary)),
            web.get("/pending", pages.served(self._list)),
            web.post("/pending/set-aside", pages.served(self._set_aside)),
            web.post("/pending/retry", pages.served(self._retry)),
        ]

    async def _summary(self, request: web.Request) -> msgspec.Struct:
        query = query_of(request)
        listing = split_listing(query)
        return await self._pending.summary(_filter(query), after=listing.after)

    async def _list(self, request: web.Request) -> msgspec.Struct:
        query = query_of(request)
        listing = split_listing(query)
        return await self._pending.page(
            _filter(query),
            after=listing.after,
            limit=listing.limit,
            has_payload=listing.payload,
        )

    async def _set_aside(self, request: web.Request) -> msgspec.Struct:
        return await self._pending.set_aside(await body_of(request, SetAsideRequest))

    async def _retry(self, request: web.Request) -> msgspec.Struct:
        return await self._pending.retry(await body_of(request, RetryRequest))


def _filter(query: dict[str, object]) -> PendingFilter:
    return msgspec.convert(query, PendingFilter, strict=False)
