"""The spool in one SQLite file a worker, as the event loop sees it.

One thread writes, one reads chunks, and two read what operators ask for, dead letters and pending
records, so that nobody waits for a search.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from gateway.clock import Clock
from gateway.errors import SpoolUnavailable
from gateway.model import (
    DeadLetter,
    Entry,
    Health,
    Ledger,
    Queue,
    QueueState,
    Usage,
    size_of,
)
from gateway.spool.chunks import NumberedChunk
from gateway.spool.dead_letters import LetterLimits
from gateway.spool.outlet import MAX_CHUNK_BYTES, MAX_CHUNK_RECORDS
from gateway.spool.recent_chunks import MAX_FRESH_BYTES, Fresh
from gateway.spool.sqlite.chunk_reader import ChunkReader
from gateway.spool.sqlite.commands import Append, SetAside, Settle
from gateway.spool.sqlite.connection import connect
from gateway.spool.sqlite.dead_letters.reader import LetterReader
from gateway.spool.sqlite.dead_letters.store import SqliteDeadLetters
from gateway.spool.sqlite.files import number_of
from gateway.spool.sqlite.group_commit import GroupCommit
from gateway.spool.sqlite.ids import FileIds
from gateway.spool.sqlite.outlet import SqliteOutlet
from gateway.spool.sqlite.pending.reader import PendingReader
from gateway.spool.sqlite.pending.store import SqlitePending
from gateway.spool.sqlite.read_thread import ReadingThread
from gateway.spool.sqlite.writer import Writer
from gateway.telemetry import Telemetry

__all__ = ["SqliteSpool"]

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Raw bytes that may wait for the disk: eight groups, so nobody waits longer than those take."""

MAX_WAIT_S = 10.0
"""How long a client waits for a disk that does not answer."""

REQUEST_BYTES = 1024
"""What a waiting request takes besides its records."""

_DEFAULT_LIMITS = LetterLimits()


