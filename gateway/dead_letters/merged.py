"""The dead letters of several spools, as if one had all of them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from gateway.dead_letters.model import (
    Letter,
    LetterSummary,
    Page,
    PurgeReport,
    PurgeRequest,
    ReplayReport,
    ReplayRequest,
)
from gateway.spool.dead_letters import Filter, LetterGroup, sum_of

__all__ = ["Letters", "MergedDeadLetters"]

_NOTHING = Filter(ids=())


class Letters(Protocol):
    """The dead letters of one spool, or of several; see ``DeadLetters``."""

    async def summary(self, wanted: Filter) -> LetterSummary:
        """Return what there is, by cause."""
        ...

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters, oldest first."""
        ...

    async def get(self, letter_id: str) -> Letter | None:
        """Return one letter, None when it is not there."""
        ...

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again."""
        ...

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch for good."""
        ...


class MergedDeadLetters:
    """Asks one member after the other; each knows its own letters by ids that no other one has.

    What is kept after the first question is not seen: what a member refuses again must not be met
    again.

    :param members: at least one, in the order in which their letters are shown.
    """

    def __init__(self, members: Sequence[Letters]) -> None:
        self._members = members
        self._up_to: list[str] = []

    async def summary(self, wanted: Filter) -> LetterSummary:
        """Return what there is, by cause; ``up_to`` is of no use but to be given back."""
        await self._look()
        groups: dict[tuple[str, ...], LetterGroup] = {}
        for number, member in enumerate(self._members):
            for group in (await member.summary(self._bounded(wanted, number))).groups:
                cause = (group.destination, group.endpoint, group.kind, group.reason)
                groups[cause] = sum_of(groups[cause], group) if cause in groups else group
        found = sorted(groups.values(), key=lambda group: -group.letters)
        return LetterSummary(groups=found, up_to=self._up_to[-1])

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters of one member, oldest first."""
        await self._look()
        start, own = _split(after)
        for number in range(start, len(self._members)):
            found = await self._members[number].page(
                self._bounded(wanted, number),
                after=own if number == start else "",
                limit=limit,
                has_payload=has_payload,
            )
            if found.letters:
                return replace(found, next=_joined(number, found.next))
        return Page(letters=(), next=None)

    async def get(self, letter_id: str) -> Letter | None:
        """Return one letter, None when it is not there."""
        for member in self._members:
            if (letter := await member.get(letter_id)) is not None:
                return letter
        return None

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again, of one member; edited letters are all sent."""
        await self._look()
        if request.edits:
            return await self._replay_edited(request)
        start, own = _split(request.after)
        report = ReplayReport(
            replayed=0, records=0, missing=0, problems=(), next=None, up_to=self._up_to[-1]
        )
        for number in range(start, len(self._members)):
            wanted = self._bounded(request.filter, number)
            after = own if number == start else ""
            report = await self._members[number].replay(
                replace(request, filter=wanted, after=after)
            )
            if report.next is not None:
                return replace(report, next=_joined(number, report.next))
        return report

    async def _replay_edited(self, request: ReplayRequest) -> ReplayReport:
        """Give all members all edits: each takes those of its own letters."""
        reports = [await member.replay(request) for member in self._members]
        problems = [problem for report in reports for problem in report.problems]
        replayed = sum(report.replayed for report in reports)
        return ReplayReport(
            replayed=replayed,
            records=sum(report.records for report in reports),
            missing=len({str(edit.id) for edit in request.edits}) - replayed - len(problems),
            problems=problems,
            would=[each for report in reports for each in report.would],
            next=None,
            up_to=self._up_to[-1],
        )

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch of one member; a dry run is about all of them."""
        await self._look()
        up_to = self._up_to[-1]
        if request.dry_run:
            groups = (await self.summary(request.filter)).groups
            count = sum(group.letters for group in groups)
            return PurgeReport(purged=count, would=groups, next=None, up_to=up_to)
        start, own = _split(request.after)
        report = PurgeReport(purged=0, next=None, up_to=up_to)
        for number in range(start, len(self._members)):
            wanted = self._bounded(request.filter, number)
            after = own if number == start else ""
            report = await self._members[number].purge(replace(request, filter=wanted, after=after))
            if report.next is not None:
                return replace(report, next=_joined(number, report.next))
        return report

    async def _look(self) -> None:
        """Note which letters there are."""
        if not self._up_to:
            self._up_to = [(await member.summary(_NOTHING)).up_to for member in self._members]

    def _bounded(self, wanted: Filter, number: int) -> Filter:
        return replace(wanted, up_to=self._up_to[number])


def _joined(number: int, following: str | None) -> str:
    """Return what to go on after, of which member."""
    return f"{number}:{following or ''}"


def _split(after: str) -> tuple[int, str]:
    number, _, own = after.partition(":")
    return int(number or 0), own
