"""What is done about a file that looks damaged, and when: proof first, then a salvage."""

import logging
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import SpoolError
from gateway.spool.sqlite.files import Files, read_through
from gateway.spool.sqlite.metrics import SqliteMetrics
from gateway.spool.sqlite.recovery.salvage import salvage
from gateway.spool.sqlite.recovery.shadow_ledger import Memo
from gateway.telemetry import Telemetry

__all__ = ["Repair"]

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""When a salvage that failed is tried again."""

PATIENCE_S = 120.0
"""How long files that cannot be read are taken for a disk that will answer again."""

STRIKES = 3
"""How often within a minute a file that seems sound may look damaged."""


class Repair:
    """The state of one file's health.

    :ivar damage: why the file has to be salvaged, "" when it does not.
    """

    def __init__(self, path: Path, files: Files, *, clock: Clock, telemetry: Telemetry) -> None:
        self.damage = ""
        self._path = path
        self._files = files
        self._clock = clock
        self._metrics = telemetry.of(SqliteMetrics)
        self._salvage_after = float("-inf")
        self._unreadable_since: float | None = None
        self._strikes: list[float] = []  # when a file that looked damaged was found to be sound

    def read_through(self) -> None:
        """Make sure that it is not the disk: SQLite takes reads that fail for damage.

        :raises OSError: it is, and has not been for so long that it will stay so.
        """
        now = self._clock.monotonic()
        try:
            read_through(self._files.db)
            read_through(self._files.wal)
        except OSError:
            self._unreadable_since = self._unreadable_since or now
            if now - self._unreadable_since < PATIENCE_S:
                raise
        else:
            self._unreadable_since = None

    def is_cleared(self) -> bool:
        """Tell whether a file that was opened and checked is fit for use, whatever it looked like.

        Checks of a large one do not find everything: it may not look damaged too often.
        """
        if not self.damage:
            return True
        now = self._clock.monotonic()
        self._strikes = [each for each in self._strikes if now - each < 60.0]
        self._strikes.append(now)
        if len(self._strikes) >= STRIKES:
            return False
        self.damage = ""
        return True

    def salvage(self, memo: Memo | None) -> None:
        """Make a new file of what can be read; no connection to the old one may be open.

        :raises SpoolError, sqlite3.Error, OSError: not possible now.
        """
        self.read_through()
        now = self._clock.monotonic()
        if now < self._salvage_after:
            raise SpoolError(f"the next attempt is in {self._salvage_after - now:.0f} s")
        self._salvage_after = now + RETRY_S
        self._metrics.salvages.inc()
        result = salvage(self._files, memo, self._clock.now_ms(), confirm=self.read_through)
        self._salvage_after = now
        self._strikes.clear()
        log.error("the spool %s was damaged (%s): %s", self._path, self.damage, result)
        self.damage = ""
