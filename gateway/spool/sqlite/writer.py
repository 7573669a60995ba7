"""Commits: everything that changes the spool's file, one transaction a group of requests."""

import errno
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import Usage
from gateway.spool.dead_letters import LetterLimits
from gateway.spool.sqlite.commands import Append, Changes, CommitResult, Totals, Work
from gateway.spool.sqlite.connection import is_damage
from gateway.spool.sqlite.dead_letters.table import Letterbox
from gateway.spool.sqlite.file import SpoolFile
from gateway.spool.sqlite.files import Files
from gateway.spool.sqlite.metrics import SqliteMetrics
from gateway.spool.sqlite.space import Room
from gateway.spool.sqlite.transaction import Contents
from gateway.telemetry import Telemetry

__all__ = ["Writer"]

log = logging.getLogger(__name__)


class Writer:
    """Makes groups durable, or refuses them and says why; belongs to one thread.

    :param on_replaced: called when readers have to open the file again.
    :ivar problem: why nothing could be stored when the file was opened, "" when it could.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        *,
        clock: Clock,
        telemetry: Telemetry,
        max_bytes: int,
        min_free_bytes: int,
        letter_limits: LetterLimits,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem = ""
        self._path = path
        self._clock = clock
        self._telemetry, self._metrics = telemetry, telemetry.of(SqliteMetrics)
        self._min_free_bytes = min_free_bytes
        self._file = SpoolFile(
            path, connect, clock=clock, telemetry=telemetry, on_replaced=on_replaced
        )
        self._memory, self._reserve = self._file.memory, self._file.reserve
        self._repair = self._file.repair
        self._letters = Letterbox(self._file.execute, clock=clock, limits=letter_limits)
        self._room = room = Room(
            *(path, self._file, self._reserve),
            log=Files(path).wal,
            clock=clock,
            max_bytes=max_bytes,
            min_free_bytes=min_free_bytes,
        )
        self._contents = Contents(self._file, self._memory, self._letters, room, clock)
        self._is_stale = True  # whether the counters have to be read again

    def open(self) -> Totals:
        """Take the lock, find what is there, and return the counters.

        A damaged file that cannot be salvaged now is a ``problem``, not an error.

        :raises SpoolError: the spool cannot be used.
        """
        try:
            self._file.take()
            totals = self._reconnect()
            self.problem = self._room.look()
            return totals
        except (sqlite3.Error, OSError, SpoolError) as error:
            self._file.disconnect()
            if self._repair.damage:
                self.problem = self._problem(error)
                return Totals()
            self.close()
            if isinstance(error, SpoolError):
                raise
            raise SpoolError(
                f"cannot open the spool {self._path}: {error}; check the file and its directory"
            ) from error

    def close(self) -> None:
        """Release the storage.  Idempotent."""
        self._file.close()

    def usage(self) -> Usage:
        """Return how much room there was at the last look (any thread)."""
        return self._room.usage

    def report_damage(self, detail: str) -> None:
        """See to the file before the next commit (any thread)."""
        self._repair.damage = detail

    def commit(self, works: Sequence[Work]) -> CommitResult:
        """Make a group durable; an empty one only finds out whether that is possible."""
        self._reserve.take(self._min_free_bytes)
        outcome = self._commit(works)
        if not outcome.is_disk_full or not self._reserve.give_up():
            return outcome
        # Deliveries make room; they may use what was kept for them.
        log.warning("the disk of %s is full: the reserve is given up", self._path)
        places = [i for i, work in enumerate(works) if not isinstance(work, Append)]
        again = self._commit([works[i] for i in places])
        refused = {i: error for i, error in outcome.refused.items() if i not in places}
        again.refused = refused | {places[i]: error for i, error in again.refused.items()}
        again.results = {places[i]: result for i, result in again.results.items()}
        again.problem = again.problem or outcome.problem
        return again

    def _commit(self, works: Sequence[Work]) -> CommitResult:
        started = self._clock.monotonic()
        file, contents = self._file, self._contents
        try:
            reread = self._is_stale or bool(self._repair.damage) or not file.has_names()
            if reread:
                self._reconnect()
            file.execute("BEGIN IMMEDIATE")
            outcome = contents.apply(works)
            if reread or outcome.changes.has_damage:
                outcome.totals = contents.read()
            file.execute("COMMIT")
            if not file.has_names():
                raise SpoolError("its files were moved or deleted during a commit")
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError | SpoolError):
                log.exception("a bug in the spool")  # and still everyone gets an answer
            return self._refuse(works, error)
        self._letters.committed(outcome)
        self._memory.write({name: contents.rows[name] for name in outcome.changes.ledger})
        self._telemetry.spool_commits.inc()
        self._telemetry.spool_commit_seconds.observe(self._clock.monotonic() - started)
        self._tell_of_damage(outcome.changes)
        return outcome

    def _tell_of_damage(self, changes: Changes) -> None:
        for chunk in changes.damaged:
            self._metrics.damaged_chunks.inc()
            log.error(
                "chunk %d of %s in %s is damaged (%s): moved to the table damaged_chunks, "
                "its records count as dead letters",
                *(chunk.chunk_id, "/".join(chunk.queue), self._path, chunk.reason),
            )
        for letter_id in changes.damaged_letters:
            self._metrics.damaged_letters.inc()
            log.error(
                "dead letter %d in %s is damaged: moved to the table damaged_letters, it counts "
                "as lost",
                *(letter_id, self._path),
            )

    def _refuse(self, works: Sequence[Work], error: Exception) -> CommitResult:
        """Refuse a whole group.

        What a failed COMMIT left behind is unknown, so the counters are read again: now if that
        works, else before the next group.
        """
        self._telemetry.spool_failures.inc()
        self._is_stale = True
        repair = self._repair
        if isinstance(error, sqlite3.Error) and is_damage(error) and not repair.damage:
            repair.damage = str(error)
            log.error("the spool %s is damaged: %s", self._path, error)
        problem = self._problem(error)
        outcome = CommitResult(problem=problem, is_disk_full=_is_disk_full(error))
        outcome.refused.update((i, SpoolUnavailable(problem)) for i in range(len(works)))
        try:
            # The connection may be all that still leads to the records: it stays for now.
            self._file.roll_back()
            if not repair.damage:  # that takes long, and these clients get their answer first
                outcome.totals = self._reconnect()
        except (sqlite3.Error, OSError, SpoolError) as again:
            log.debug("%s cannot be read either: %s", self._path, again)
        return outcome

    def _reconnect(self) -> Totals:
        totals = self._file.reconnect(self._contents)
        self._is_stale = False
        return totals

    def _problem(self, error: Exception) -> str:
        if self._repair.damage:
            return (
                f"the spool {self._path} is damaged ({self._repair.damage}); what can be read of "
                f"it is being saved, which needs as much room as it takes: {error}"
            )
        return (
            f"cannot write to the spool {self._path}: {error}; once that is mended, the gateway "
            "goes on by itself"
        )


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
