"""The pending records of several spools, as if one had all of them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from gateway.pending.model import (
    PendingSummary,
    RecordPage,
    Retried,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
)
from gateway.spool.pending import PendingFilter

__all__ = ["MergedPending", "PendingService"]

_NOTHING = PendingFilter(ids=())


class PendingService(Protocol):
    """The pending records of one spool, or of several; see ``Pending``."""

    async def summary(self, wanted: PendingFilter, *, after: str = "") -> PendingSummary:
        """Return what waits, by destination and endpoint."""
        ...

    async def page(
        self, wanted: PendingFilter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records, oldest first."""
        ...

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch dead letters."""
        ...

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts now."""
        ...


class MergedPending:
    """Asks one member after the other; what comes after the first question is not seen.

    :param members: at least one, in the order in which their records are shown; each has ids that
        no other one has.
    :param is_delivered: whether somebody delivers them now.
    """

    def __init__(self, members: Sequence[PendingService], *, is_delivered: bool) -> None:
        self.is_delivered = is_delivered
        self._members = members
        self._up_to: list[str] = []

    async def summary(self, wanted: PendingFilter, *, after: str = "") -> PendingSummary:
        """Return what waits; each part is of one member, ``up_to`` is only to be given back."""
        number, own = await self._begin(after)
        part = await self._members[number].summary(self._bounded(wanted, number), after=own)
        return PendingSummary(
            groups=part.groups, up_to=self._up_to[-1], next=self._following(number, part.next)
        )

    async def page(
        self, wanted: PendingFilter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records of one member, oldest first."""
        number, own = await self._begin(after)
        page = await self._members[number].page(
            self._bounded(wanted, number), after=own, limit=limit, has_payload=has_payload
        )
        return replace(page, next=self._following(number, page.next))

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch of one member dead letters."""
        number, own = await self._begin(request.after)
        wanted = self._bounded(request.filter, number)
        report = await self._members[number].set_aside(replace(request, filter=wanted, after=own))
        if report.problem:
            return report
        return replace(report, next=self._following(number, report.next))

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts of all members now."""
        retried: dict[tuple[str, str], Retried] = {}
        for member in self._members:
            for each in (await member.retry(request)).retried:
                place = (each.destination, each.endpoint)
                before = retried.get(place)
                records = each.records + (before.records if before else 0)
                retried[place] = replace(before or each, records=records)
        return RetryReport(retried=list(retried.values()))

    async def _begin(self, after: str) -> tuple[int, str]:
        """Return which member to ask, and after what, once it is known what there is."""
        if not self._up_to:
            self._up_to = [(await member.summary(_NOTHING)).up_to for member in self._members]
        number, _, own = after.partition(":")
        return int(number or 0), own

    def _following(self, number: int, following: str | None) -> str | None:
        """Return what to go on after, also at the end of one member."""
        if following is not None:
            return f"{number}:{following}"
        return f"{number + 1}:" if number + 1 < len(self._members) else None

    def _bounded(self, wanted: PendingFilter, number: int) -> PendingFilter:
        return replace(wanted, up_to=self._up_to[number])
