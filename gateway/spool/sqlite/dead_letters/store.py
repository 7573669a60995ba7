"""The dead letters of the SQLite spool, for the event loop."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetterCount, StoredDeadLetter
from gateway.spool.dead_letters import Filter, LetterGroup, LetterLimits, Replacement
from gateway.spool.sqlite.commands import Expire, Purge, Replay, SetAsideLetters
from gateway.spool.sqlite.dead_letters.reader import LetterReader
from gateway.spool.sqlite.group_commit import GroupCommit
from gateway.spool.sqlite.ids import FileIds
from gateway.spool.sqlite.read_thread import ReadingThread

__all__ = ["SqliteDeadLetters"]

EXPIRE_EVERY_S = 60.0
"""How often the limits are looked at while nothing is committed."""


class SqliteDeadLetters:
    """Reads in a thread of its own; changes go through the spool's writer with everything else.

    :param reader: what ``reading`` reads with.
    :param ids: what letters are called outside.
    :param limits: those in force.
    """

    def __init__(
        self,
        reader: LetterReader,
        reading: ReadingThread,
        commits: GroupCommit,
        *,
        ids: FileIds,
        limits: LetterLimits,
    ) -> None:
        self.limits = limits
        self._ids = ids
        self._reader = reader
        self._reading = reading
        self._commits = commits
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the limits once in a while."""
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """End that.  Idempotent."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            await asyncio.wait([ticker])

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, max_bytes: int = 1 << 20
    ) -> list[StoredDeadLetter]:
        """Return the dead letters after one, oldest first, within both limits.

        Damaged ones are set aside.
        """
        before: list[int] = []
        start = self._ids.bound(after)
        while True:
            read = partial(self._reader.page, wanted, start, limit, max_bytes)
            letters, damaged = await self._reading.call(read)
            if not damaged:
                return letters
            if damaged == before:
                if letters:
                    return letters
                raise SpoolUnavailable(f"dead letters that cannot be read: {damaged}")
            before = damaged
            try:
                await self._commits.submit(SetAsideLetters(damaged))
            except SpoolUnavailable:
                # They could not be moved: the file is seen to, and has others then.
                self._commits.start()
                await self._commits.under_way()

    async def ids(self, wanted: Filter, *, after: str = "", limit: int = 100) -> list[str]:
        """Return the ids of the dead letters after one, oldest first."""
        start = self._ids.bound(after)
        found = await self._reading.call(partial(self._reader.ids, wanted, start, limit))
        return [self._ids.text(own_id) for own_id in found]

    async def groups(self, wanted: Filter) -> list[LetterGroup]:
        """Return counts by destination, endpoint, kind and reason, the most frequent first."""
        return await self._reading.call(partial(self._reader.groups, wanted))

    async def newest_id(self) -> str:
        """Return the id of the newest dead letter; one below all that will come where none is."""
        return self._ids.text(await self._reading.call(self._reader.newest_id))

    async def replay(self, replacements: Sequence[Replacement]) -> frozenset[str]:
        """Put records in the place of dead letters; return whose was taken."""
        size = sum(len(entry.lines) for each in replacements for entry in each.entries)
        entries = {
            own_id: each.entries
            for each in replacements
            for own_id in self._ids.own([each.letter_id])
        }
        taken: frozenset[int] = await self._commits.submit(Replay(entries), size)
        return frozenset(self._ids.text(own_id) for own_id in taken)

    async def purge(self, ids: Collection[str]) -> int:
        """Delete dead letters for good; return how many of them were there."""
        purged: int = await self._commits.submit(Purge(self._ids.own(ids)), 0)
        return purged

    def kept(self) -> Mapping[str, DeadLetterCount]:
        """Return what is kept, by destination."""
        return {name: kept for name, kept in self._commits.totals.kept.items() if kept.letters}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            try:
                while await self._commits.submit(Expire(), 0):
                    pass
            except SpoolError:
                pass  # the spool has told of it
