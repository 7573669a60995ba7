"""Group commit: what arrives while a commit runs forms the next one.

So a commit costs the same however many requests share it, and there is no timer: the next one
begins when the event loop has no more to do for requests that have come.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import SpoolUnavailable
from gateway.model import Queue
from gateway.spool.recent_chunks import Fresh
from gateway.spool.sqlite.commands import Append, CommitResult, Totals, Work
from gateway.spool.sqlite.writer import Writer

__all__ = ["GroupCommit"]

log = logging.getLogger(__name__)

GROUP_BYTES = 8 * 1024 * 1024
"""Raw bytes in one transaction: about 10 ms of gzip, which everyone in the group waits for."""

GROUP_REQUESTS = 1024
"""Requests in one transaction: all of them are answered in one turn of the event loop, in 10 ms.
With a quarter of it 640 clients that sent again at once got a fifth less done, since a commit that
runs beside the event loop takes turns with it at the interpreter's lock."""

QUIET_TURNS = 3
"""Turns of the event loop that bring no request before a commit begins: so many pass from the bytes
of a request to its records, and from an answer to the next request of a fast client.  While the
loop is busy that halves the commits, and nobody waits longer, because they take its time as well.
When it is idle, such turns take some microseconds."""

GATHER_S = 0.02
"""How long this may take while requests come and come, and there is not a whole group of them."""

FAST_COMMIT_S = 0.05
MAX_TIMES = 16
"""Where a commit takes longer, the next one holds as many times more: a slow disk then takes as
many requests a second as before, and nobody waits for many commits."""

TRY_AT_ONCE_S = 0.02
"""When the first such attempt is made: much heals by being opened again."""

SEEN_S = 1.0
"""How long what the last commit has seen of the disk is believed."""

CHECK_S = 0.5
"""How long who asks waits for a commit that finds out; an answer in time is worth more."""

TRY_AGAIN_S = 1.0
"""How often a spool that does not accept finds out whether it can again, also when nobody asks."""


class _Request(msgspec.Struct, frozen=True):
    """Work that somebody waits for."""

    work: Work
    size: int
    done: asyncio.Future[Any]
    since: float  # in the time of the event loop

    def is_worthless(self, before: float) -> bool:
        """Whether its client was refused or has given up; what settles is awaited for ever."""
        is_late, is_done = self.since < before, self.done.done()
        if not (is_late or is_done):
            return False
        is_refused = is_done and not self.done.cancelled()
        return isinstance(self.work, Append) and (is_refused or is_late)


