"""A spool in memory that is as far from a file as one can be: lanes, lags, and others beside it.

It keeps the protocol of ``gateway.spool`` and nothing more, so what works with it depends on no
count, on no order of ids and on no exclusive storage.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from zlib import crc32

import msgspec

from gateway.clock import SystemClock
from gateway.errors import SpoolUnavailable
from gateway.model import (
    DeadLetter,
    DeadLetterCount,
    Entry,
    Health,
    Ledger,
    Queue,
    QueueState,
    StoredDeadLetter,
    Usage,
)
from gateway.spool.dead_letters import Filter, LetterGroup, LetterLimits, Replacement
from gateway.spool.outlet import Settlement
from gateway.spool.pending import Chosen, Match, PendingFilter, Waiting, Withdrawal
from tests.support.partitioned_outlet import Message, PartitionedLease, PartitionedOutlet

__all__ = ["PartitionedSpool"]

_CLOCK = SystemClock()
_WELL: Iterator[str] = itertools.repeat("well")


class PartitionedSpool:
    """Lanes of messages for each queue, in the memory of this process.

    :param lanes: of each queue; records about the same are in the same one.
    :param counts, lag_s, moods: as for ``PartitionedOutlet``.
    """

    def __init__(
        self,
        *,
        lanes: int = 3,
        counts: str = "missing",
        lag_s: float = 0.0,
        moods: Iterator[str] = _WELL,
    ) -> None:
        self.outlets: dict[Queue, PartitionedOutlet] = {}
        self.dead_letters = _DeadLetters(self)
        self.pending = _Pending(self)
        self.accepted: Counter[str] = Counter()
        self._lanes = lanes
        self._counts = counts
        self._lag_s = lag_s
        self._moods = moods
        self._is_open = False

    @property
    def place(self) -> str:
        return "memory"

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        for outlet in self.outlets.values():
            outlet.close()

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        if not self._is_open:
            return _fail()
        for entry in entries:
            self.accepted[entry.queue.destination] += entry.records
            self._spread(entry)
        for letter in dead:
            self.accepted[letter.queue.destination] += 1
            self.dead_letters.keep(letter)
        return asyncio.sleep(0)

    def outlet(self, queue: Queue) -> PartitionedOutlet:
        if queue not in self.outlets:
            self.outlets[queue] = PartitionedOutlet(
                queue,
                lanes=self._lanes,
                counts=self._counts,
                lag_s=self._lag_s,
                moods=self._moods,
                keep=self.dead_letters.keep,
            )
        return self.outlets[queue]

    def ledger(self) -> Mapping[str, Ledger]:
        delivered: Counter[str] = Counter()
        for queue, outlet in self.outlets.items():
            delivered[queue.destination] += outlet.delivered
        store = self.dead_letters
        return {
            name: Ledger(
                accepted=accepted - store.replayed[name],
                delivered=delivered[name],
                dead_lettered=store.counted[name],
                pending=accepted - store.replayed[name] - delivered[name] - store.counted[name],
                replayed=store.replayed[name],
                purged=store.purged[name],
            )
            for name, accepted in self.accepted.items()
        }

    def queues(self) -> Mapping[Queue, QueueState]:
        if self._counts == "missing":
            return {}
        return {
            queue: QueueState(pending=outlet.waiting(), chunks=0, oldest_ms=None)
            for queue, outlet in self.outlets.items()
        }

    def health(self) -> Health:
        return Health(accepting=self._is_open)

    async def check(self) -> Health:
        return self.health()

    def usage(self) -> Usage:
        return Usage()

    def left(self) -> int:
        """Return how many records have not come to an end."""
        return sum(ledger.pending for ledger in self.ledger().values())

    def _spread(self, entry: Entry) -> None:
        """Add records to the lanes of what they are about."""
        by_lane: dict[int, list[bytes]] = {}
        lines = entry.lines.splitlines(keepends=True)
        for line, key in zip(lines, entry.keys(), strict=True):
            by_lane.setdefault(crc32(key) % self._lanes, []).append(line)
        for lane, own in by_lane.items():
            self.outlet(entry.queue).add(lane, own, _CLOCK.now_ms())


class _DeadLetters:
    """Letters by texts that mean nothing."""

    limits = LetterLimits()

    def __init__(self, spool: PartitionedSpool) -> None:
        self.counted: Counter[str] = Counter()
        self.replayed: Counter[str] = Counter()
        self.purged: Counter[str] = Counter()
        self._spool = spool
        self._letters: dict[str, StoredDeadLetter] = {}
        self._serial = itertools.count(1)

    def keep(self, letter: DeadLetter) -> None:
        self.counted[letter.queue.destination] += 1
        number = next(self._serial)
        letter_id = f"{number % 7}:letter_{number}"  # which are not in the order of the letters
        self._letters[letter_id] = StoredDeadLetter(
            id=letter_id, created_ms=_CLOCK.now_ms(), letter=letter
        )

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, max_bytes: int = 1 << 20
    ) -> list[StoredDeadLetter]:
        found: list[StoredDeadLetter] = []
        for each in self._fitting(wanted, after):
            size = sum(len(one.letter.payload) for one in (*found, each))
            if len(found) == limit or (found and size > max_bytes):
                break
            found.append(each)
        return found

    async def ids(self, wanted: Filter, *, after: str = "", limit: int = 100) -> list[str]:
        return [each.id for each in self._fitting(wanted, after)][:limit]

    async def groups(self, wanted: Filter) -> list[LetterGroup]:
        groups: dict[tuple[str, ...], list[StoredDeadLetter]] = {}
        for each in self._fitting(wanted, ""):
            letter = each.letter
            groups.setdefault((*letter.queue, letter.kind, letter.reason), []).append(each)
        return [
            LetterGroup(
                **dict(zip(("destination", "endpoint", "kind", "reason"), cause, strict=True)),
                letters=len(found),
                bytes=sum(len(each.letter.payload) + len(each.letter.detail) for each in found),
                oldest_ms=found[0].created_ms,
                newest_ms=found[-1].created_ms,
                example=found[-1].letter.detail,
            )
            for cause, found in sorted(groups.items(), key=lambda group: -len(group[1]))
        ]

    async def newest_id(self) -> str:
        return next(reversed(self._letters), "0:none")

    async def replay(self, replacements: Sequence[Replacement]) -> frozenset[str]:
        taken = set()
        for each in replacements:
            stored = self._letters.pop(each.letter_id, None)
            if stored is not None:
                taken.add(each.letter_id)
                name = stored.letter.queue.destination
                self.replayed[name] += 1
                self.counted[name] -= 1
                await self._spool.append(each.entries)
        return frozenset(taken)

    async def purge(self, ids: Collection[str]) -> int:
        purged = [self._letters.pop(each) for each in set(ids) if each in self._letters]
        self.purged.update(each.letter.queue.destination for each in purged)
        return len(purged)

    def kept(self) -> Mapping[str, DeadLetterCount]:
        kept: dict[str, DeadLetterCount] = {}
        for each in self._letters.values():
            name = each.letter.queue.destination
            kept[name] = kept.get(name, DeadLetterCount()) + DeadLetterCount(
                1, len(each.letter.payload) + len(each.letter.detail)
            )
        return kept

    def _fitting(self, wanted: Filter, after: str) -> Iterator[StoredDeadLetter]:
        letters = list(self._letters.values())
        ids = list(self._letters)
        for bound in (after, wanted.up_to):
            if bound and bound != "0:none" and bound not in ids:
                raise msgspec.ValidationError(f"not an id: {bound}")
        start = ids.index(after) + 1 if after else 0
        stop = len(ids) if wanted.up_to is None else 0
        if wanted.up_to in ids:
            stop = ids.index(wanted.up_to) + 1
        for each in letters[start:stop]:
            letter = each.letter
            if (
                wanted.destination in (None, letter.queue.destination)
                and wanted.endpoint in (None, letter.queue.endpoint)
                and wanted.kind in (None, letter.kind)
                and wanted.reason in (None, letter.reason)
                and (wanted.ids is None or each.id in wanted.ids)
            ):
                yield each


class _Pending:
    """What waits, message by message, by texts that mean nothing."""

    def __init__(self, spool: PartitionedSpool) -> None:
        self._spool = spool

    async def waiting(
        self, wanted: PendingFilter, chunk_ids: Collection[str] | None
    ) -> Sequence[Waiting]:
        found: dict[Queue, list[Message]] = {}
        for _, queue, message in self._fitting(wanted, chunk_ids):
            if message.lines:
                found.setdefault(queue, []).append(message)
        return [
            Waiting(
                queue=queue,
                records=sum(len(message.lines) for message in messages),
                chunks=len(messages),
                bytes=sum(len(line) for message in messages for line in message.lines),
                oldest_ms=min(message.created_ms for message in messages),
                newest_ms=max(message.created_ms for message in messages),
            )
            for queue, messages in found.items()
        ]

    async def page(
        self,
        wanted: PendingFilter,
        chunk_ids: Collection[str] | None,
        match: Match,
        *,
        after: str,
        max_records: int,
        max_bytes: int,
    ) -> tuple[Sequence[Chosen], str | None]:
        found: list[Chosen] = []
        last: str | None = None
        records = size = 0
        is_behind = not after
        for name, queue, message in self._fitting(wanted, chunk_ids):
            if not is_behind:
                is_behind = name == after  # it may have come to its end meanwhile
                continue
            if not message.lines:
                continue
            if records >= max_records or size >= max_bytes:
                break
            last = name
            lines = [line[:-1] for line in message.lines]
            size += sum(map(len, lines))
            indexes = [i for i, line in enumerate(lines) if match(name, line)]
            records += len(indexes)
            if indexes:
                chunk = self._spool.outlet(queue).chunk(message)
                found.append(Chosen(id=name, chunk=chunk, lines=lines, indexes=indexes))
        return found, last

    def queues(self) -> Mapping[Queue, int]:
        return {queue: outlet.left() for queue, outlet in self._spool.outlets.items()}

    async def newest_id(self) -> str:
        return "0:now"  # there is no line of all chunks: what comes meanwhile is met as well

    def withheld(self, queue: Queue) -> AbstractAsyncContextManager[frozenset[Hashable]]:
        return self._spool.outlet(queue).withheld()

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> Sequence[bool]:
        done = []
        for each in withdrawals:
            chosen = each.chosen
            outlet = self._spool.outlet(chosen.chunk.queue)
            message = outlet.find(chosen.chunk.id)
            done.append(message.is_free)
            if not message.is_free:
                continue
            rest = [line for i, line in enumerate(message.lines) if i not in set(chosen.indexes)]
            remaining = Entry(chosen.chunk.queue, b"".join(rest), len(rest)) if rest else None
            settlement = Settlement(delivered=0, dead=each.dead, remaining=remaining)
            await PartitionedLease(outlet, [message], is_taken=False).settle(settlement)
        return done

    def room(self) -> int:
        return 1 << 40

    def _fitting(
        self, wanted: PendingFilter, chunk_ids: Collection[str] | None
    ) -> Iterator[tuple[str, Queue, Message]]:
        for queue, outlet in self._spool.outlets.items():
            if not (
                wanted.destination in (None, queue.destination)
                and wanted.endpoint in (None, queue.endpoint)
            ):
                continue
            for lane in outlet.lanes:
                for message in lane:
                    name = f"{message.lane}:{queue.endpoint}:{message.offset}"
                    if chunk_ids is None or name in chunk_ids:
                        yield name, queue, message


async def _fail() -> None:
    raise SpoolUnavailable("not open")
