"""The spool in one SQLite file a worker.

``SqliteSpool`` lives on the event loop: it collects requests, keeps the counters and answers.
``_Writer`` and ``_Reader`` own a connection each, in a thread each.  What arrives while a commit
runs forms the next one, so a commit costs the same however many requests share it.
"""

import asyncio
import fcntl
import json
import logging
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.errors import SpoolError, SpoolLocked, SpoolUnavailable
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
from gateway.spool.chunks import checksum, encode, group
from gateway.telemetry import Telemetry

__all__ = ["SqliteSpool", "connect"]

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of schema.sql, kept in the file's ``user_version``."""

GROUP_BYTES = 8 * 1024 * 1024
"""Raw bytes in one transaction: about 10 ms of gzip, which everyone in the group waits for."""

GROUP_REQUESTS = 256
"""Requests in one transaction: all of them are answered in one turn of the event loop."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Raw bytes that may wait for the disk: eight groups, so nobody waits longer than those take."""

REQUEST_BYTES = 1024
"""What a waiting request takes besides its records."""

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

_EMPTY = QueueState(pending=0, chunks=0, oldest_ms=None)

_T = TypeVar("_T")


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that begins no transaction on its own."""
    return sqlite3.connect(path, timeout=5.0, isolation_level=None)


@dataclass(frozen=True, slots=True)
class _Append:
    """The records of one request."""

    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True)
class _SetAside:
    """A chunk that delivery must never see."""

    queue: Queue
    chunk_id: int
    reason: str


_Work = _Append | Settlement | _SetAside


@dataclass(slots=True)
class _Changes:
    """What one transaction does to the counters."""

    ledger: dict[str, Ledger] = field(default_factory=dict)
    queues: dict[Queue, QueueState] = field(default_factory=dict)  # differences, except oldest_ms
    grown: set[Queue] = field(default_factory=set)
    damaged: list[_SetAside] = field(default_factory=list)

    def count(self, destination: str, delta: Ledger) -> None:
        self.ledger[destination] = self.ledger.get(destination, Ledger()) + delta

    def move(self, queue: Queue, *, chunks: int = 0, records: int = 0) -> None:
        before = self.queues.get(queue, _EMPTY)
        self.queues[queue] = replace(
            before, pending=before.pending + records, chunks=before.chunks + chunks
        )


@dataclass(slots=True)
class _Totals:
    """The committed counters; what is pending is in ``queues`` only."""

    ledger: dict[str, Ledger] = field(default_factory=dict)
    queues: dict[Queue, QueueState] = field(default_factory=dict)

    def apply(self, changes: _Changes) -> None:
        for destination, delta in changes.ledger.items():
            self.ledger[destination] = self.ledger.get(destination, Ledger()) + delta
        for queue, moved in changes.queues.items():
            before = self.queues.get(queue, _EMPTY)
            self.queues[queue] = QueueState(
                pending=before.pending + moved.pending,
                chunks=before.chunks + moved.chunks,
                oldest_ms=moved.oldest_ms,
            )


@dataclass(slots=True)
class _Outcome:
    """What became of a group.

    :param refused: by position, why a request was not kept; all others are on disk.
    :param totals: replaces the counters, in place of adding ``changes`` to them.
    :param problem: why the next append is likely to fail, "" when it is not.
    """

    refused: dict[int, SpoolError] = field(default_factory=dict)
    changes: _Changes = field(default_factory=_Changes)
    totals: _Totals | None = None
    problem: str = ""


class _Database:
    """One connection that is opened when it is needed, and dropped when it fails."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("closing the spool %s: %s", self._path, error)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        raise NotImplementedError

    def _execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            self._connection = self._connect(self._path)
            self._prepare(self._connection)
        return self._connection.execute(sql, values)

    def _row(self, sql: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._execute(sql, values).fetchone()
        return row


class _Writer(_Database):
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
    ) -> None:
        super().__init__(path, connect)
        self._clock = clock
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._lock: int | None = None
        self._queue_ids: dict[Queue, int] = {}

    def open(self) -> _Totals:
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
        if self._connection is not None:
            try:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                log.warning("no last checkpoint of %s: %s; nothing is lost", self._path, error)
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def commit(self, works: Sequence[_Work]) -> _Outcome:
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

    def _refuse(self, works: Sequence[_Work], error: Exception) -> _Outcome:
        """Refuse a whole group.

        What a failed COMMIT left behind is unknown, so the counters are read again: now if that
        works, else before the next group.
        """
        self._telemetry.spool_failures.inc()
        problem = f"cannot write to the spool {self._path}: {error}; see to the disk, it will heal"
        outcome = _Outcome(problem=problem)
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

    def _reconnect(self) -> _Totals:
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
        if version == 0:
            schema = files("gateway.spool").joinpath("schema.sql").read_text(encoding="utf-8")
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {FORMAT}; COMMIT;")

    def _read_totals(self) -> _Totals:
        totals = _Totals()
        for destination, accepted, delivered, dead_lettered in self._execute(
            "SELECT * FROM ledger"
        ):
            totals.ledger[destination] = Ledger(
                accepted=accepted, delivered=delivered, dead_lettered=dead_lettered
            )
        counts = self._execute(
            "SELECT queue_id, COUNT(*), SUM(records) FROM chunks GROUP BY queue_id"
        )
        waiting = {queue_id: (chunks, records) for queue_id, chunks, records in counts}
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

    def _apply(self, works: Sequence[_Work]) -> _Outcome:
        """Do everything of a transaction but beginning and ending it."""
        outcome = _Outcome()
        appends: dict[int, _Append] = {}
        for index, work in enumerate(works):
            try:
                match work:
                    case _Append():
                        appends[index] = work
                    case Settlement():
                        self._settle(work, outcome.changes)
                    case _SetAside():
                        self._set_aside(work, outcome.changes)
            except SpoolError as error:
                outcome.refused[index] = error
        outcome.problem = self._lack_of_space()  # after settlements, which make room
        if outcome.problem:
            for index in appends:
                outcome.refused[index] = SpoolUnavailable(outcome.problem, retry_after_s=30)
        else:
            self._append(list(appends.values()), outcome.changes)
        if not works:
            self._execute(f"PRAGMA user_version = {FORMAT}")  # the same, but it has to be written
        self._write_ledger(outcome.changes)
        return outcome

    def _append(self, appends: Sequence[_Append], changes: _Changes) -> None:
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
            for letter in append.dead:
                self._keep_dead_letter(letter, now_ms, changes)
                changes.count(letter.queue.destination, Ledger(accepted=1, dead_lettered=1))

    def _settle(self, settlement: Settlement, changes: _Changes) -> None:
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
        now_ms = self._clock.now_ms()
        for letter in settlement.dead:
            self._keep_dead_letter(letter, now_ms, changes)
        dead = len(settlement.dead)
        changes.count(queue.destination, Ledger(delivered=settlement.delivered, dead_lettered=dead))
        changes.move(queue, chunks=bool(remaining) - found, records=kept - records)

    def _set_aside(self, chunk: _SetAside, changes: _Changes) -> None:
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
            if not _is_damage(error):
                raise
            self._execute("ROLLBACK TO set_aside")
            raise SpoolError(
                f"chunk {chunk.chunk_id} is {chunk.reason} and cannot be moved ({error}): it stays "
                "where it is, is passed over, and counts as pending"
            ) from error
        if moved.rowcount:
            changes.damaged.append(chunk)
        self._execute("RELEASE set_aside")

    def _keep_dead_letter(self, letter: DeadLetter, now_ms: int, changes: _Changes) -> None:
        # A client's text may hold half of a surrogate pair, which SQLite cannot store.
        detail = letter.detail.encode("utf-8", "replace").decode("utf-8")
        self._execute(
            "INSERT INTO dead_letters (created_ms, queue_id, kind, reason, detail, payload)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                *(now_ms, self._queue_id(letter.queue, changes)),
                *(letter.kind, letter.reason, detail, letter.payload),
            ),
        )

    def _queue_id(self, queue: Queue, changes: _Changes) -> int:
        queue_id = self._queue_ids.get(queue)
        if queue_id is None:
            self._execute("INSERT INTO queues (destination, endpoint) VALUES (?, ?)", queue)
            (queue_id,) = self._row("SELECT last_insert_rowid()")
            self._queue_ids[queue] = queue_id
            if queue.endpoint:
                changes.move(queue)
        return queue_id

    def _write_ledger(self, changes: _Changes) -> None:
        for destination, delta in changes.ledger.items():
            self._execute(
                "INSERT INTO ledger VALUES (?, ?, ?, ?) ON CONFLICT (destination) DO UPDATE SET"
                " accepted = accepted + excluded.accepted,"
                " delivered = delivered + excluded.delivered,"
                " dead_lettered = dead_lettered + excluded.dead_lettered",
                (destination, delta.accepted, delta.delivered, delta.dead_lettered),
            )
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


