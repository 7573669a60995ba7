"""Everything that changes the spool's file: one transaction a group of requests."""

import errno
import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.spool.base import DeadLetter, Ledger, Queue, QueueState, Settlement
from gateway.spool.chunks import encode, group
from gateway.spool.database import Database, is_damage
from gateway.spool.dead_letters import Limits
from gateway.spool.files import Files, Lock, identity, read_through, sync, write_again
from gateway.spool.format import FORMAT, create, is_cut, is_ours, upgrade
from gateway.spool.ledger import read_rows, write_row
from gateway.spool.letterbox import Letterbox
from gateway.spool.memory import Memory
from gateway.spool.reserve import RESERVE_BYTES, Reserve
from gateway.spool.salvage import finish, salvage
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

KEPT_FREE_PAGES = 4096
"""Free pages kept for reuse (16 MiB), so that everyday traffic never pays for moving pages."""

VACUUM_PAGES = 256
"""Free pages given back in one commit (1 MiB): more than a full chunk takes, so the file shrinks
while a backlog drains, and at 10 to 20 us a page only a few milliseconds."""

MAX_CHECKED_CHUNKS = 500_000
"""Chunks up to which the order of their index is looked at when it opens: 0.3 s."""

MAX_CHECKED_BYTES = 64 * 1024 * 1024
"""Size of a file up to which its table of chunks is compared with that: 0.1 s."""

RETRY_S = 30.0
"""When a salvage that failed is tried again."""

PATIENCE_S = 120.0
"""How long files that cannot be read are taken for a disk that will answer again."""

PROVEN_BYTES = 256 * 1024 * 1024
"""Files up to this size are checked as a whole before what looked like damage is believed."""

