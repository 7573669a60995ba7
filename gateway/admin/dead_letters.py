"""Dead letters over HTTP."""

import msgspec
from aiohttp import web

from gateway.admin.operator_pages import OperatorPages, Refused, body_of, query_of, split_listing
from gateway.dead_letters import DeadLetters, PurgeRequest, ReplayRequest
from gateway.spool.dead_letters import Filter

__all__ = ["DeadLetterPages"]


class DeadLetterPages:
    """What is below ``/dead-letters``."""

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters

    def routes(self, pages: OperatorPages) -> list[web.RouteDef]:
        """Return the routes, to be added to an application."""
        return [
            web.get("/dead-letters/summary", pages.served(self._summary)),
            web.get("/dead-letters", pages.served(self._list)),
            web.get(r"/dead-letters/{id:\d[\w:]{0,79}}", pages.served(self._show)),
            web.post("/dead-letters/replay", pages.served(self._replay)),
            web.post("/dead-letters/purge", pages.served(self._purge)),
        ]

    async def _summary(self, request: web.Request) -> msgspec.Struct:
        return await self._dead_letters.summary(_filter(query_of(request)))

    async def _list(self, request: web.Request) -> msgspec.Struct:
        query = query_of(request)
        listing = split_listing(query)
        return await self._dead_letters.page(
            _filter(query),
            after=listing.after,
            limit=listing.limit,
            has_payload=listing.payload,
        )

    async def _show(self, request: web.Request) -> msgspec.Struct:
        letter_id = request.match_info["id"]
        letter = await self._dead_letters.get(letter_id)
        if letter is None:
            text = f"there is no dead letter {letter_id}, or no longer: replayed, purged or dropped"
            raise Refused(404, text)
        return letter

    async def _replay(self, request: web.Request) -> msgspec.Struct:
        return await self._dead_letters.replay(await body_of(request, ReplayRequest))

    async def _purge(self, request: web.Request) -> msgspec.Struct:
        return await self._dead_letters.purge(await body_of(request, PurgeRequest))


def _filter(query: dict[str, object]) -> Filter:
    return msgspec.convert(query, Filter, strict=False)
