"""What can be done with pending records, for the admin port and for commands without a gateway."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.clock import Clock
from gateway.dead_letters.model import as_json, iso
from gateway.model import DeadLetter, Queue
from gateway.pending.choice import Ids, event_of, is_by_record, match_of, record_id
from gateway.pending.model import (
    MAX_RECORDS,
    PendingGroup,
    PendingRecord,
    PendingSummary,
    RecordPage,
    Retried,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
    merged,
)
from gateway.spool.dead_letters import LETTER_BYTES
from gateway.spool.outlet import MAX_CHUNK_BYTES
from gateway.spool.pending import (
    Chosen,
    PendingFilter,
    PendingStore,
    Waiting,
    Withdrawal,
)

__all__ = ["SET_ASIDE", "Hands", "Pending"]

SET_ASIDE = "set_aside"
"""The reason of the dead letters that set-aside records become."""

_LOOK_BYTES = 2 * MAX_CHUNK_BYTES
"""What one request looks at, uncompressed: some 20 ms of a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Those who deliver; by default nobody does.

    :param state: of an endpoint that nobody delivers to.
    :param status: what every sender is doing, by destination and endpoint.
    :param hurry: makes the next attempt of an endpoint now.
    """

    state: str = "stopped"
    status: Callable[[], Mapping[str, Mapping[str, Mapping[str, Any]]]] = dict
    hurry: Callable[[Queue], None] = lambda _: None


class _Wanted:
    """What a filter means to a store.

    :raises msgspec.ValidationError: (when made) the filter has ids that are none.
    """

    def __init__(self, wanted: PendingFilter) -> None:
        self.filter = wanted
        ids = Ids(wanted.ids)
        self.chunk_ids = None if ids.digests is None else list(ids.digests)
        self.match = match_of(wanted, ids)
        self.is_by_record = is_by_record(wanted, ids)


class Pending:
    """The pending records of one spool."""

    def __init__(self, store: PendingStore, clock: Clock, hands: Hands | None = None) -> None:
        self._store = store
        self._clock = clock
        self._hands = hands or Hands()
        self._setting_aside = asyncio.Lock()

    async def summary(self, wanted: PendingFilter, *, after: str = "") -> PendingSummary:
        """Return what waits, by destination and endpoint; in several parts where all is read.

        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: the spool cannot be read now.
        """
        wanted = await self._snapshot(wanted)
        up_to = wanted.up_to or ""
        meant = _Wanted(wanted)
        if not meant.is_by_record:
            found = await self._store.waiting(wanted, meant.chunk_ids)
            return PendingSummary(groups=merged(map(self._group, found)), up_to=up_to)
        chosen, following = await self._read(meant, after, _LOOK_BYTES, _LOOK_BYTES)
        return PendingSummary(
            groups=merged(self._group(_waiting(each)) for each in chosen),
            up_to=up_to,
            next=following,
        )

    async def page(
        self, wanted: PendingFilter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records, oldest first, chunk by chunk.

        :param limit: records, unless the first chunk has more.
        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: the spool cannot be read now.
        """
        wanted = await self._snapshot(wanted)
        chosen, following = await self._read(_Wanted(wanted), after, limit, _LOOK_BYTES)
        records = [record for each in chosen for record in _records(each, has_payload=has_payload)]
        return RecordPage(records=records, next=following)

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch of records dead letters, or say which that would be.

        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        wanted = await self._snapshot(request.filter)
        up_to = wanted.up_to or ""
        if request.dry_run:
            summary = await self.summary(wanted, after=request.after)
            return SetAsideReport(
                set_aside=sum(group.records for group in summary.groups),
                bytes=sum(group.bytes for group in summary.groups),
                would=summary.groups,
                next=summary.next,
                up_to=up_to,
            )
        meant = _Wanted(wanted)
        async with self._setting_aside:
            found, last = await self._read(meant, request.after, MAX_RECORDS, MAX_CHUNK_BYTES)
            report = SetAsideReport(set_aside=0, bytes=0, next=last, up_to=up_to)
            if found:  # only then is delivery disturbed
                report = await self._set_aside(meant, request, report)
            return report

    async def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts of endpoints now, whatever they wait for."""
        retried = []
        for queue, records in self._store.queues().items():
            if not _is_meant(queue, request.destination, request.endpoint) or not records:
                continue
            status = self._status(queue)
            if status["state"] in ("retrying", "paused"):
                retried.append(
                    Retried(
                        destination=queue.destination,
                        endpoint=queue.endpoint,
                        records=records,
                        state=status["state"],
                        detail=status["detail"],
                    )
                )
                self._hands.hurry(queue)
        return RetryReport(retried=retried)

    async def _set_aside(
        self, meant: _Wanted, request: SetAsideRequest, report: SetAsideReport
    ) -> SetAsideReport:
        """Make those of the next batch dead letters that nobody is sending.

        :param report: of a batch in which nothing was done.
        """
        wanted, store = meant.filter, self._store
        queues = [
            queue
            for queue in sorted(store.queues())
            if _is_meant(queue, wanted.destination, wanted.endpoint)
        ]
        async with AsyncExitStack() as stack:
            sent = {
                queue: await stack.enter_async_context(store.withheld(queue)) for queue in queues
            }
            found, last = await self._read(meant, request.after, MAX_RECORDS, MAX_CHUNK_BYTES)
            free = [
                each
                for each in found
                if each.chunk.queue in sent and each.chunk.id not in sent[each.chunk.queue]
            ]
            left = sum(len(each.indexes) for each in found) - sum(len(e.indexes) for e in free)
            taken, cut = _cut(free, request.limit)
            withdrawals = [_withdrawal(each) for each in taken]
            need = sum(
                len(letter.payload) + len(letter.detail) + LETTER_BYTES
                for each in withdrawals
                for letter in each.dead
            )
            if need > store.room():
                return msgspec.structs.replace(
                    report,
                    problem="the dead letters have no room for more: the oldest would be dropped; "
                    "replay, export or purge some, or raise spool.dead_letter_max_bytes",
                    next=None,
                )
            done = await store.withdraw(withdrawals) if withdrawals else ()
        ended = [each for each, is_done in zip(withdrawals, done, strict=True) if is_done]
        refused = [each for each, is_done in zip(withdrawals, done, strict=True) if not is_done]
        left += sum(len(each.dead) for each in refused)
        if cut is not None:  # the next one begins with it
            before = found[: found.index(cut)]
            last = before[-1].id if before else request.after
        return msgspec.structs.replace(
            report,
            set_aside=sum(len(each.dead) for each in ended),
            bytes=sum(len(letter.payload) + 1 for each in ended for letter in each.dead),
            left=left,
            next=report.next if last is None else last,
        )

    async def _read(
        self, meant: _Wanted, after: str, max_records: int, max_bytes: int
    ) -> tuple[Sequence[Chosen], str | None]:
        """Return records that are meant, and what to go on after; None at the end."""
        return await self._store.page(
            *(meant.filter, meant.chunk_ids, meant.match),
            after=after,
            max_records=max_records,
            max_bytes=max_bytes,
        )

    async def _snapshot(self, wanted: PendingFilter) -> PendingFilter:
        """Return the filter without records that come from now on."""
        if wanted.up_to is not None:
            return wanted
        return msgspec.structs.replace(wanted, up_to=await self._store.newest_id())

    def _status(self, queue: Queue) -> Mapping[str, Any]:
        nobody = {"state": self._hands.state, "detail": "", "next_attempt_in_s": None}
        return self._hands.status().get(queue.destination, {}).get(queue.endpoint, nobody)

    def _group(self, waiting: Waiting) -> PendingGroup:
        status = self._status(waiting.queue)
        return PendingGroup(
            destination=waiting.queue.destination,
            endpoint=waiting.queue.endpoint,
            records=waiting.records,
            bytes=waiting.bytes,
            oldest_ms=waiting.oldest_ms,
            newest_ms=waiting.newest_ms,
            oldest_age_s=max(0, self._clock.now_ms() - waiting.oldest_ms) / 1000,
            state=status["state"],
            detail=status["detail"],
            next_attempt_in_s=status["next_attempt_in_s"],
        )


def _is_meant(queue: Queue, destination: str | None, endpoint: str | None) -> bool:
    return destination in (None, queue.destination) and endpoint in (None, queue.endpoint)


def _waiting(chosen: Chosen) -> Waiting:
    chunk = chosen.chunk
    return Waiting(
        queue=chunk.queue,
        records=len(chosen.indexes),
        chunks=1,
        bytes=sum(len(chosen.lines[index]) + 1 for index in chosen.indexes),
        oldest_ms=chunk.created_ms,
        newest_ms=chunk.created_ms,
    )


def _records(chosen: Chosen, *, has_payload: bool) -> list[PendingRecord]:
    chunk = chosen.chunk
    records = []
    for index in chosen.indexes:
        line = chosen.lines[index]
        record = PendingRecord(
            id=record_id(chosen.id, line),
            destination=chunk.queue.destination,
            endpoint=chunk.queue.endpoint,
            accepted=iso(chunk.created_ms),
            event=event_of(line),
        )
        records.append(
            msgspec.structs.replace(record, payload=as_json(line)) if has_payload else record
        )
    return records


def _cut(chosen: Sequence[Chosen], limit: int) -> tuple[list[Chosen], Chosen | None]:
    """Return the first so many records, and the chunk in which others begin; None when none do."""
    kept: list[Chosen] = []
    for each in chosen:
        if len(each.indexes) > limit:
            if limit:
                kept.append(replace(each, indexes=each.indexes[:limit]))
            return kept, each
        kept.append(each)
        limit -= len(each.indexes)
    return kept, None


def _withdrawal(chosen: Chosen) -> Withdrawal:
    chunk = chosen.chunk
    detail = f"set aside by an operator; accepted {iso(chunk.created_ms)}"
    return Withdrawal(
        chosen=chosen,
        dead=[
            DeadLetter(
                queue=chunk.queue,
                kind="record",
                reason=SET_ASIDE,
                detail=detail,
                payload=chosen.lines[index],
            )
            for index in chosen.indexes
        ],
    )
