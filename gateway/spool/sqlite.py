"""The spool in one SQLite file a worker.

``SqliteSpool`` lives on the event loop: it collects requests, keeps the counters and answers.
``Writer`` and ``Reader`` own a connection each, in a thread each.  What arrives while a commit
runs forms the next one, so a commit costs the same however many requests share it.
"""

import asyncio
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.errors import SpoolUnavailable
from gateway.spool.base import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_RECORDS,
    Chunk,
    DeadLetter,
    Entry,
    Health,
    Ledger,
    Queue,
    QueueState,
    Settlement,
    StoredDeadLetter,
)
from gateway.spool.database import connect, is_damage
from gateway.spool.dead_letters import Filter, Limits
from gateway.spool.reader import Reader
from gateway.spool.sqlite_letters import SqliteDeadLetters
from gateway.spool.work import Append, Outcome, SetAside, Totals, Work
from gateway.spool.writer import Writer
from gateway.telemetry import Telemetry

__all__ = ["SqliteSpool"]

log = logging.getLogger(__name__)

GROUP_BYTES = 8 * 1024 * 1024
"""Raw bytes in one transaction: about 10 ms of gzip, which everyone in the group waits for."""

GROUP_REQUESTS = 256
"""Requests in one transaction: all of them are answered in one turn of the event loop."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Raw bytes that may wait for the disk: eight groups, so nobody waits longer than those take."""

MAX_WAIT_S = 10.0
"""How long a client waits for a disk that does not answer."""

TRY_AT_ONCE_S = 0.02
"""When the first such attempt is made: much heals by being opened again."""

TRY_AGAIN_S = 1.0
"""How often a spool that does not accept finds out whether it can again, also when nobody asks."""

REQUEST_BYTES = 1024
"""What a waiting request takes besides its records."""