STRIKES = 3
"""How often within a minute a file that seems sound may look damaged."""

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = OFF",
    "secure_delete = FAST",  # some builds default to ON, which writes every deleted chunk again
    # 4 MiB.  The commit that checkpoints waits 10-20 ms for it; with four times as many pages it
    # waited 30-50 ms, and throughput was the same.
    "wal_autocheckpoint = 1000",
    "journal_size_limit = 16777216",  # a log that something held open shrinks afterwards
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
        self._files = Files(path)
        self._lock = Lock(self._files.lock)
        self._reserve = Reserve(self._files.reserve)
        self._memory = Memory(self._files.sidecar)
        self._names: tuple[tuple[int, int] | None, ...] = ()  # which files are open
        self._is_stale = True  # whether the counters have to be read again
        self._damage = ""  # why the file has to be salvaged
        self._salvage_after = float("-inf")
        self._unreadable_since: float | None = None
        self._strikes: list[float] = []  # when a file that looked damaged was found to be sound
        self.problem = ""  # why the file could not be used when it was opened
        self._rows: dict[str, Ledger] = {}  # the committed ones, and in a transaction its own
        self._queue_ids: dict[Queue, int] = {}
        self._letters = Letterbox(self._execute, clock=clock, limits=letter_limits)
        self.on_replaced: Callable[[], None] = lambda: None

    def open(self) -> Totals:
        """Take the lock, find what is there, and return the counters.

        A damaged file that cannot be salvaged now is a ``problem``, not an error.

        :raises SpoolError: the spool cannot be used.
        """
        try:
            self._files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.take()
            return self._reconnect()
        except (sqlite3.Error, OSError, SpoolError) as error:
            self.disconnect()
            if self._damage:
                self.problem = self._problem(error)
                return Totals()
            self.close()
            if isinstance(error, SpoolError):
                raise
            raise SpoolError(
                f"cannot open the spool {self._path}: {error}; check the file and its directory"
            ) from error

    def close(self) -> None:
        """Write the log into the file and release the lock.  Idempotent."""
        if self._connection is not None and self._has_names():
            try:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                log.warning("no last checkpoint of %s: %s; nothing is lost", self._path, error)
        self.disconnect()
        self._memory.close()
        self._lock.release()

    def report_damage(self, detail: str) -> None:
        """Salvage the file before the next commit."""
        self._damage = detail

    def commit(self, works: Sequence[Work]) -> Outcome:
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

    def _commit(self, works: Sequence[Work]) -> Outcome:
        started = self._clock.monotonic()
        try:
            reread = self._is_stale or bool(self._damage) or not self._has_names()
            if reread:
                self._reconnect()
            self._execute("BEGIN IMMEDIATE")
            outcome = self._apply(works)
            if reread or outcome.changes.damaged:
                outcome.totals = self._read_totals()
            self._execute("COMMIT")
            if not self._has_names():
                raise SpoolError("its files were moved or deleted during a commit")
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError | SpoolError):
                log.exception("a bug in the spool")  # and still everyone gets an answer
            return self._refuse(works, error)
        self._letters.committed(outcome)
        self._memory.write({name: self._rows[name] for name in outcome.changes.ledger})
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
        self._is_stale = True
        if isinstance(error, sqlite3.Error) and is_damage(error) and not self._damage:
            self._damage = str(error)
            log.error("the spool %s is damaged: %s", self._path, error)
        problem = self._problem(error)
        outcome = Outcome(problem=problem, is_disk_full=_is_disk_full(error))
        outcome.refused.update((i, SpoolUnavailable(problem)) for i in range(len(works)))
        try:
            # The connection may be all that still leads to the records: it stays for now.
            self._roll_back()
            if not self._damage:  # that takes long, and these clients get their answer first
                outcome.totals = self._reconnect()
        except (sqlite3.Error, OSError, SpoolError) as again:
            log.debug("%s cannot be read either: %s", self._path, again)
        return outcome

    def _problem(self, error: Exception) -> str:
        if self._damage:
            return (
                f"the spool {self._path} is damaged ({self._damage}); what can be read of it is "
                f"being saved, which needs as much room as it takes: {error}"
            )
        return f"cannot write to the spool {self._path}: {error}; see to the disk, it will heal"

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._execute("ROLLBACK")

    def _has_names(self) -> bool:
        """Tell whether what is open is still what others find under its names."""
        return self._lock.is_held() and self._files.identities() == self._names

    def _reconnect(self) -> Totals:
        """Open the file, whatever has happened to it, and read the counters.

        :raises SpoolError, sqlite3.Error, OSError: not possible now.
        """
        if self._connection is not None:
            if not self._has_names():  # which looks like damage to readers
                try:
                    self._find_again()
                except sqlite3.Error as error:
                    if not is_damage(error):
                        raise
                    self._damage = self._damage or str(error)
            write_again(self._files.wal)  # closing may write the log into the file
            self.disconnect()
        self._lock.take()
        if self._damage:
            self._read_through()
        try:
            totals = self._connect_to_file()
            if not self._damage or self._is_sound():
                self._damage = ""
                return totals
        except (sqlite3.Error, UnicodeError) as error:
            if not _is_damage_at_open(error):
                raise
            self._damage = str(error)
            log.error("the spool %s is damaged: %s", self._path, error)
        self.disconnect()
        self._read_through()
        self._salvage()
        return self._connect_to_file(is_salvaged=True)

    def _read_through(self) -> None:
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

    def _is_sound(self) -> bool:
        """Tell whether a file that looked damaged, and could be opened, is not."""
        if self._path.stat().st_size <= PROVEN_BYTES:
            found = self._row("PRAGMA integrity_check(1)")
            if found != ("ok",):
                self._damage += f"; {found[0]}"
                return False
        now = self._clock.monotonic()
        self._strikes = [each for each in self._strikes if now - each < 60.0]
        self._strikes.append(now)
        return len(self._strikes) < STRIKES

    def _connect_to_file(self, *, is_salvaged: bool = False) -> Totals:
        files = self._files
        if finish(files, self._clock.now_ms()):
            is_salvaged = True
            self.on_replaced()
        self._memory.open()
        self._make_file()
        write_again(files.wal)
        for directory in (files.directory, files.directory.parent):
            sync(directory)
        if not self._names and is_cut(files.db, files.wal):
            raise sqlite3.DatabaseError("the file is cut, or its header is damaged")
        rows = self._execute("SELECT id, destination, endpoint FROM queues NOT INDEXED")
        self._queue_ids = {Queue(*names): queue_id for queue_id, *names in rows}
        totals = self._read_totals()
        self._check_chunks(sum(state.chunks for state in totals.queues.values()))
        self._memory.check(totals, self._queue_ids, is_salvaged=is_salvaged)
        self._names = files.identities()
        self._is_stale = False
        self._memory.write(self._rows)
        return totals

    def _make_file(self) -> None:
        """Make an empty file where there is none and none is missing."""
        files = self._files
        if identity(files.db) is not None and files.db.stat().st_size:
            return
        if self._memory.knows_of_records() or (files.wal.exists() and files.wal.stat().st_size):
            raise sqlite3.DatabaseError("the file is missing")
        # SQLite gives its log files the mode of the main file: this is the only one to make.
        os.close(os.open(files.db, os.O_RDWR | os.O_CREAT, 0o600))

    def _check_chunks(self, chunks: int) -> None:
        """Find out whether table and index agree, as far as that is quick.

        What is not in order cannot be found by seeking, and what is appended behind a damaged
        page is lost with it.

        :raises sqlite3.DatabaseError: they do not.
        """
        try:
            (last,) = self._row("SELECT MAX(id) FROM chunks NOT INDEXED")
            lasts = [self._last_in_index(queue_id) for queue_id in self._queue_ids.values()]
            if (last or 0) != max(lasts, default=0):
                raise sqlite3.DatabaseError("the newest chunk is not where it should be")
            if chunks <= MAX_CHECKED_CHUNKS:
                _check_order(
                    self._execute("SELECT queue_id, id FROM chunks INDEXED BY chunks_of_queue")
                )
            if self._path.stat().st_size <= MAX_CHECKED_BYTES:
                found = _check_order(self._execute("SELECT 0, id FROM chunks NOT INDEXED"))
                if found != chunks:
                    raise sqlite3.DatabaseError("the table and the index of the chunks differ")
        except TypeError:
            raise sqlite3.DatabaseError("the chunks have ids that are no numbers") from None

    def _last_in_index(self, queue_id: int) -> int:
        last: int | None
        (last,) = self._row(
            "SELECT MAX(id) FROM chunks INDEXED BY chunks_of_queue WHERE queue_id = ?", (queue_id,)
        )
        return last or 0

    def _salvage(self) -> None:
        now = self._clock.monotonic()
        if now < self._salvage_after:
            raise SpoolError(f"the next attempt is in {self._salvage_after - now:.0f} s")
        self._salvage_after = now + RETRY_S
        self._telemetry.spool_salvages.inc()
        result = salvage(
            self._files, self._memory.memo, self._clock.now_ms(), confirm=self._read_through
        )
        self._salvage_after = now
        self._strikes.clear()
        log.error("the spool %s was damaged (%s): %s", self._path, self._damage, result)
        self._damage = ""
        self.on_replaced()

    def _find_again(self) -> None:
        """Bring the open file back to its name.

        :raises SpoolError: that needs a person first.
        """
        files, (db, *_) = self._files, self._names
        here, directory = identity(files.db), identity(files.directory)
        if here == db:
            # Only the log lost its name: what is in it goes into the file, then it starts anew.
            self._roll_back()
            (busy, *_) = self._row("PRAGMA wal_checkpoint(TRUNCATE)")
            if busy:
                raise SpoolError(f"the log of {files.db} was moved, and it is still in use")
        elif here is not None:
            raise SpoolError(
                f"another file lies at {files.db} now; move it away, and the gateway puts its own "
                "back, or restart the gateway to use that one"
            )
        elif directory is None:
            raise SpoolError(
                f"the directory {files.directory} is gone; bring it back, or make an empty one, "
                "and the gateway goes on there"
            )
        elif db is None or directory[0] != db[0]:
            raise SpoolError(
                f"{files.directory} is on another disk than before; mount the right one again"
            )
        else:
            self._roll_back()
            self._lock.take()
            self._copy_to_name()
            log.warning("%s had vanished: written again, with everything in it", files.db)
        self.on_replaced()

    def _copy_to_name(self) -> None:
        files, connection = self._files, self._connection
        if connection is None:
            raise SpoolError(f"{files.db} has vanished")
        os.close(os.open(files.unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        target = sqlite3.connect(files.unfinished, isolation_level=None)
        try:
            connection.backup(target)
        finally:
            target.close()
        sync(files.unfinished)
        files.unfinished.rename(files.db)
        self._memory.close()  # these files are made again as well
        self._reserve.lost()
        sync(files.directory)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Whatever a text has become is for checks to find, not for the decoder.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        if not self._path.stat().st_size:
            create(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        self._memory.check_format(*connection.execute("PRAGMA user_version").fetchone())
        upgrade(connection, self._path)
        if not is_ours(connection):
            raise sqlite3.DatabaseError("the schema is not that of a spool")

    def _read_totals(self) -> Totals:
        totals = Totals()
        totals.ledger = read_rows(self._execute)
        self._rows = dict(totals.ledger)
        (self._memory.last_id,) = self._row(
            "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'chunks'"
        )
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
        oldest_ms: int | None
        first_id, oldest_ms = self._row(
            "SELECT id, created_ms FROM chunks WHERE queue_id = ? ORDER BY id LIMIT 1", (queue_id,)
        ) or (0, None)
        self._memory.first_ids[queue_id] = first_id
        return oldest_ms

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
            self._memory.last_id = (
                self._execute(
                    "INSERT INTO chunks (queue_id, created_ms, records, raw_bytes, encoding,"
                    " checksum, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (self._queue_id(chunk.queue, changes), now_ms, *stored.columns()),
                ).lastrowid
                or 0
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
        moved = self._execute(
            "INSERT INTO damaged_chunks SELECT id, ?, ?, queue_id, created_ms, records,"
            " raw_bytes, encoding, checksum, CASE ? WHEN 'checksum' THEN payload END"
            " FROM chunks WHERE id = ?",
            (self._clock.now_ms(), chunk.reason, chunk.reason, chunk.chunk_id),
        )
        self._execute("DELETE FROM chunks WHERE id = ?", (chunk.chunk_id,))
        if moved.rowcount:
            changes.damaged.append(chunk)
            return
        place = (self._queue_ids.get(chunk.queue, 0), chunk.chunk_id)
        in_index = "FROM chunks INDEXED BY chunks_of_queue WHERE queue_id = ? AND id = ?"
        if self._row(f"SELECT COUNT(*) {in_index}", place) != (0,):  # our own text
            raise sqlite3.DatabaseError(f"chunk {chunk.chunk_id} is in the index alone")

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
            self._memory.name(queue_id, queue)
            if queue.endpoint:
                changes.move(queue)
        return queue_id

    def _write_ledger(self, changes: Changes) -> None:
        if changes.damaged:
            self._count_damaged(changes)
        for destination, delta in changes.ledger.items():
            row = self._rows[destination] = self._rows.get(destination, Ledger()) + delta
            write_row(self._execute, destination, row)
        for queue, moved in changes.queues.items():
            oldest_ms = self._oldest_ms(self._queue_ids[queue])
            changes.queues[queue] = replace(moved, oldest_ms=oldest_ms)

    def _count_damaged(self, changes: Changes) -> None:
        """Count what damaged chunks held as lost.

        They cannot be trusted to say how many records that was, or whose.  The ledger knows: those
        that were accepted and are nowhere else.
        """
        pending = dict(
            self._execute(
                "SELECT destination, SUM(records) FROM chunks JOIN queues ON queues.id = queue_id"
                " GROUP BY destination"
            )
        )
        for destination in {*self._rows, *changes.ledger}:
            row = self._rows.get(destination, Ledger())
            row += changes.ledger.get(destination, Ledger())
            missing = row.gap - pending.get(destination, 0)
            if missing > 0:
                changes.count(destination, Ledger(dead_lettered=missing, lost=missing))

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
        return ""


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _is_damage_at_open(error: sqlite3.Error | UnicodeError) -> bool:
    """Tell damage where every statement is known to fit a sound file."""
    if isinstance(error, UnicodeError):  # SQLite quotes what it cannot read
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return is_damage(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA)


def _check_order(places: Iterable[tuple[int, int]]) -> int:
    """Return how many there are.

    :raises sqlite3.DatabaseError: they do not ascend.
    :raises TypeError: they are no numbers.
    """
    count, before = 0, (-1, -1)
    for place in places:
        if place <= before:
            raise sqlite3.DatabaseError("the chunks are not in order")
        before = place
        count += 1
    return count
