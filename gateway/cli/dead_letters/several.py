"""The dead letters of a running gateway with several workers, as if one had all of them."""

from collections import defaultdict
from collections.abc import Mapping

from msgspec.structs import replace

from gateway.cli.admin_port import Workers
from gateway.cli.dead_letters.over_http import OverHttp
from gateway.dead_letters.model import (
    Edit,
    Letter,
    Page,
    PurgeReport,
    PurgeRequest,
    ReplayReport,
    ReplayRequest,
    Summary,
)
from gateway.spool.dead_letters import IDS_PER_FILE, Filter, Group, sum_of

__all__ = ["SeveralOverHttp"]

_NOTHING = Filter(up_to=0)


class SeveralOverHttp:
    """Asks one worker after the other; each knows its own letters by ids that no other one has.

    What is kept after ``look`` is not seen: what a worker refuses again must not be met again.

    :param workers: by the number of their spool.
    """

    def __init__(self, workers: Mapping[int, OverHttp]) -> None:
        self._workers = Workers(workers)
        self._up_to: dict[int, int] = {}

    async def look(self) -> None:
        """Note which letters there are."""
        for number, worker in self._workers.after(0):
            self._up_to[number] = (await worker.summary(_NOTHING)).up_to

    async def summary(self, wanted: Filter) -> Summary:
        """Return what there is, by cause."""
        groups: dict[tuple[str, ...], Group] = {}
        for number, worker in self._workers.after(0):
            for group in (await worker.summary(self._bounded(wanted, number))).groups:
                cause = (group.destination, group.endpoint, group.kind, group.reason)
                groups[cause] = sum_of(groups[cause], group) if cause in groups else group
        found = sorted(groups.values(), key=lambda group: -group.letters)
        return Summary(groups=found, up_to=max(self._up_to.values()))

    async def page(
        self, wanted: Filter, *, after: int = 0, limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters, oldest first of each worker."""
        for number, worker in self._workers.after(after):
            found = await worker.page(
                self._bounded(wanted, number), after=after, limit=limit, has_payload=has_payload
            )
            if found.letters:
                return found
        return Page(letters=(), next=None)

    async def get(self, letter_id: int) -> Letter | None:
        """Return one letter, None when it is not there."""
        worker = self._workers.of(letter_id // IDS_PER_FILE)
        return None if worker is None else await worker.get(letter_id)

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again, of one worker; edited letters are all sent."""
        if request.edits:
            return await self._replay_edited(request)
        report = None
        for number, worker in self._workers.after(request.after):
            wanted = self._bounded(request.filter, number)
            report = await worker.replay(replace(request, filter=wanted))
            if report.next is not None:
                break
        return report or ReplayReport(
            replayed=0, records=0, missing=0, problems=(), next=None, up_to=request.after
        )

    async def _replay_edited(self, request: ReplayRequest) -> ReplayReport:
        edits: defaultdict[int, list[Edit]] = defaultdict(list)
        for edit in request.edits:
            edits[edit.id // IDS_PER_FILE].append(edit)
        total = ReplayReport(
            replayed=0, records=0, missing=0, problems=(), next=None, up_to=request.after
        )
        for number, own in edits.items():
            worker = self._workers.of(number)
            if worker is None:
                total = replace(total, missing=total.missing + len(own))
                continue
            report = await worker.replay(replace(request, edits=tuple(own)))
            total = ReplayReport(
                replayed=total.replayed + report.replayed,
                records=total.records + report.records,
                missing=total.missing + report.missing,
                problems=(*total.problems, *report.problems),
                would=(*total.would, *report.would),
                next=None,
                up_to=max(total.up_to, report.up_to),
            )
        return total

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch of one worker; a dry run is about all of them."""
        if request.dry_run:
            groups = (await self.summary(request.filter)).groups
            count = sum(group.letters for group in groups)
            return PurgeReport(purged=count, would=groups, next=None, up_to=request.after)
        report = PurgeReport(purged=0, next=None, up_to=request.after)
        for number, worker in self._workers.after(request.after):
            wanted = self._bounded(request.filter, number)
            report = await worker.purge(replace(request, filter=wanted))
            if report.next is not None:
                break
        return report

    def _bounded(self, wanted: Filter, number: int) -> Filter:
        return replace(wanted, up_to=self._up_to[number])
