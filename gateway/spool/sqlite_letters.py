"""The dead letters of the SQLite spool, for the event loop."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.spool.base import StoredDeadLetter
from gateway.spool.dead_letters import Filter, Group, Kept, Replacement
from gateway.spool.letter_reader import LetterReader
from gateway.spool.work import Expire, Purge, Replay, Totals, Work
from gateway.telemetry import Telemetry

__all__ = ["SqliteDeadLetters"]

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 60.0
"""How often the limits are looked at while nothing is committed."""

_T = TypeVar("_T")


class SqliteDeadLetters:
    """Reads in a thread of its own; changes go through the spool's writer with everything else.

    :param submit: queues work, with the bytes that it adds, for the writer; results in its result.
    :param totals: the committed counters.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        *,
        submit: Callable[[Work, int], Awaitable[Any]],
        totals: Callable[[], Totals],
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._submit = submit
        self._totals = totals
        self._telemetry = telemetry
        self._reader = LetterReader(path, connect)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"letters-read-{path.stem}")
        self._ticker: asyncio.Task[None] | None = None
        self._damaged: set[int] = set()  # those that were counted

    def start(self) -> None:
        """Begin to look at the limits once in a while."""
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """Release the storage.  Idempotent."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            await asyncio.wait([ticker])
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._reader.disconnect)
        self._thread.shutdown(wait=False)

    def release(self) -> None:
        """Read from the file that has taken the place of the one that is open (any thread)."""
        self._thread.submit(self._reader.disconnect)

    async def page(
        self, wanted: Filter, *, after: int = 0, limit: int = 100, max_bytes: int = 1 << 20
    ) -> list[StoredDeadLetter]:
        """Return dead letters with ``id > after``, oldest first, within both limits."""
        letters = await self._read(partial(self._reader.page, wanted, after, limit, max_bytes))
        for letter in letters:
            if letter.is_damaged and letter.id not in self._damaged:
                self._damaged.add(letter.id)
                self._telemetry.letters_damaged.inc()
                log.error("dead letter %d in %s is damaged; it is not sent", letter.id, self._path)
        return letters

    async def ids(self, wanted: Filter, *, after: int = 0, limit: int = 100) -> list[int]:
        """Return the ids of dead letters with ``id > after``, oldest first."""
        return await self._read(partial(self._reader.ids, wanted, after, limit))

    async def groups(self, wanted: Filter) -> list[Group]:
        """Return counts by destination, endpoint, kind and reason, the most frequent first."""
        return await self._read(partial(self._reader.groups, wanted))

    async def newest_id(self) -> int:
        """Return the id of the newest dead letter, 0 when there is none."""
        return await self._read(self._reader.newest_id)

    async def replay(self, replacements: Sequence[Replacement]) -> frozenset[int]:
        """Put records in the place of dead letters; return whose was taken."""
        size = sum(len(entry.lines) for each in replacements for entry in each.entries)
        taken: frozenset[int] = await self._submit(Replay(replacements), size)
        return taken

    async def purge(self, ids: Collection[int]) -> int:
        """Delete dead letters for good; return how many of them were there."""
        purged: int = await self._submit(Purge(tuple(ids)), 0)
        return purged

    def kept(self) -> Mapping[str, Kept]:
        """Return what is kept, by destination."""
        return {name: kept for name, kept in self._totals().kept.items() if kept.letters}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            try:
                while await self._submit(Expire(), 0):
                    pass
            except SpoolError:
                pass  # the spool has told of it

    async def _read(self, call: Callable[[], _T]) -> _T:
        if self._ticker is None:
            raise SpoolUnavailable(f"the spool {self._path} is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call)
        except sqlite3.Error as error:
            await loop.run_in_executor(self._thread, self._reader.disconnect)
            raise SpoolUnavailable(f"cannot read the spool {self._path}: {error}") from error
