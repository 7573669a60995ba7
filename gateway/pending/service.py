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
    Group,
    Record,
    RecordPage,
    Retried,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
    Summary,
    merged,
)
from gateway.spool.dead_letters import LETTER_BYTES, in_file, outside
from gateway.spool.outlet import MAX_CHUNK_BYTES
from gateway.spool.pending import (
    Chosen,
    Match,
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


@dataclass(frozen=True, slots=True)
class _File:
    """What a filter means in one file.

    :param chunk_ids: of its chunks, None for any.
    """

    number: int
    store: PendingStore
    wanted: PendingFilter
    chunk_ids: Sequence[int] | None
    match: Match
    after: int


class Pending:
    """The pending records of one spool, or of several that nobody has open.

    :param stores: by the number of their file.
    """

    def __init__(
        self, stores: Mapping[int, PendingStore], clock: Clock, hands: Hands | None = None
    ) -> None:
        self._stores = dict(sorted(stores.items()))
        self._clock = clock
        self._hands = hands or Hands()
        self._setting_aside = asyncio.Lock()

    async def summary(self, wanted: PendingFilter, *, after: int = 0) -> Summary:
        """Return what waits, by destination and endpoint; in several parts where all is read.

        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: the spool cannot be read now.
        """
        wanted = await self._snapshot(wanted)
        up_to = wanted.up_to or 0
        ids = Ids(wanted.ids)
        if not is_by_record(wanted, ids):
            found = [
                self._group(waiting)
                for file in self._files(wanted, ids, after)
                for waiting in await file.store.waiting(file.wanted, file.chunk_ids)
            ]
            return Summary(groups=merged(found), up_to=up_to)
        chosen, following = await self._look(wanted, ids, after)
        return Summary(
            groups=merged(self._group(_waiting(each)) for each in chosen),
            up_to=up_to,
            next=following,
        )

    async def page(
        self, wanted: PendingFilter, *, after: int = 0, limit: int = 100, has_payload: bool = True
    ) -> RecordPage:
        """Return some records, oldest first in each file, chunk by chunk.

        :param limit: records, unless the first chunk has more.
        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: the spool cannot be read now.
        """
        wanted = await self._snapshot(wanted)
        chosen, following = await self._look(wanted, Ids(wanted.ids), after, most=limit)
        records = [record for each in chosen for record in _records(each, has_payload=has_payload)]
        return RecordPage(records=records, next=following)

    async def set_aside(self, request: SetAsideRequest) -> SetAsideReport:
        """Make a batch of records dead letters, or say which that would be.

        :raises msgspec.ValidationError: the filter has ids that are none.
        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        wanted = await self._snapshot(request.filter)
        up_to = wanted.up_to or 0
        if request.dry_run:
            summary = await self.summary(wanted, after=request.after)
            return SetAsideReport(
                set_aside=sum(group.records for group in summary.groups),
                bytes=sum(group.bytes for group in summary.groups),
                would=summary.groups,
                next=summary.next,
                up_to=up_to,
            )
        ids = Ids(wanted.ids)
        async with self._setting_aside:
            for file in self._files(wanted, ids, request.after):
                found, last = await _read(file, MAX_RECORDS, MAX_CHUNK_BYTES)
                if last is None:
                    continue
                report = SetAsideReport(
                    set_aside=0, bytes=0, next=outside(file.number, last), up_to=up_to
                )
                if found:  # only then is delivery disturbed
                    report = await self._set_aside(file, request.limit, report)
                return report
        return SetAsideReport(set_aside=0, bytes=0, next=None, up_to=up_to)

    def retry(self, request: RetryRequest) -> RetryReport:
        """Make the next attempts of endpoints now, whatever they wait for."""
        retried = []
        for queue, records in self._pending().items():
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

    async def _set_aside(self, file: _File, limit: int, report: SetAsideReport) -> SetAsideReport:
        """Make those of the next batch of a file dead letters that nobody is sending.

        :param report: of a batch in which nothing was done.
        """
        queues = [
            queue
            for queue in sorted(file.store.queues())
            if _is_meant(queue, file.wanted.destination, file.wanted.endpoint)
        ]
        async with AsyncExitStack() as stack:
            sent = {
                queue: await stack.enter_async_context(file.store.withheld(queue))
                for queue in queues
            }
            found, last = await _read(file, MAX_RECORDS, MAX_CHUNK_BYTES)
            free = [
                each
                for each in found
                if each.chunk.queue in sent and each.chunk.id not in sent[each.chunk.queue]
            ]
            left = sum(len(each.indexes) for each in found) - sum(len(e.indexes) for e in free)
            taken, cut_id = _cut(free, limit)
            withdrawals = [_withdrawal(each) for each in taken]
            need = sum(
                len(letter.payload) + len(letter.detail) + LETTER_BYTES
                for each in withdrawals
                for letter in each.dead
            )
            if need > file.store.room():
                return msgspec.structs.replace(
                    report,
                    problem="the dead letters have no room for more: the oldest would be dropped; "
                    "replay, export or purge some, or raise spool.dead_letter_max_bytes",
                    next=None,
                )
            done = await file.store.withdraw(withdrawals) if withdrawals else ()
        ended = [each for each, is_done in zip(withdrawals, done, strict=True) if is_done]
        refused = [each for each, is_done in zip(withdrawals, done, strict=True) if not is_done]
        left += sum(len(each.dead) for each in refused)
        if cut_id is not None:
            last = cut_id - 1
        return msgspec.structs.replace(
            report,
            set_aside=sum(len(each.dead) for each in ended),
            bytes=sum(len(letter.payload) + 1 for each in ended for letter in each.dead),
            left=left,
            next=report.next if last is None else outside(file.number, last),
        )

    async def _look(
        self, wanted: PendingFilter, ids: Ids, after: int, most: int = _LOOK_BYTES
    ) -> tuple[list[Chosen], int | None]:
        """Return records that are meant, chunks with ids as outside, and what to go on after."""
        for file in self._files(wanted, ids, after):
            found, last = await _read(file, most, _LOOK_BYTES)
            if last is not None:
                chosen = [
                    replace(each, chunk=replace(each.chunk, id=outside(file.number, each.chunk.id)))
                    for each in found
                ]
                return chosen, outside(file.number, last)
        return [], None

    async def _snapshot(self, wanted: PendingFilter) -> PendingFilter:
        """Return the filter without records that come from now on."""
        if wanted.up_to is not None:
            return wanted
        up_to = 0
        for number, store in self._stores.items():
            if newest := await store.newest_id():
                up_to = outside(number, newest)
        return msgspec.structs.replace(wanted, up_to=up_to)

    def _files(self, wanted: PendingFilter, ids: Ids, after: int) -> list[_File]:
        """Return which files may have such records, and the filter as each of them knows it."""
        files = []
        for number, store in self._stores.items():
            chosen = ids.in_file(number)
            if after >= outside(number + 1, 0) or chosen == {}:
                continue
            own = msgspec.structs.replace(wanted, up_to=in_file(wanted.up_to or 0, number))
            match = match_of(wanted, chosen)
            chunk_ids = None if chosen is None else list(chosen)
            files.append(_File(number, store, own, chunk_ids, match, in_file(after, number)))
        return files

    def _pending(self) -> dict[Queue, int]:
        pending: dict[Queue, int] = {}
        for store in self._stores.values():
            for queue, records in store.queues().items():
                pending[queue] = pending.get(queue, 0) + records
        return pending

    def _status(self, queue: Queue) -> Mapping[str, Any]:
        nobody = {"state": self._hands.state, "detail": "", "next_attempt_in_s": None}
        return self._hands.status().get(queue.destination, {}).get(queue.endpoint, nobody)

    def _group(self, waiting: Waiting) -> Group:
        status = self._status(waiting.queue)
        return Group(
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


async def _read(
    file: _File, max_records: int, max_bytes: int
) -> tuple[Sequence[Chosen], int | None]:
    return await file.store.page(
        *(file.wanted, file.chunk_ids, file.match),
        after=file.after,
        max_records=max_records,
        max_bytes=max_bytes,
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


def _records(chosen: Chosen, *, has_payload: bool) -> list[Record]:
    chunk = chosen.chunk
    records = []
    for index in chosen.indexes:
        line = chosen.lines[index]
        record = Record(
            id=record_id(chunk.id, line),
            destination=chunk.queue.destination,
            endpoint=chunk.queue.endpoint,
            accepted=iso(chunk.created_ms),
            event=event_of(line),
        )
        records.append(
            msgspec.structs.replace(record, payload=as_json(line)) if has_payload else record
        )
    return records


def _cut(chosen: Sequence[Chosen], limit: int) -> tuple[list[Chosen], int | None]:
    """Return the first so many records, and the chunk in which others begin; None when none do."""
    kept: list[Chosen] = []
    for each in chosen:
        if len(each.indexes) > limit:
            if limit:
                kept.append(replace(each, indexes=each.indexes[:limit]))
            return kept, each.chunk.id
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