class _Reader(_Database):
    """A connection that changes nothing and never waits for a commit."""

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        # A damaged text fails its checksum; it must not fail in the decoder before that.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def read(
        self, queue: Queue, after: int, max_records: int, max_bytes: int, skip: Set[int]
    ) -> tuple[list[Chunk], list[_SetAside]]:
        """Return chunks within the limits, and the damaged ones on the way to them."""
        chunks: list[Chunk] = []
        damaged: list[_SetAside] = []
        records = raw_bytes = 0
        ids = self._execute(
            "SELECT id FROM chunks WHERE id > ? AND queue_id ="
            " (SELECT id FROM queues WHERE destination = ? AND endpoint = ?) ORDER BY id",
            (after, *queue),
        )
        # Rows are loaded one by one, so that an unreadable one is known by its id.  They belong
        # to the snapshot of `ids` for as long as that is open.
        for (chunk_id,) in ids:
            if chunk_id in skip:
                continue
            chunk = self._load(queue, chunk_id)
            if isinstance(chunk, _SetAside):
                damaged.append(chunk)
                continue
            records += chunk.records
            raw_bytes += chunk.raw_bytes
            if chunks and (records > max_records or raw_bytes > max_bytes):
                break
            chunks.append(chunk)
        ids.close()
        return chunks, damaged

    def _load(self, queue: Queue, chunk_id: int) -> Chunk | _SetAside:
        """Return a chunk that is as it was written, or what is wrong with it."""
        try:
            row = self._row(
                "SELECT records, raw_bytes, encoding, checksum, payload, created_ms FROM chunks"
                " WHERE id = ?",
                (chunk_id,),
            )
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            row = None
        if row is None:
            return _SetAside(queue, chunk_id, "unreadable")
        records, raw_bytes, encoding, expected, payload, created_ms = row
        whole = isinstance(payload, bytes)
        if not whole or checksum(queue, records, raw_bytes, encoding, payload) != expected:
            return _SetAside(queue, chunk_id, "checksum")
        return Chunk(
            id=chunk_id,
            queue=queue,
            records=records,
            raw_bytes=raw_bytes,
            created_ms=created_ms,
            encoding=encoding,
            payload=payload,
        )

    def dead_letters(self, after: int, limit: int) -> list[StoredDeadLetter]:
        rows = self._execute(
            "SELECT dead_letters.id, created_ms, destination, endpoint, kind, reason, detail,"
            " payload FROM dead_letters JOIN queues ON queues.id = queue_id"
            " WHERE dead_letters.id > ? ORDER BY dead_letters.id LIMIT ?",
            (after, limit),
        )
        return [
            StoredDeadLetter(
                id=letter_id,
                created_ms=created_ms,
                letter=DeadLetter(
                    queue=Queue(destination, endpoint),
                    kind=kind,
                    reason=reason,
                    detail=detail,
                    payload=payload,
                ),
            )
            for letter_id, created_ms, destination, endpoint, kind, reason, detail, payload in rows
        ]


