"""Room for more: whether there is any, and giving back what is not needed."""

import os
from pathlib import Path

from gateway.clock import Clock
from gateway.spool.database import Database
from gateway.spool.reserve import RESERVE_BYTES, Reserve

__all__ = ["Room"]

KEPT_FREE_PAGES = 4096
"""Free pages kept for reuse (16 MiB), so that everyday traffic never pays for moving pages."""

VACUUM_PAGES = 256
"""Free pages given back in one commit (1 MiB): more than a full chunk takes, so the file shrinks
while a backlog drains, and at 10 to 20 us a page only a few milliseconds."""

LOOK_EVERY_S = 0.1
PLENTY_BYTES = 256 * 1024 * 1024
"""Where so much is left, nobody looks again for a while: a commit takes a few milliseconds and
writes some MiB at most, and four questions are a good part of its CPU time."""


class Room:
    """The room of one file, in it and on its disk.

    :param database: the writer, inside a transaction.
    :param max_bytes: what the file may take.
    :param min_free_bytes: what the disk has to have left.
    """

    def __init__(
        self,
        path: Path,
        database: Database,
        reserve: Reserve,
        *,
        clock: Clock,
        max_bytes: int,
        min_free_bytes: int,
    ) -> None:
        self._path = path
        self._database = database
        self._reserve = reserve
        self._clock = clock
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._look_again = 0.0  # when, on a clock that never goes back

    def lack(self) -> str:
        """Give a step of what is free back; return why nothing may be stored, "" when it may.

        What an earlier transaction saw stays true for ``LOOK_EVERY_S`` where there is plenty, and
        nothing to be given back.
        """
        now = self._clock.monotonic()
        if now < self._look_again and not self._reserve.is_given_up:
            return ""
        self._look_again = 0.0
        free = self._pragma("freelist_count")
        if free > KEPT_FREE_PAGES:
            for _ in range(VACUUM_PAGES):  # sqlite3 runs one step of it, which is one page
                self._database.execute("PRAGMA incremental_vacuum")
            free = self._pragma("freelist_count")
        used = (self._pragma("page_count") - free) * self._pragma("page_size")
        if used >= self._max_bytes:
            return (
                f"the spool {self._path} is full: {used} bytes of {self._max_bytes}; delivery "
                "makes room, or raise spool.max_bytes"
            )
        disk = os.statvfs(self._path.parent)
        disk_free = disk.f_bavail * disk.f_frsize
        if self._reserve.is_given_up:
            return (
                f"the disk of the spool {self._path} is full; make room on it: "
                f"{2 * RESERVE_BYTES} bytes beyond spool.min_free_bytes"
            )
        if disk_free < self._min_free_bytes:
            return (
                f"the disk of the spool {self._path} is nearly full: {disk_free} bytes free, "
                f"{self._min_free_bytes} have to stay so; make room on it"
            )
        left = min(self._max_bytes - used, disk_free - self._min_free_bytes)
        if left >= PLENTY_BYTES and free <= KEPT_FREE_PAGES:
            self._look_again = now + LOOK_EVERY_S
        return ""

    def _pragma(self, name: str) -> int:
        value: int
        (value,) = self._database.row(f"PRAGMA {name}")
        return value