_DEFAULT_LIMITS = Limits()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Request:
    """Work that somebody waits for."""

    work: Work
    size: int
    done: asyncio.Future[Any]


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
        letter_limits: Limits = _DEFAULT_LIMITS,
        max_wait_s: float = MAX_WAIT_S,
        connect: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        path = directory / f"{name}.db"
        self.path = self._path = path
        self._telemetry = telemetry
        self._max_waiting_bytes = max_waiting_bytes
        letter_bytes = min(letter_limits.max_bytes, max_bytes // 4)
        self.letter_limits = replace(letter_limits, max_bytes=letter_bytes)
        self._max_wait_s = max_wait_s
        self._writer = Writer(
            path,
            connect,
            clock=clock,
            telemetry=telemetry,
            max_bytes=max_bytes,
            min_free_bytes=min_free_bytes,
            letter_limits=self.letter_limits,
        )
        self._reader = Reader(path, connect)
        self._writer.on_replaced = self._release_readers
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix=f"spool-write-{name}")
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix=f"spool-read-{name}")
        self._is_open = False
        self._accepting = False
        self._closing = asyncio.Lock()
        self._problem = ""
        self._totals = Totals()
        self._listeners: list[Callable[[frozenset[Queue]], None]] = []
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0  # with those in the running commit
        self._committer: asyncio.Task[None] | None = None  # while there is something to commit
        self._committing: list[_Request] = []
        self._is_stalled = False
        self._retry: asyncio.TimerHandle | None = None
        self._skipped: set[int] = set()  # damaged chunks, whether or not they could be moved
        self.letters = SqliteDeadLetters(
            path,
            connect,
            submit=self._submit,
            totals=lambda: self._totals,
            telemetry=telemetry,
        )

    async def open(self) -> None:
        """Find everything an earlier process left, and accept records from now on.

        A spool that was closed stays closed; make another one.

        :raises SpoolLocked: another process owns this spool.
        :raises SpoolError: the storage cannot be used.
        """
        loop = asyncio.get_running_loop()
        try:
            totals = await loop.run_in_executor(self._writer_thread, self._writer.open)
        except BaseException:
            self._writer_thread.submit(self._writer.close)  # it may still be opening
            self._stop_threads(wait=False)
            raise
        self._is_open = self._accepting = True
        self._publish([], Outcome(totals=totals, problem=self._writer.problem))
        self.letters.start()

    async def close(self) -> None:
        """Commit what was appended, then release the storage.  Idempotent."""
        self._accepting = False
        async with self._closing:
            await self.letters.stop()
            if not self._is_open:
                return
            if self._retry is not None:
                self._retry.cancel()
            if self._committer is not None:
                await asyncio.wait([self._committer])
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._reader_thread, self._reader.disconnect)
            await loop.run_in_executor(self._writer_thread, self._writer.close)
            self._is_open = False
            self._stop_threads(wait=True)

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        """Queue the records of one request; the result arrives when they are on disk.

        :raises SpoolUnavailable: (from the awaitable) nothing of it was kept.
        """
        size = sum(len(entry.lines) for entry in entries)
        size += sum(len(letter.payload) for letter in dead)
        size += REQUEST_BYTES
        if self._is_stalled:
            return _failed_future(SpoolUnavailable(self._problem))
        # A request alone may exceed the bound: waiting would not make it smaller.
        if self._waiting_bytes and self._waiting_bytes + size > self._max_waiting_bytes:
            detail = f"overloaded: {self._waiting_bytes} bytes wait for the disk of {self._path}"
            return _failed_future(SpoolUnavailable(detail, retry_after_s=1))
        return self._submit(Append(entries, dead), size)

    async def settle(self, settlement: Settlement) -> None:
        """Apply the end of chunks; returns when it is durable.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        :raises SpoolError: the chunks do not hold the records that it names; nothing changed.
        """
        remaining = settlement.remaining
        await self._submit(settlement, len(remaining.lines) if remaining else 0)

    async def read(
        self,
        queue: Queue,
        *,
        after: int = 0,
        max_records: int = MAX_CHUNK_RECORDS,
        max_bytes: int = MAX_CHUNK_BYTES,
    ) -> list[Chunk]:
        """Return waiting chunks with ``id > after``, in order, within both limits.

        The first one is returned even when it alone exceeds a limit.  Damaged ones are set aside.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        chunks: list[Chunk] = []
        for _ in range(2):
            skip = frozenset(self._skipped)
            chunks, damaged = await self._in_reader(
                partial(self._reader.read, queue, after, max_records, max_bytes, skip)
            )
            if not damaged or await self._set_aside(damaged):
                break
            # They could not be moved: the file is seen to, and what it has then may be more.
            self._start_commit()
            if self._committer is not None:
                await asyncio.wait([self._committer])
        return chunks

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredDeadLetter]:
        """Return dead letters with ``id > after``, oldest first.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        return await self.letters.page(Filter(), after=after, limit=limit, max_bytes=1 << 40)

    def ledger(self) -> Mapping[str, Ledger]:
        """Return the committed counters by destination."""
        pending: Counter[str] = Counter()
        for queue, state in self._totals.queues.items():
            pending[queue.destination] += state.pending
        counts = self._totals.ledger
        return {
            destination: replace(counts.get(destination, Ledger()), pending=pending[destination])
            for destination in counts.keys() | pending.keys()
        }

    def queues(self) -> Mapping[Queue, QueueState]:
        """Return what is waiting, by queue; queues that were never used are absent."""
        return dict(self._totals.queues)

    def health(self) -> Health:
        """Return whether the next append is likely to succeed.

        When it is not, each call also tries a commit in the background: a gateway that reports
        itself as not ready gets no appends that would find out.
        """
        if not self._accepting:
            return Health(accepting=False, detail=f"the spool {self._path} is not open")
        if self._problem:
            self._start_commit()
        return Health(accepting=not self._problem, detail=self._problem)

    def on_commit(self, listener: Callable[[frozenset[Queue]], None]) -> None:
        """Call ``listener`` on the event loop after each commit that added chunks to queues."""
        self._listeners.append(listener)

    def _submit(self, work: Work, size: int = 0) -> asyncio.Future[Any]:
        if not self._accepting:
            return _failed_future(SpoolUnavailable(f"the spool {self._path} is not open"))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(work, size, done))
        self._waiting_bytes += size
        self._start_commit()
        return done

    def _start_commit(self) -> None:
        # A task starts in the next turn of the loop, so all requests of this one share the commit.
        if self._committer is None:
            self._committer = asyncio.get_running_loop().create_task(self._commit_waiting())

    async def _commit_waiting(self) -> None:
        """Commit group after group until nothing waits; one empty group when nothing did."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                requests = self._committing = self._take_group()
                works = [request.work for request in requests]
                commit = partial(self._writer.commit, works)
                watch = loop.call_later(self._max_wait_s, self._stall)
                outcome = await loop.run_in_executor(self._writer_thread, commit)
                watch.cancel()
                self._is_stalled = False
                self._publish(requests, outcome)
                if not self._waiting:
                    return
        finally:
            self._committer = None

    def _take_group(self) -> list[_Request]:
        requests: list[_Request] = []
        size = 0
        while self._waiting and len(requests) < GROUP_REQUESTS:
            size += self._waiting[0].size
            if requests and size > GROUP_BYTES:
                break
            requests.append(self._waiting.popleft())
        return requests

    def _publish(self, requests: Sequence[_Request], outcome: Outcome) -> None:
        """Bring the counters up to date, then answer, then tell the listeners."""
        grown = frozenset(outcome.changes.grown)
        if outcome.totals is None:
            self._totals.apply(outcome.changes)
        else:
            self._totals = outcome.totals
            grown = frozenset(q for q, state in outcome.totals.queues.items() if state.chunks)
        if outcome.problem:
            self._try_again_later(TRY_AGAIN_S if self._problem else TRY_AT_ONCE_S)
        if outcome.problem and not self._problem:
            log.error("not accepting: %s", outcome.problem)
        elif self._problem and not outcome.problem:
            log.warning("the spool %s accepts again", self._path)
        self._problem = outcome.problem
        for index, request in enumerate(requests):
            self._waiting_bytes -= request.size
            if request.done.done():
                continue  # its caller went away, or has waited for too long
            error = outcome.refused.get(index)
            if error is None:
                request.done.set_result(outcome.results.get(index))
            else:
                request.done.set_exception(error)
        if grown:
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.call_soon(listener, grown)  # its errors are not ours

    def _stall(self) -> None:
        """Refuse whom the running commit keeps waiting; it may still succeed, and nobody knows.

        Who settles waits on: no client waits for that, and it must know the result.
        """
        self._is_stalled = True
        if not self._problem:
            self._problem = (
                f"the disk of the spool {self._path} has not answered for {self._max_wait_s:g} s"
            )
            log.error("not accepting: %s", self._problem)
        for request in (*self._committing, *self._waiting):
            if isinstance(request.work, Append) and not request.done.done():
                request.done.set_exception(SpoolUnavailable(self._problem))

    def _try_again_later(self, after_s: float) -> None:
        if self._accepting and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(after_s, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._accepting and self._problem:
            self._start_commit()

    def _release_readers(self) -> None:
        """Make the readers open the file that has taken the place of theirs (writer's thread)."""
        self._reader_thread.submit(self._reader.disconnect)
        self.letters.release()

    async def _set_aside(self, damaged: Sequence[SetAside]) -> bool:
        """Take damaged chunks out of the queues; tell whether all are."""
        results = await asyncio.gather(*map(self._submit, damaged), return_exceptions=True)
        for chunk, result in zip(damaged, results, strict=True):
            if isinstance(result, SpoolUnavailable):
                continue  # the next read finds it again
            self._skipped.add(chunk.chunk_id)
        return not any(isinstance(result, SpoolUnavailable) for result in results)

    async def _in_reader(self, call: Callable[[], _T]) -> _T:
        try:
            return await self._read_once(call)
        except SpoolUnavailable:
            if self._committer is None:
                raise
            await asyncio.wait([self._committer])  # it may be seeing to the damage
            return await self._read_once(call)

    async def _read_once(self, call: Callable[[], _T]) -> _T:
        if not self._accepting:
            raise SpoolUnavailable(f"the spool {self._path} is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reader_thread, call)
        except sqlite3.Error as error:
            await loop.run_in_executor(self._reader_thread, self._reader.disconnect)
            if is_damage(error):
                self._writer.report_damage(str(error))
                self._start_commit()
            raise SpoolUnavailable(f"cannot read the spool {self._path}: {error}") from error

    def _stop_threads(self, *, wait: bool) -> None:
        self._reader_thread.shutdown(wait=wait)
        self._writer_thread.shutdown(wait=wait)


def _failed_future(error: SpoolUnavailable) -> asyncio.Future[None]:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    return failed