@dataclass(frozen=True, slots=True)
class _Request:
    """Work that somebody waits for."""

    work: _Work
    size: int
    done: asyncio.Future[None]


class SqliteSpool:
    """The spool of one process, in ``directory/name.db``.

    :param directory: made with mode 0700 where it is missing.
    :param max_bytes: room on disk for what is kept; beyond it appends are refused.  One group of
        requests may go over it.
    :param min_free_bytes: what the disk has to have left for an append to be accepted.
    :param name: tells the spools of several workers in one directory apart.
    :param max_waiting_bytes: raw bytes in memory that may wait for a commit.
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
        connect: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        path = directory / f"{name}.db"
        self._path = path
        self._telemetry = telemetry
        self._max_waiting_bytes = max_waiting_bytes
        self._writer = _Writer(
            path,
            connect,
            clock=clock,
            telemetry=telemetry,
            max_bytes=max_bytes,
            min_free_bytes=min_free_bytes,
        )
        self._reader = _Reader(path, connect)
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix=f"spool-write-{name}")
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix=f"spool-read-{name}")
        self._is_open = False
        self._accepting = False
        self._closing = asyncio.Lock()
        self._problem = ""
        self._totals = _Totals()
        self._listeners: list[Callable[[frozenset[Queue]], None]] = []
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0  # with those in the running commit
        self._committer: asyncio.Task[None] | None = None  # while there is something to commit
        self._skipped: set[int] = set()  # damaged chunks, whether or not they could be moved

    async def open(self) -> None:
        """Find everything an earlier process left, and accept records from now on.

        A spool that was closed stays closed; make another one.

        :raises SpoolLocked: another process owns this spool.
        :raises SpoolError: the storage cannot be used.
        """
        loop = asyncio.get_running_loop()
        try:
            self._totals = await loop.run_in_executor(self._writer_thread, self._writer.open)
        except BaseException:
            self._writer_thread.submit(self._writer.close)  # it may still be opening
            self._stop_threads(wait=False)
            raise
        self._is_open = self._accepting = True

    async def close(self) -> None:
        """Commit what was appended, then release the storage.  Idempotent."""
        self._accepting = False
        async with self._closing:
            if not self._is_open:
                return
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
        if self._waiting_bytes + size > self._max_waiting_bytes:
            detail = f"overloaded: {self._waiting_bytes} bytes wait for the disk of {self._path}"
            return _failed_future(SpoolUnavailable(detail, retry_after_s=1))
        return self._submit(_Append(entries, dead), size)

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
        skip = frozenset(self._skipped)
        chunks, damaged = await self._in_reader(
            partial(self._reader.read, queue, after, max_records, max_bytes, skip)
        )
        if damaged:
            await self._set_aside(damaged)
        return chunks

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredDeadLetter]:
        """Return dead letters with ``id > after``, oldest first.

        :raises SpoolUnavailable: the file cannot be read now.
        """
        return await self._in_reader(partial(self._reader.dead_letters, after, limit))

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

    def _submit(self, work: _Work, size: int = 0) -> asyncio.Future[None]:
        if not self._accepting:
            return _failed_future(SpoolUnavailable(f"the spool {self._path} is not open"))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
                requests = self._take_group()
                works = [request.work for request in requests]
                commit = partial(self._writer.commit, works)
                outcome = await loop.run_in_executor(self._writer_thread, commit)
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

    def _publish(self, requests: Sequence[_Request], outcome: _Outcome) -> None:
        """Bring the counters up to date, then answer, then tell the listeners."""
        grown = frozenset(outcome.changes.grown)
        if outcome.totals is None:
            self._totals.apply(outcome.changes)
        else:
            self._totals = outcome.totals
            grown = frozenset(q for q, state in outcome.totals.queues.items() if state.chunks)
        if outcome.problem and not self._problem:
            log.error("not accepting: %s", outcome.problem)
        elif self._problem and not outcome.problem:
            log.warning("the spool %s accepts again", self._path)
        self._problem = outcome.problem
        for index, request in enumerate(requests):
            self._waiting_bytes -= request.size
            if request.done.cancelled():
                continue  # its caller went away
            error = outcome.refused.get(index)
            if error is None:
                request.done.set_result(None)
            else:
                request.done.set_exception(error)
        if grown:
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.call_soon(listener, grown)  # its errors are not ours

    async def _set_aside(self, damaged: Sequence[_SetAside]) -> None:
        results = await asyncio.gather(*map(self._submit, damaged), return_exceptions=True)
        for chunk, result in zip(damaged, results, strict=True):
            if isinstance(result, SpoolUnavailable):
                continue  # the next read finds it again
            self._skipped.add(chunk.chunk_id)
            if result is not None:
                self._telemetry.spool_damaged.inc()
                log.error("%s of %s: %s", "/".join(chunk.queue), self._path, result)

    async def _in_reader(self, call: Callable[[], _T]) -> _T:
        if not self._accepting:
            raise SpoolUnavailable(f"the spool {self._path} is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reader_thread, call)
        except sqlite3.Error as error:
            await loop.run_in_executor(self._reader_thread, self._reader.disconnect)
            raise SpoolUnavailable(f"cannot read the spool {self._path}: {error}") from error

    def _stop_threads(self, *, wait: bool) -> None:
        self._reader_thread.shutdown(wait=wait)
        self._writer_thread.shutdown(wait=wait)


def _is_damage(error: sqlite3.Error) -> bool:
    """Tell a file that is wrong from a disk that does not answer."""
    return type(error) is sqlite3.DatabaseError


def _failed_future(error: SpoolUnavailable) -> asyncio.Future[None]:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    return failed


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, which syncing the files does not."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