class GroupCommit:
    """The requests on their way to the writer, and the counters as its last commit left them.

    :param max_waiting_bytes: raw bytes in memory that may wait for a commit.
    :param max_wait_s: how long an append may wait for its commit to begin.  When a commit itself
        takes longer, the appends that wait are refused, and new ones at once, until it ends.
    :param fresh: is told what each commit has added.
    :ivar is_open: whether requests are taken.
    :ivar problem: why the next commit is likely to fail, "" when it is not.
    """

    def __init__(
        self,
        path: Path,
        writer: Writer,
        *,
        name: str,
        max_waiting_bytes: int,
        max_wait_s: float,
        fresh: Fresh,
    ) -> None:
        self.is_open = False
        self.problem = ""
        self.totals = Totals()
        self._fresh = fresh
        self._path = path
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._max_waiting_bytes = max_waiting_bytes
        self._max_wait_s = max_wait_s
        self._listeners: list[Callable[[Mapping[Queue, int | None]], None]] = []
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0  # with those in the running commit
        self._committer: asyncio.Task[None] | None = None  # while there is something to commit
        self._committing: list[_Request] = []
        self._commit_s = 0.0  # how long the last one took
        self._ended = 0.0  # when, in the time of the event loop
        self._is_stalled = False
        self._retry: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the file and take requests from now on.

        :raises SpoolError: the storage cannot be used.
        """
        loop = asyncio.get_running_loop()
        try:
            totals = await loop.run_in_executor(self._thread, self._writer.open)
        except BaseException:
            self._thread.submit(self._writer.close)  # it may still be opening
            self._thread.shutdown(wait=False)
            raise
        self.is_open = True
        self._publish([], CommitResult(totals=totals, problem=self._writer.problem))

    async def drain(self) -> None:
        """Take no more requests, and wait for those that were taken."""
        self.is_open = False
        if self._retry is not None:
            self._retry.cancel()
        await self.under_way()

    async def close(self) -> None:
        """Release the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
        self._thread.shutdown()

    def submit(self, work: Work, size: int = 0) -> asyncio.Future[Any]:
        """Queue work that adds so many raw bytes; results in what it results in.

        :raises SpoolUnavailable: (from the future) nothing of it was done.
        """
        if not self.is_open:
            return _failed_future(SpoolUnavailable(f"the spool {self._path} is not open"))
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Request(work, size, done, loop.time()))
        self._waiting_bytes += size
        self.start()
        return done

    def append(self, work: Append, size: int) -> Awaitable[None]:
        """Queue the records of a client, who does not wait for a disk that is too slow for them.

        :raises SpoolUnavailable: (from the future) nothing of it was kept.
        """
        if self._is_stalled:
            return _failed_future(SpoolUnavailable(self.problem))
        # A request alone may exceed the bound: waiting would not make it smaller.
        if self._waiting_bytes and self._waiting_bytes + size > self._max_waiting_bytes:
            detail = f"overloaded: {self._waiting_bytes} bytes wait for the disk of {self._path}"
            return _failed_future(SpoolUnavailable(detail, retry_after_s=2))
        return self.submit(work, size)

    def start(self) -> None:
        """Commit what waits; when nothing does, find out whether that would be possible."""
        # A task starts in the next turn of the loop, so all requests of this one share the commit.
        if self._committer is None:
            self._committer = asyncio.get_running_loop().create_task(self._commit_waiting())

    async def check(self) -> None:
        """Find out whether a commit is possible, unless one has just told."""
        if not self.is_open or asyncio.get_running_loop().time() - self._ended < SEEN_S:
            return
        self.start()
        if self._committer is not None:
            await asyncio.wait([self._committer], timeout=CHECK_S)

    async def under_way(self) -> bool:
        """Wait until nothing is to be committed; tell whether there was anything."""
        committer = self._committer
        if committer is not None:
            await asyncio.wait([committer])
        return committer is not None

    def report_damage(self, detail: str) -> None:
        """Have the file seen to."""
        self._writer.report_damage(detail)
        self.start()

    def on_commit(self, listener: Callable[[Mapping[Queue, int | None]], None]) -> None:
        """Call ``listener`` on the event loop after each commit that added chunks to queues.

        It gets the queues, each with its newest chunk; None where only the file knows that.
        """
        self._listeners.append(listener)

    async def _commit_waiting(self) -> None:
        """Commit group after group until nothing waits; one empty group when nothing did."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._gather()
                began = loop.time()
                requests = self._committing = self._take_group(began - self._max_wait_s)
                works = [request.work for request in requests]
                commit = partial(self._writer.commit, works)
                watch = loop.call_later(self._max_wait_s, self._stall)
                outcome = await loop.run_in_executor(self._thread, commit)
                watch.cancel()
                self._ended = loop.time()
                self._commit_s = self._ended - began
                self._is_stalled = False
                self._publish(requests, outcome)
                if not self._waiting:
                    return
        finally:
            self._committer = None

    async def _gather(self) -> None:
        """Let those come who are on their way, so that they share the commit."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GATHER_S
        quiet, count = 0, len(self._waiting)
        while quiet < QUIET_TURNS and not self._has_group() and loop.time() < until:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == count else 0
            count = len(self._waiting)

    def _has_group(self) -> bool:
        """Whether no more fits into the next commit."""
        return len(self._waiting) >= GROUP_REQUESTS or self._waiting_bytes >= GROUP_BYTES

    def _take_group(self, before: float) -> list[_Request]:
        """Return what the next commit holds.

        :param before: appends that came earlier are refused: their clients have given up, and send
            them again.
        """
        times = min(max(self._commit_s / FAST_COMMIT_S, 1.0), MAX_TIMES)
        requests: list[_Request] = []
        size = 0
        while self._waiting and len(requests) < GROUP_REQUESTS * times:
            request = self._waiting[0]
            if request.is_worthless(before):
                self._refuse_next()
                continue
            size += request.size
            if requests and size > GROUP_BYTES * times:
                break
            requests.append(self._waiting.popleft())
        return requests

    def _refuse_next(self) -> None:
        request = self._waiting.popleft()
        self._waiting_bytes -= request.size
        if not request.done.done():
            detail = f"the disk of the spool {self._path} is too slow for what is sent"
            request.done.set_exception(SpoolUnavailable(detail))

    def _publish(self, requests: Sequence[_Request], outcome: CommitResult) -> None:
        """Bring the counters up to date, then answer, then tell the listeners."""
        grown: dict[Queue, int | None] = {chunk.queue: chunk.id for chunk in outcome.fresh}
        if outcome.totals is None:
            self.totals.apply(outcome.changes)
        else:
            self._fresh.forget()
            self.totals = outcome.totals
            grown = {q: None for q, state in outcome.totals.queues.items() if state.chunks}
        self._fresh.add(outcome.fresh)
        if outcome.problem:
            self._try_again_later(TRY_AGAIN_S if self.problem else TRY_AT_ONCE_S)
        if outcome.problem and not self.problem:
            log.error("not accepting: %s", outcome.problem)
        elif self.problem and not outcome.problem:
            log.warning("the spool %s accepts again", self._path)
        self.problem = outcome.problem
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
        if not self.problem:
            self.problem = (
                f"the disk of the spool {self._path} has not answered for {self._max_wait_s:g} s"
            )
            log.error("not accepting: %s", self.problem)
        for request in (*self._committing, *self._waiting):
            if isinstance(request.work, Append) and not request.done.done():
                request.done.set_exception(SpoolUnavailable(self.problem))

    def _try_again_later(self, after_s: float) -> None:
        if self.is_open and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(after_s, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self.is_open and self.problem:
            self.start()


def _failed_future(error: SpoolUnavailable) -> asyncio.Future[Any]:
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    return failed
