"""Everything that changes the spool's file: one transaction a group of requests."""

import fcntl
import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import SpoolError, SpoolLocked, SpoolUnavailable
from gateway.spool.base import DeadLetter, Ledger, Queue, QueueState, Settlement
from gateway.spool.chunks import encode, group
from gateway.spool.database import Database, is_damage
from gateway.spool.dead_letters import Limits
from gateway.spool.letterbox import Letterbox
from gateway.spool.work import (
    Append,
    Changes,
    Expire,
    Outcome,
    Purge,
    Replay,
    SetAside,
    Totals,
    Work,
)
from gateway.telemetry import Telemetry

__all__ = ["FORMAT", "Writer"]

log = logging.getLogger(__name__)

FORMAT = 2
"""The newest file in ``schema/``; each spool says which it has in its ``user_version``."""

KEPT_FREE_PAGES = 4096
"""Free pages kept for reuse (16 MiB), so that everyday traffic never pays for moving pages."""

VACUUM_PAGES = 256
"""Free pages given back in one commit (1 MiB): more than a full chunk takes, so the file shrinks
while a backlog drains, and at 10 to 20 us a page only a few milliseconds."""

_PRAGMAS = (
    "auto_vacuum = INCREMENTAL",  # has to come before the first table
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = OFF",
    "secure_delete = FAST",  # some builds default to ON, which writes every deleted chunk again
    # 4 MiB.  The commit that checkpoints waits 10-20 ms for it; with four times as many pages it
    # waited 30-50 ms, and throughput was the same.
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 16777216",  # a log that something held open shrinks afterwards
)

_COUNTED = tuple(each.name for each in fields(Ledger) if each.name != "pending")
_COLUMNS = ", ".join(_COUNTED)
_READ_LEDGER = f"SELECT destination, {_COLUMNS} FROM ledger"  # noqa: S608  # our own names
_ADD_TO_LEDGER = (
    f"INSERT INTO ledger (destination, {_COLUMNS}) VALUES (?{', ?' * len(_COUNTED)})"  # noqa: S608
    " ON CONFLICT (destination) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTED)
)


