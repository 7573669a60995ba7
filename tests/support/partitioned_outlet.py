"""The way out of a queue of a partitioned log, in memory: strict about every call.

It does what a log on other machines may do: records come in lanes of their own, seconds after they
were accepted; counts lag behind or are missing; a commit may have happened of which nobody knows;
and lanes go to somebody else in the middle of it.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetter, Queue
from gateway.spool.outlet import Chunk, Holder, Lease, Settlement

__all__ = ["Message", "PartitionedLease", "PartitionedOutlet"]

_WELL: Iterator[str] = itertools.repeat("well")


class Message:
    """Some records of a lane.

    :param lines: those that have not come to an end; each with its newline.
    """

    def __init__(self, lane: int, offset: int, lines: Sequence[bytes], created_ms: int) -> None:
        self.id = (f"lane {lane}", offset)  # a text and a number: nobody can compare these wrongly
        self.lane = lane
        self.offset = offset
        self.lines = list(lines)
        self.created_ms = created_ms
        self.lease: PartitionedLease | None = None

    @property
    def is_free(self) -> bool:
        """Whether nobody works on it, and there is something to do."""
        return bool(self.lines) and self.lease is None


class PartitionedLease:
    """Messages of one lane.

    :ivar messages: not those that had come to an end when it was made.
    """

    def __init__(
        self, outlet: "PartitionedOutlet", messages: Sequence[Message], *, is_taken: bool
    ) -> None:
        self.chunks = [outlet.chunk(message) for message in messages]
        self.messages = messages
        self.lane: Hashable = messages[0].lane
        self.position = messages[0].offset
        self.is_lost = False
        self._outlet = outlet
        self._in_doubt: Settlement | None = None  # one that was applied, and nobody knows
        self._is_over = not is_taken
        if is_taken:
            for message in messages:
                assert message.is_free, "somebody else works on it"
                message.lease = self

    async def settle(self, settlement: Settlement) -> None:
        mood = next(self._outlet.moods, "well")
        await asyncio.sleep(0)
        if self.is_lost:
            return
        if mood == "fails":
            raise SpoolUnavailable("no broker answers")
        if self._in_doubt is not None:
            assert settlement == self._in_doubt, "another one, while nobody knows of the first"
            self._in_doubt = None
        else:
            self._apply(settlement)
            if mood == "fails after":
                self._in_doubt = settlement
                raise SpoolUnavailable("who knows")
        if settlement.remaining is None:
            self.release()

    def release(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        for message in self.messages:
            if message.lease is self:
                message.lease = None
        self._outlet.note_change()

    def lose(self) -> None:
        """Let somebody else have it."""
        self.release()
        self.is_lost = True

    def _apply(self, settlement: Settlement) -> None:
        remaining = settlement.remaining
        kept = [] if remaining is None else remaining.lines.splitlines(keepends=True)
        dead = [letter.payload + b"\n" for letter in settlement.dead]
        there = [line for message in self.messages for line in message.lines]
        if len(there) != settlement.delivered + len(dead) + len(kept):
            raise SpoolError("does not add up")
        assert remaining is None or (kept and remaining.records == len(kept))
        assert not Counter(kept) + Counter(dead) - Counter(there), "these were not in it"
        order = iter(there)
        assert all(line in order for line in kept), "the order has changed"
        for message in self.messages[1:]:
            message.lines = []
        self.messages[0].lines = kept
        self._outlet.end(settlement.delivered, settlement.dead)


class PartitionedOutlet:
    """Some lanes of messages, of which some are not here yet, and some are somebody else's.

    :param lanes: how many there are.
    :param counts: whether it is known how many records wait: ``exact``, ``lagging`` or ``missing``.
    :param lag_s: how long a message takes to come, and a count to be known.
    :param moods: of the storage at each settlement: ``well``, ``fails`` or ``fails after``.
    :param keep: is given each dead letter.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        lanes: int,
        counts: str = "exact",
        lag_s: float = 0.0,
        moods: Iterator[str] = _WELL,
        keep: Callable[[DeadLetter], None] = lambda _: None,
    ) -> None:
        self._keep = keep
        self.taking = asyncio.Lock()
        self.moods = moods
        self.lanes: list[list[Message]] = [[] for _ in range(lanes)]
        self.delivered = 0
        self.dead: list[DeadLetter] = []
        self.empty = asyncio.Event()
        self._queue = queue
        self._counts = counts
        self._lag_s = lag_s
        self._known = 0  # of what waits
        self._holder: Holder | None = None
        self._away: set[int] = set()  # lanes that are somebody else's
        self._taken: Counter[int] = Counter()  # by lane, the highest offset that was ever taken
        self._turn = 0
        self._offsets = itertools.count(1)
        self._timers: set[asyncio.TimerHandle] = set()

    # What tests do

    def add(self, lane: int, lines: Sequence[bytes], created_ms: int = 0) -> None:
        """Accept records; they come after a while."""
        message = Message(lane, next(self._offsets), lines, created_ms)
        self.empty.clear()
        if self._lag_s:
            self._later(lambda: self._arrive(message))
        else:
            self._arrive(message)

    def left(self) -> int:
        """Return how many records have not come to an end, as far as they are here."""
        return sum(len(message.lines) for lane in self.lanes for message in lane)

    def find(self, chunk_id: Hashable) -> Message:
        """Return a message that is here."""
        return next(m for lane in self.lanes for m in lane if m.id == chunk_id)

    async def give_away(self, lane: int, *, asks: bool) -> None:
        """Give a lane to somebody else.

        :param asks: whether the holder is asked first; otherwise it had been away for too long.
        """
        self._away.add(lane)
        if asks:
            await self._recall()
        for message in self.lanes[lane]:
            if message.lease is not None:
                message.lease.lose()
        if not asks:
            await self._recall()

    def get_back(self, lane: int) -> None:
        """Have a lane again."""
        self._away.discard(lane)
        self.note_change()

    def close(self) -> None:
        """Let nothing more come."""
        for timer in self._timers:
            timer.cancel()

    # What leases do

    def chunk(self, message: Message) -> Chunk:
        data = b"".join(message.lines)
        return Chunk(
            id=message.id,
            queue=self._queue,
            records=len(message.lines),
            raw_bytes=len(data),
            created_ms=message.created_ms,
            encoding="identity",
            payload=data,
        )

    def end(self, delivered: int, dead: Sequence[DeadLetter]) -> None:
        self.delivered += delivered
        self.dead += dead
        for letter in dead:
            self._keep(letter)
        self.note_change()

    def note_change(self) -> None:
        """Count anew, sooner or later, and wake the holder."""
        if self._counts == "lagging":
            known = self.left()
            self._later(lambda: setattr(self, "_known", known))
        if self._holder is not None:
            self._holder.wake()
        if not self.left():
            self.empty.set()

    # What an outlet does

    def attach(self, holder: Holder) -> None:
        assert self._holder is None, "one at a time"
        self._holder = holder

    def detach(self) -> None:
        self._holder = None
        for message in self._messages():
            if message.lease is not None:
                message.lease.release()

    @property
    def has_more(self) -> bool:
        return any(message.is_free for message in self._messages())

    @property
    def has_released(self) -> bool:
        return any(
            message.is_free and message.offset <= self._taken[message.lane]
            for message in self._messages()
        )

    def has_before(self, lease: Lease) -> bool:
        return any(
            message.is_free and message.lane == lease.lane and message.offset < lease.position
            for message in self._messages()
        )

    def waiting(self) -> int:
        if self._counts == "exact":
            return sum(len(message.lines) for message in self._messages() if message.is_free)
        return self._known

    async def take(self, max_records: int, max_bytes: int) -> Lease | None:
        async with self.taking:
            await asyncio.sleep(0)
            for _ in self.lanes:
                self._turn = (self._turn + 1) % len(self.lanes)
                if messages := self._next_of(self._turn, max_records, max_bytes):
                    last = messages[-1].offset
                    self._taken[self._turn] = max(self._taken[self._turn], last)
                    return PartitionedLease(self, messages, is_taken=True)
        return None

    async def samples(self, rng: Random, max_records: int, max_bytes: int) -> Sequence[Lease]:
        assert self.taking.locked()
        await asyncio.sleep(0)
        free = [message for message in self._messages() if message.is_free]
        free.sort(key=lambda message: -message.offset)
        chosen = dict.fromkeys([*free[:1], *rng.sample(free, min(2, len(free))), *free[-1:]])
        return [PartitionedLease(self, [message], is_taken=False) for message in chosen]

    async def following(
        self, start: Hashable, after: Hashable, max_records: int, max_bytes: int
    ) -> Lease | None:
        await asyncio.sleep(0)
        first = self.find(start)
        lanes = [*range(first.lane, len(self.lanes)), *range(first.lane)]
        walk = [m for lane in lanes for m in self.lanes[lane]]
        walk = walk[walk.index(first) + 1 :]
        seen = next((index for index, m in enumerate(walk) if m.id == after), -1)
        for message in walk[seen + 1 :]:
            if message.lines and message.lane not in self._away:
                return PartitionedLease(self, [message], is_taken=False)
        return None

    @asynccontextmanager
    async def withheld(self) -> AsyncIterator[frozenset[Hashable]]:
        await self._recall()
        async with self.taking:
            await self._recall()
            yield frozenset(m.id for m in self._messages() if m.lease is not None)

    def _next_of(self, lane: int, max_records: int, max_bytes: int) -> list[Message]:
        found: list[Message] = []
        records = size = 0
        for message in self.lanes[lane] if lane not in self._away else ():
            if not message.is_free:
                if found and message.lines:
                    break  # somebody works on what comes between
                continue
            records += len(message.lines)
            size += sum(map(len, message.lines))
            if found and (records > max_records or size > max_bytes):
                break
            found.append(message)
        return found

    def _messages(self) -> Iterator[Message]:
        for number, lane in enumerate(self.lanes):
            if number not in self._away:
                yield from lane

    def _arrive(self, message: Message) -> None:
        self.lanes[message.lane].append(message)
        self.note_change()

    async def _recall(self) -> None:
        if self._holder is not None:
            await self._holder.recall()

    def _later(self, call: Callable[[], object]) -> None:
        timer = asyncio.get_running_loop().call_later(self._lag_s, call)
        self._timers.add(timer)
