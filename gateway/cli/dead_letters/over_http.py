"""The dead letters of a gateway that runs, over its admin port."""

from gateway.cli.admin_port import AdminPort, query_of
from gateway.dead_letters.model import (
    Letter,
    LetterSummary,
    Page,
    PurgeReport,
    PurgeRequest,
    ReplayReport,
    ReplayRequest,
)
from gateway.spool.dead_letters import Filter

__all__ = ["LettersOverHttp"]


class LettersOverHttp:
    """The dead letters of a running gateway, as ``gateway.dead_letters.DeadLetters``."""

    def __init__(self, port: AdminPort) -> None:
        self._port = port

    async def summary(self, wanted: Filter) -> LetterSummary:
        """Return what there is, by cause."""
        return await self._port.get("/summary", LetterSummary, query_of(wanted))

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters, oldest first."""
        own = {"after": after, "limit": str(limit), "payload": str(has_payload).lower()}
        return await self._port.get("", Page, query_of(wanted) | own)

    async def get(self, letter_id: str) -> Letter | None:
        """Return one letter, None when it is not there."""
        page = await self.page(Filter(ids=(letter_id,)))
        return page.letters[0] if page.letters else None

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again."""
        return await self._port.post("/replay", ReplayReport, request)

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch for good."""
        return await self._port.post("/purge", PurgeReport, request)