class Writer(Database):
    """The only connection that changes the file."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        *,
        clock: Clock,
        telemetry: Telemetry,
        max_bytes: int,
        min_free_bytes: int,
        letter_limits: Limits,
    ) -> None:
        super().__init__(path, connect)
        self._clock = clock
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._lock: int | None = None
        self._queue_ids: dict[Queue, int] = {}
        self._letters = Letterbox(self._execute, clock=clock, limits=letter_limits)

    def open(self) -> Totals:
        """Take the lock, find what is there, and return the counters."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            return self._reconnect()
        except SpoolError:
            self.close()
            raise
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SpoolError(
                f"cannot open the spool {self._path}: {error}; check the file and its directory"
            ) from error

    def close(self) -> None:
        """Write the log into the file and release the lock.  Idempotent."""
        if self._connection is not None:
            try:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                log.warning("no last checkpoint of %s: %s; nothing is lost", self._path, error)
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def commit(self, works: Sequence[Work]) -> Outcome:
        """Make a group durable; an empty one only finds out whether that is possible."""
        started = self._clock.monotonic()
        try:
            reread = self._connection is None
            if reread:
                self._reconnect()
            self._execute("BEGIN IMMEDIATE")
            outcome = self._apply(works)
            if reread or outcome.changes.damaged:
                outcome.totals = self._read_totals()
            self._execute("COMMIT")
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError | SpoolError):
                log.exception("a bug in the spool")  # and still everyone gets an answer
            return self._refuse(works, error)
        self._letters.committed(outcome)
        self._telemetry.spool_commits.inc()
        self._telemetry.spool_commit_seconds.observe(self._clock.monotonic() - started)
        for chunk in outcome.changes.damaged:
            self._telemetry.spool_damaged.inc()
            log.error(
                "chunk %d of %s in %s is damaged (%s): moved to the table damaged_chunks, "
                "its records count as dead letters",
                *(chunk.chunk_id, "/".join(chunk.queue), self._path, chunk.reason),
            )
        return outcome

    def _refuse(self, works: Sequence[Work], error: Exception) -> Outcome:
        """Refuse a whole group.

        What a failed COMMIT left behind is unknown, so the counters are read again: now if that
        works, else before the next group.
        """
        self._telemetry.spool_failures.inc()
        problem = f"cannot write to the spool {self._path}: {error}; see to the disk, it will heal"
        outcome = Outcome(problem=problem)
        outcome.refused.update((i, SpoolUnavailable(problem)) for i in range(len(works)))
        self.disconnect()
        try:
            outcome.totals = self._reconnect()
        except (sqlite3.Error, OSError, SpoolError):
            self.disconnect()
        return outcome

    def _take_lock(self) -> None:
        path = self._path.with_suffix(".lock")
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolLocked(
                f"the spool {self._path} is in use: another process holds {path}; "
                "stop that process, or give this one another spool.path"
            ) from None

    def _reconnect(self) -> Totals:
        # SQLite gives its log files the mode of the main file: this is the only one to make.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        for directory in (self._path.parent, self._path.parent.parent):
            _sync_directory(directory)
        rows = self._execute("SELECT id, destination, endpoint FROM queues")
        self._queue_ids = {Queue(*names): queue_id for queue_id, *names in rows}
        return self._read_totals()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise SpoolError(
                f"the spool {self._path} has format {version}, newer than this gateway's {FORMAT}: "
                "run the version that wrote it, or choose another spool.path"
            )
        schema = files("gateway.spool").joinpath("schema")
        for step in range(version + 1, FORMAT + 1):
            script = schema.joinpath(f"{step}.sql").read_text(encoding="utf-8")
            connection.executescript(f"BEGIN; {script} PRAGMA user_version = {step}; COMMIT;")

    def _read_totals(self) -> Totals:
        totals = Totals()
        for destination, *counts in self._execute(_READ_LEDGER):
            totals.ledger[destination] = Ledger(**dict(zip(_COUNTED, counts, strict=True)))
        totals.kept = self._letters.count()
        sums = self._execute(
            "SELECT queue_id, COUNT(*), SUM(records) FROM chunks GROUP BY queue_id"
        )
        waiting = {queue_id: (chunks, records) for queue_id, chunks, records in sums}
        for queue, queue_id in self._queue_ids.items():
            if queue.endpoint:  # "" is for dead letters: nothing ever waits there
                chunks, records = waiting.get(queue_id, (0, 0))
                totals.queues[queue] = QueueState(
                    pending=records, chunks=chunks, oldest_ms=self._oldest_ms(queue_id)
                )
        return totals

    def _oldest_ms(self, queue_id: int) -> int | None:
        """Return the age of the first chunk: ids and times ascend together."""
        row = self._row(
            "SELECT created_ms FROM chunks WHERE queue_id = ? ORDER BY id LIMIT 1", (queue_id,)
        )
        return row[0] if row else None

    # One transaction

    def _apply(self, works: Sequence[Work]) -> Outcome:
        """Do everything of a transaction but beginning and ending it."""
        outcome = Outcome()
        appends: dict[int, Append | Replay] = {}
        written = self._row("SELECT total_changes()")
        for index, work in enumerate(works):
            if isinstance(work, Append | Replay):
                appends[index] = work
                continue
            if isinstance(work, Expire):
                continue  # every transaction goes such a step, below
            try:
                outcome.results[index] = self._do(work, outcome.changes)
            except SpoolError as error:
                outcome.refused[index] = error
        outcome.problem = self._lack_of_space()  # after settlements, which make room
        if outcome.problem:
            for index in appends:
                outcome.refused[index] = SpoolUnavailable(outcome.problem, retry_after_s=30)
        else:
            self._append(self._with_replayed(appends, outcome), outcome.changes)
        more = self._letters.expire(outcome.changes)
        outcome.results.update((i, more) for i, work in enumerate(works) if work == Expire())
        if self._row("SELECT total_changes()") == written:
            # What writes nothing tells nothing.  It is the same format, but it has to be written.
            self._execute(f"PRAGMA user_version = {FORMAT}")
        self._write_ledger(outcome.changes)
        return outcome

    def _do(self, work: Settlement | SetAside | Purge, changes: Changes) -> object:
        """Do what needs no room, and return what it results in."""
        match work:
            case Settlement():
                self._settle(work, changes)
            case SetAside():
                self._set_aside(work, changes)
            case Purge():
                return self._letters.purge(work, changes)
        return None

    def _with_replayed(
        self, appends: Mapping[int, Append | Replay], outcome: Outcome
    ) -> list[Append]:
        """Take the letters that are replayed, and return what is to be appended."""
        found = []
        for index, work in appends.items():
            if isinstance(work, Append):
                found.append(work)
                continue
            outcome.results[index], entries = self._letters.take(work, outcome.changes)
            found.append(Append(entries, ()))
        return found

    def _append(self, appends: Sequence[Append], changes: Changes) -> None:
        now_ms = self._clock.now_ms()
        for chunk in group(entry for append in appends for entry in append.entries):
            stored = encode(chunk)
            self._execute(
                "INSERT INTO chunks (queue_id, created_ms, records, raw_bytes, encoding, checksum,"
                " payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._queue_id(chunk.queue, changes), now_ms, *stored.columns()),
            )
            changes.count(chunk.queue.destination, Ledger(accepted=chunk.records))
            changes.move(chunk.queue, chunks=1, records=chunk.records)
            changes.grown.add(chunk.queue)
        for append in appends:
            for destination, count in self._keep(append.dead, now_ms, changes).items():
                changes.count(destination, Ledger(accepted=count, dead_lettered=count))

    def _settle(self, settlement: Settlement, changes: Changes) -> None:
        queue, remaining = settlement.queue, settlement.remaining
        queue_id = self._queue_ids.get(queue, 0)
        ids = json.dumps(settlement.chunk_ids)
        found, records = self._row(
            "SELECT COUNT(*), SUM(records) FROM chunks"
            " WHERE queue_id = ? AND id IN (SELECT value FROM json_each(?))",
            (queue_id, ids),
        )
        kept = remaining.records if remaining else 0
        named = settlement.delivered + len(settlement.dead) + kept
        if (found, records) != (len(settlement.chunk_ids), named):
            raise SpoolError(
                f"settlement of {'/'.join(queue)} names {named} records in "
                f"{len(settlement.chunk_ids)} chunks, on disk are {records or 0} in {found}"
            )
        first_id = min(settlement.chunk_ids)
        if remaining:
            self._execute(
                "UPDATE chunks SET records = ?, raw_bytes = ?, encoding = ?, checksum = ?,"
                " payload = ? WHERE id = ?",
                (*encode(replace(remaining, queue=queue)).columns(), first_id),
            )
        self._execute(
            "DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?)) AND id != ?",
            (ids, first_id if remaining else 0),
        )
        self._keep(settlement.dead, self._clock.now_ms(), changes)
        dead = len(settlement.dead)
        changes.count(queue.destination, Ledger(delivered=settlement.delivered, dead_lettered=dead))
        changes.move(queue, chunks=bool(remaining) - found, records=kept - records)

    def _set_aside(self, chunk: SetAside, changes: Changes) -> None:
        self._execute("SAVEPOINT set_aside")
        try:
            moved = self._execute(
                "INSERT INTO damaged_chunks SELECT id, ?, ?, queue_id, created_ms, records,"
                " raw_bytes, encoding, checksum, CASE ? WHEN 'checksum' THEN payload END"
                " FROM chunks WHERE id = ?",
                (self._clock.now_ms(), chunk.reason, chunk.reason, chunk.chunk_id),
            )
            self._execute("DELETE FROM chunks WHERE id = ?", (chunk.chunk_id,))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._execute("ROLLBACK TO set_aside")
            raise SpoolError(
                f"chunk {chunk.chunk_id} is {chunk.reason} and cannot be moved ({error}): it stays "
                "where it is, is passed over, and counts as pending"
            ) from error
        if moved.rowcount:
            changes.damaged.append(chunk)
        self._execute("RELEASE set_aside")

    def _keep(self, letters: Sequence[DeadLetter], now_ms: int, changes: Changes) -> Counter[str]:
        """Keep dead letters; return how many each destination got."""
        counts: Counter[str] = Counter()
        for letter in letters:
            self._letters.keep(letter, self._queue_id(letter.queue, changes), now_ms, changes)
            counts[letter.queue.destination] += 1
        return counts

    def _queue_id(self, queue: Queue, changes: Changes) -> int:
        queue_id = self._queue_ids.get(queue)
        if queue_id is None:
            self._execute("INSERT INTO queues (destination, endpoint) VALUES (?, ?)", queue)
            (queue_id,) = self._row("SELECT last_insert_rowid()")
            self._queue_ids[queue] = queue_id
            if queue.endpoint:
                changes.move(queue)
        return queue_id

    def _write_ledger(self, changes: Changes) -> None:
        for destination, delta in changes.ledger.items():
            counts = [getattr(delta, name) for name in _COUNTED]
            self._execute(_ADD_TO_LEDGER, (destination, *counts))
        if changes.damaged:
            # A damaged chunk cannot be trusted to say how many records it held, or whose.  The
            # ledger knows: those that were accepted and are nowhere else.
            self._execute(
                "UPDATE ledger SET dead_lettered = MAX(dead_lettered, accepted - delivered - ("
                " SELECT COALESCE(SUM(records), 0) FROM chunks JOIN queues ON queues.id = queue_id"
                " WHERE queues.destination = ledger.destination))"
            )
        for queue, moved in changes.queues.items():
            oldest_ms = self._oldest_ms(self._queue_ids[queue])
            changes.queues[queue] = replace(moved, oldest_ms=oldest_ms)

    def _lack_of_space(self) -> str:
        """Return why nothing more may be stored, "" when it may."""
        (free,) = self._row("PRAGMA freelist_count")
        if free > KEPT_FREE_PAGES:
            for _ in range(VACUUM_PAGES):  # sqlite3 runs one step of it, which is one page
                self._execute("PRAGMA incremental_vacuum")
            (free,) = self._row("PRAGMA freelist_count")
        (pages,) = self._row("PRAGMA page_count")
        (page_bytes,) = self._row("PRAGMA page_size")
        used = (pages - free) * page_bytes
        if used >= self._max_bytes:
            return (
                f"the spool {self._path} is full: {used} bytes of {self._max_bytes}; delivery "
                "makes room, or raise spool.max_bytes"
            )
        disk = os.statvfs(self._path.parent)
        disk_free = disk.f_bavail * disk.f_frsize
        if disk_free < self._min_free_bytes:
            return (
                f"the disk of the spool {self._path} is nearly full: {disk_free} bytes free, "
                f"{self._min_free_bytes} have to stay so; make room on it"
            )
        return ""


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, which syncing the files does not."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
