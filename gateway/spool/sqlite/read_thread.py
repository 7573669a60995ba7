"""Reading the spool's file from the event loop, in a thread, while others write to it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.errors import SpoolUnavailable
from gateway.spool.sqlite.connection import Database, is_damage
from gateway.spool.sqlite.group_commit import GroupCommit

__all__ = ["ReadingThread"]

_T = TypeVar("_T")


class ReadingThread:
    """A connection that only reads, and the thread that it belongs to.

    :param commits: sees to a file that looks damaged.
    """

    def __init__(self, path: Path, database: Database, commits: GroupCommit, *, name: str) -> None:
        self._path = path
        self._database = database
        self._commits = commits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._is_closed = False

    async def call(self, function: Callable[[], _T]) -> _T:
        """Run a function that reads; once more when the file was seen to meanwhile.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        try:
            return await self._once(function)
        except SpoolUnavailable:
            if not await self._commits.under_way():
                raise
            return await self._once(function)

    def release(self) -> None:
        """Read from the file that has taken the place of the one that is open (any thread)."""
        self._thread.submit(self._database.disconnect)

    async def close(self) -> None:
        """Release the file.  Idempotent: a stop that is cut short is followed by another."""
        if self._is_closed:
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._database.disconnect)
        self._thread.shutdown()
        self._is_closed = True

    def abandon(self) -> None:
        """End the thread of a file that was never opened."""
        self._thread.shutdown(wait=False)

    async def _once(self, function: Callable[[], _T]) -> _T:
        if not self._commits.is_open:
            raise SpoolUnavailable(f"the spool {self._path} is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function)
        except sqlite3.Error as error:
            await loop.run_in_executor(self._thread, self._database.disconnect)
            if is_damage(error):
                self._commits.report_damage(str(error))
            raise SpoolUnavailable(f"cannot read the spool {self._path}: {error}") from error
