"""The pending records of a gateway that runs, of one process or of all its workers."""

from collections.abc import Mapping

from msgspec.structs import replace

from gateway.cli.admin_port import AdminPort, Workers, query_of
from gateway.pending.model import (
    RecordPage,
    Retried,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
    Summary,
)
from gateway.spool.dead_letters import outside
from gateway.spool.pending import PendingFilter

__all__ = ["OverHttp", "SeveralOverHttp"]

_NOTHING = PendingFilter(ids=("0",))  # no chunk has that number


class OverHttp:
    """The pending records of one process, as ``gateway.pending.Pending``."""

    def __init__(self, port: AdminPort) -> None:
        self._port = port

    async def summary(self, wanted: PendingFilter, *, after: int = 0) -> Summary:
        """Return what waits, by destination and endpoint; in parts where much is searched."""
        query = query_of(wanted) | {"after": str(after)}
        return await self._port.get("/summary", Summary, query)

    async def page(
        self, wanted: PendingFilter, *, after: int = 0, limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records, oldest first."""
        own = {"after": str(after), "limit": str(limit), "payload": str(has_payload).lower()}
        return await self._port.get("", RecordPage, query_of(wanted) | own)

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch dead letters."""
        return await self._port.post("/set-aside", SetAsideReport, request)

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts now."""
        return await self._port.post("/retry", RetryReport, request)


class SeveralOverHttp:
    """Asks one worker after the other; what comes after ``look`` is not seen.

    :param workers: by the number of their spool.
    """

    def __init__(self, workers: Mapping[int, OverHttp]) -> None:
        self._workers = Workers(workers)
        self._up_to: dict[int, int] = {}

    async def look(self) -> None:
        """Note which records there are."""
        for number, worker in self._workers.after(0):
            self._up_to[number] = (await worker.summary(_NOTHING)).up_to

    async def summary(self, wanted: PendingFilter, *, after: int = 0) -> Summary:
        """Return what waits; each part is of one worker."""
        up_to = max(self._up_to.values())
        for number, worker in self._workers.after(after):
            part = await worker.summary(self._bounded(wanted, number), after=after)
            return Summary(groups=part.groups, up_to=up_to, next=self._following(number, part.next))
        return Summary(groups=(), up_to=up_to)

    async def page(
        self, wanted: PendingFilter, *, after: int = 0, limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records of one worker, oldest first."""
        for number, worker in self._workers.after(after):
            page = await worker.page(
                self._bounded(wanted, number), after=after, limit=limit, has_payload=has_payload
            )
            return replace(page, next=self._following(number, page.next))
        return RecordPage(records=(), next=None)

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch of one worker dead letters."""
        for number, worker in self._workers.after(request.after):
            own = replace(request, filter=self._bounded(request.filter, number))
            report = await worker.set_aside(own)
            if report.problem:
                return report
            return replace(report, next=self._following(number, report.next))
        return SetAsideReport(set_aside=0, bytes=0, next=None, up_to=request.after)

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts of all workers now."""
        retried: dict[tuple[str, str], Retried] = {}
        for _, worker in self._workers.after(0):
            for each in (await worker.retry(request)).retried:
                place = (each.destination, each.endpoint)
                before = retried.get(place)
                records = each.records + (before.records if before else 0)
                retried[place] = replace(before or each, records=records)
        return RetryReport(retried=list(retried.values()))

    def _following(self, number: int, following: int | None) -> int | None:
        """Return what to go on after, also at the end of one worker."""
        if following is not None:
            return following
        others = self._workers.after(outside(number + 1, 0))
        return outside(others[0][0], 0) if others else None

    def _bounded(self, wanted: PendingFilter, number: int) -> PendingFilter:
        return replace(wanted, up_to=self._up_to[number])