class SqliteSpool:
    """The spool of one process, in ``directory/name.db``.

    :param directory: made with mode 0700 where it is missing.
    :param max_bytes: room on disk for what is kept; beyond it appends are refused.  One group of
        requests may go over it.
    :param min_free_bytes: what the disk has to have left for an append to be accepted.
    :param name: tells the spools of several workers in one directory apart.
    :param max_waiting_bytes: raw bytes in memory that may wait for a commit.
    :param letter_limits: of dead letters; those that are kept have a quarter of ``max_bytes`` at
        most, so that they never keep new records out.
    :param max_wait_s: when a commit takes longer, the appends that wait are refused, and new ones
        at once, until it ends.
    :param fresh_bytes: of what was committed last, kept in memory for delivery.
    :param connect: opens the database; tests give one that fails.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        telemetry: Telemetry,
        max_bytes: int,
        min_free_bytes: int,
        name: str = "worker-0",
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        letter_limits: LetterLimits = _DEFAULT_LIMITS,
        max_wait_s: float = MAX_WAIT_S,
        fresh_bytes: int = MAX_FRESH_BYTES,
        connect: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        self.path = path = directory / f"{name}.db"
        letter_bytes = min(letter_limits.max_bytes, max_bytes // 4)
        limits = replace(letter_limits, max_bytes=letter_bytes)
        ids = FileIds(number_of(name))
        self._writer = writer = Writer(
            path,
            connect,
            clock=clock,
            telemetry=telemetry,
            max_bytes=max_bytes,
            min_free_bytes=min_free_bytes,
            letter_limits=limits,
            on_replaced=self._release_readers,
        )
        self._fresh = Fresh(fresh_bytes)
        self._commits = GroupCommit(
            path,
            writer,
            name=f"spool-write-{name}",
            max_waiting_bytes=max_waiting_bytes,
            max_wait_s=max_wait_s,
            fresh=self._fresh,
        )
        self._reader = ChunkReader(path, connect)
        self._reading = ReadingThread(path, self._reader, self._commits, name=f"spool-read-{name}")
        letter_reader = LetterReader(path, connect, ids)
        self._letter_reading = ReadingThread(
            path, letter_reader, self._commits, name=f"letters-read-{name}"
        )
        self.dead_letters = SqliteDeadLetters(
            letter_reader, self._letter_reading, self._commits, ids=ids, limits=limits
        )
        pending_reader = PendingReader(path, connect, ids)
        self._pending_reading = ReadingThread(
            path, pending_reader, self._commits, name=f"pending-read-{name}"
        )
        self.pending = SqlitePending(
            *(pending_reader, self._pending_reading),
            ids=ids,
            settle=self.settle,
            set_damaged_aside=self._set_aside,
            outlet=self.outlet,
            queues=self.queues,
            health=self.health,
            kept=lambda: self.dead_letters.kept().values(),
            letter_bytes=letter_bytes,
        )
        self._outlets: dict[Queue, SqliteOutlet] = {}
        self._is_open = False
        self._closing = asyncio.Lock()
        self._skipped: set[int] = set()  # damaged chunks, whether or not they could be moved

    @property
    def place(self) -> str:
        """Where it keeps what it has, for people."""
        return str(self.path)

    async def open(self) -> None:
        """Find everything an earlier process left, and accept records from now on.

        A spool that was closed stays closed; make another one.

        :raises SpoolLocked: another process owns this spool.
        :raises SpoolError: the storage cannot be used.
        """
        try:
            await self._commits.open()
        except BaseException:
            self._reading.abandon()
            self._letter_reading.abandon()
            self._pending_reading.abandon()
            raise
        self._is_open = True
        self._commits.on_commit(self._grow)
        self.dead_letters.start()

    async def close(self) -> None:
        """Commit what was appended, then release the storage.  Idempotent."""
        self._commits.is_open = False
        async with self._closing:
            if not self._is_open:
                return
            await self.dead_letters.stop()
            await self._commits.drain()
            await self._reading.close()
            await self._letter_reading.close()
            await self._pending_reading.close()
            await self._commits.close()
            self._is_open = False

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        """Queue the records of one request; the result arrives when they are on disk.

        :raises SpoolUnavailable: (from the awaitable) nothing of it was kept.
        """
        return self._commits.append(Append(entries, dead), size_of(entries, dead) + REQUEST_BYTES)

    def outlet(self, queue: Queue) -> SqliteOutlet:
        """Return the way out of a queue, always the same one."""
        outlet = self._outlets.get(queue)
        if outlet is None:
            outlet = self._outlets[queue] = SqliteOutlet(queue, self)
        return outlet

    async def settle(self, settle: Settle) -> None:
        """Apply the end of chunks; returns when it is durable.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        :raises SpoolError: the chunks do not hold the records that it names; nothing changed.
        """
        remaining = settle.remaining
        self._fresh.note_read(settle.queue, max(settle.chunk_ids, default=0))
        await self._commits.submit(settle, len(remaining.lines) if remaining else 0)

    async def read(
        self,
        queue: Queue,
        *,
        after: int = 0,
        max_records: int = MAX_CHUNK_RECORDS,
        max_bytes: int = MAX_CHUNK_BYTES,
    ) -> list[NumberedChunk]:
        """Return waiting chunks with ``id > after``, in order, within both limits.

        The first one is returned even when it alone exceeds a limit.  Damaged ones are set aside.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        fresh = self._fresh.take(queue, after=after, max_records=max_records, max_bytes=max_bytes)
        if fresh is not None and self._commits.is_open:
            return fresh
        chunks: list[NumberedChunk] = []
        for _ in range(2):
            skip = frozenset(self._skipped)
            chunks, damaged = await self._reading.call(
                partial(self._reader.read, queue, after, max_records, max_bytes, skip)
            )
            seen = (*(chunk.id for chunk in chunks), *(each.chunk_id for each in damaged))
            self._fresh.note_read(queue, max(seen, default=after))
            if not damaged or await self._set_aside(damaged):
                break
            # They could not be moved: the file is seen to, and what it has then may be more.
            self._commits.start()
            await self._commits.under_way()
        return chunks

    async def newest_id(self, queue: Queue) -> int:
        """Return the id of the newest waiting chunk, 0 where none waits.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        return await self._reading.call(partial(self._reader.newest_of, queue))

    def ledger(self) -> Mapping[str, Ledger]:
        """Return the committed counters by destination."""
        pending: Counter[str] = Counter()
        for queue, state in self._commits.totals.queues.items():
            pending[queue.destination] += state.pending
        counts = self._commits.totals.ledger
        return {
            destination: msgspec.structs.replace(
                counts.get(destination, Ledger()), pending=pending[destination]
            )
            for destination in counts.keys() | pending.keys()
        }

    def queues(self) -> Mapping[Queue, QueueState]:
        """Return what is waiting, by queue; queues that were never used are absent."""
        return dict(self._commits.totals.queues)

    def health(self) -> Health:
        """Return whether the next append is likely to succeed.

        When it is not, each call also tries a commit in the background: a gateway that reports
        itself as not ready gets no appends that would find out.
        """
        commits = self._commits
        if not commits.is_open:
            return Health(accepting=False, detail=f"the spool {self.path} is not open")
        if commits.problem:
            commits.start()
        return Health(accepting=not commits.problem, detail=commits.problem)

    async def check(self) -> Health:
        """Find out whether an append would succeed now, unless that has just been seen."""
        await self._commits.check()
        is_open, problem = self._commits.is_open, self._commits.problem
        detail = problem if is_open else f"the spool {self.path} is not open"
        return Health(accepting=not detail, detail=detail)

    def usage(self) -> Usage:
        """Return how much room there was at the last look."""
        return self._writer.usage()

    def records_in(self, queue: Queue) -> int:
        """Return how many records wait in a queue."""
        state = self._commits.totals.queues.get(queue)
        return 0 if state is None else state.pending

    def _grow(self, grown: Mapping[Queue, int | None]) -> None:
        for queue, newest in grown.items():
            if (outlet := self._outlets.get(queue)) is not None:
                outlet.grow(newest)

    def _release_readers(self) -> None:
        """Make the readers open the file that has taken the place of theirs (writer's thread)."""
        self._reading.release()
        self._letter_reading.release()
        self._pending_reading.release()

    async def _set_aside(self, damaged: Sequence[SetAside]) -> bool:
        """Take damaged chunks out of the queues; tell whether all are."""
        results = await asyncio.gather(*map(self._commits.submit, damaged), return_exceptions=True)
        for chunk, result in zip(damaged, results, strict=True):
            if isinstance(result, SpoolUnavailable):
                continue  # the next read finds it again
            self._skipped.add(chunk.chunk_id)
        return not any(isinstance(result, SpoolUnavailable) for result in results)
