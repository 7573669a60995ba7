"""Room for more: whether there is any, and giving back what is not needed."""

import os
from pathlib import Path

from gateway.clock import Clock
from gateway.model import Usage
from gateway.spool.sqlite.connection import Database
from gateway.spool.sqlite.reserve import RESERVE_BYTES, Reserve

__all__ = ["LOG_BYTES", "Room"]

LOG_BYTES = 16 * 1024 * 1024
"""What SQLite's log may take besides: it shrinks to this when nothing keeps it from that.

A reader that holds a snapshot, as a backup does, makes it grow by all that is written meanwhile.
"""

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
    :param log: the file's log.
    :param max_bytes: what the file may take.
    :param min_free_bytes: what the disk has to have left.
    :ivar usage: as of the last look.
    """

    def __init__(
        self,
        path: Path,
        database: Database,
        reserve: Reserve,
        *,
        log: Path,
        clock: Clock,
        max_bytes: int,
        min_free_bytes: int,
    ) -> None:
        self._path = path
        self._log = str(log)
        self._database = database
        self._reserve = reserve
        self._clock = clock
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._look_again = 0.0  # when, on a clock that never goes back
        self._free_pages = 0
        self.usage = Usage(capacity=max_bytes, min_free=min_free_bytes)

    def lack(self) -> str:
        """Give a step of what is free back; return why nothing may be stored, "" when it may.

        What an earlier transaction saw stays true for ``LOOK_EVERY_S`` where there is plenty, and
        nothing to be given back.
        """
        now = self._clock.monotonic()
        if now < self._look_again and not self._reserve.is_given_up:
            return ""
        self._look_again = 0.0
        if self._pragma("freelist_count") > KEPT_FREE_PAGES:
            for _ in range(VACUUM_PAGES):  # sqlite3 runs one step of it, which is one page
                self._database.execute("PRAGMA incremental_vacuum")
        if lack := self.look():
            return lack
        usage = self.usage
        left = min(usage.capacity - usage.used, usage.disk_free - usage.min_free)
        if left >= PLENTY_BYTES and self._free_pages <= KEPT_FREE_PAGES:
            self._look_again = now + LOOK_EVERY_S
        return ""

    def look(self) -> str:
        """Return why nothing may be stored, "" when it may; also outside a transaction."""
        self._free_pages = self._pragma("freelist_count")
        pages = self._pragma("page_count") - self._free_pages
        excess = max(0, self._log_bytes() - LOG_BYTES)
        disk = os.statvfs(self._path.parent)
        self.usage = usage = Usage(
            used=pages * self._pragma("page_size") + excess,
            capacity=self._max_bytes,
            disk_free=disk.f_bavail * disk.f_frsize,
            min_free=self._min_free_bytes,
        )
        if usage.used >= usage.capacity:
            full = f"the spool {self._path} is full: {usage.used} bytes of {usage.capacity}"
            if excess:
                return (
                    f"{full}, {excess} of them in {self._log}, which cannot be emptied while "
                    "something reads the spool, such as a backup: end that"
                )
            return f"{full}; delivery makes room, or raise spool.max_bytes"
        if self._reserve.is_given_up:
            return (
                f"the disk of the spool {self._path} is full; make room on it: "
                f"{2 * RESERVE_BYTES} bytes beyond spool.min_free_bytes"
            )
        if usage.disk_free < usage.min_free:
            return (
                f"the disk of the spool {self._path} is nearly full: {usage.disk_free} bytes free, "
                f"{usage.min_free} have to stay so; make room on it, or lower spool.min_free_bytes"
            )
        return ""

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._log).st_size  # noqa: PTH116  # at every other commit
        except FileNotFoundError:
            return 0

    def _pragma(self, name: str) -> int:
        value: int
        (value,) = self._database.row(f"PRAGMA {name}")
        return value
