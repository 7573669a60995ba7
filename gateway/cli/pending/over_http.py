"""The pending records of a process that runs, over its admin port."""

from gateway.cli.admin_port import AdminPort, query_of
from gateway.pending.model import (
    PendingSummary,
    RecordPage,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
)
from gateway.spool.pending import PendingFilter

__all__ = ["PendingOverHttp"]


class PendingOverHttp:
    """The pending records of one process, as ``gateway.pending.Pending``."""

    is_delivered = True

    def __init__(self, port: AdminPort) -> None:
        self._port = port

    async def summary(self, wanted: PendingFilter, *, after: str = "") -> PendingSummary:
        """Return what waits, by destination and endpoint; in parts where much is searched."""
        query = query_of(wanted) | {"after": after}
        return await self._port.get("/summary", PendingSummary, query)

    async def page(
        self, wanted: PendingFilter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records, oldest first."""
        own = {"after": after, "limit": str(limit), "payload": str(has_payload).lower()}
        return await self._port.get("", RecordPage, query_of(wanted) | own)

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch dead letters."""
        return await self._port.post("/set-aside", SetAsideReport, request)

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts now."""
        return await self._port.post("/retry", RetryReport, request)
