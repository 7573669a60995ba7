"""From a damaged file to a new one that holds everything that can still be trusted.

The originals are only read (but for a first page that is beyond use) until the new file is whole
and synced.  Its name, ``Files.recovered``, then is the decision: whatever interrupts the rest,
``finish`` goes on with it.
"""

import itertools
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.model import DeadLetter, Ledger, Queue
from gateway.spool.chunks import checksum
from gateway.spool.sqlite.connection import is_damage
from gateway.spool.sqlite.dead_letters.rows import COLUMNS, read_row, row_of
from gateway.spool.sqlite.files import Files, identity, sync
from gateway.spool.sqlite.format import create, first_page, is_ours
from gateway.spool.sqlite.ids import IDS_PER_FILE
from gateway.spool.sqlite.recovery.ledger_rows import COUNTED, balance, later, read_rows, write_row
from gateway.spool.sqlite.recovery.shadow_ledger import Memo

__all__ = ["Salvaged", "finish", "salvage"]

log = logging.getLogger(__name__)

KEPT_SETS = 3
"""Damaged files that are kept for a person to look at; older ones make room."""

SPARE_IDS = 1_000_000
"""Ids that are never used again after a salvage: the file may have used some that nobody knows."""

LAG_IDS = 10_000
"""Ids by which the memo may be behind the file."""

PROBES = 1_000_000
"""Ids that are tried one by one where the table cannot be followed, at some 10 us each."""

PROGRESS_ROWS = 100_000

_ROWS_IN_PAGE = 100  # more than fit
_LEAST_PAGES = 16  # more than an empty spool has

_NO_LETTERS = "SELECT * FROM dead_letters LIMIT 0"

_CHUNK = "queue_id, created_ms, records, raw_bytes, encoding, checksum, payload"


@dataclass(slots=True)
class Salvaged:
    """What a salvage found.

    :param lost: records by destination that are nowhere any more, by this salvage.
    """

    chunks: int = 0
    letters: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lost = ", ".join(f"{count} of {name}" for name, count in self.lost.items() if count)
        return (
            f"{self.chunks} chunks and {self.letters} dead letters recovered; records lost: "
            f"{lost or 'none'}"
        )


def salvage(
    files: Files, memo: Memo | None, now_ms: int, *, confirm: Callable[[], None]
) -> Salvaged:
    """Make a new file of what can be read, and put it in the place of the damaged one.

    No connection to the file may write meanwhile.

    :param memo: what the sidecar knows.
    :param confirm: raises when what could not be read may have been the disk's doing.
    :raises sqlite3.Error, OSError: it cannot be done now; nothing is changed.
    """
    _discard(files)
    os.close(os.open(files.unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(files.unfinished, isolation_level=None)) as target:
        # Nothing of it is needed after a crash, so it needs no log of its own.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        create(target)
        with closing(_open(files)) as source:
            work = _Salvage(source, target, memo)
            target.execute("BEGIN")
            result = work.run(now_ms)
            target.execute("COMMIT")
    confirm()
    sync(files.unfinished)
    files.unfinished.rename(files.recovered)
    finish(files, now_ms)
    return result


def finish(files: Files, now_ms: int) -> bool:
    """Put a file that is whole in the place of the damaged one; tell whether there was any.

    :raises OSError: it stays for the next attempt.
    """
    if identity(files.recovered) is None:
        return False
    sync(files.directory)
    aside = files.set_aside(now_ms)
    # The log goes first: a log must never be found beside a file that it does not belong to.
    for path in (files.wal, files.db):
        with suppress(FileNotFoundError):
            path.rename(aside.with_name(aside.name + path.name[len(files.db.name) :]))
    with suppress(FileNotFoundError):
        files.shm.unlink()
    files.recovered.rename(files.db)
    sync(files.directory)
    _bound(files)
    return True


def _discard(files: Files) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            files.unfinished.with_name(files.unfinished.name + ending).unlink()


def _bound(files: Files) -> None:
    """Delete the oldest damaged files where there are too many."""
    kept = sorted(files.directory.glob(f"{files.db.stem}.damaged-*.db"))
    for path in kept[:-KEPT_SETS]:
        for ending in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + ending).unlink()


def _open(files: Files) -> sqlite3.Connection:
    """Open what is there for reading, with a first page from another file where its own is bad."""
    if identity(files.db) is None or not files.db.stat().st_size:
        return sqlite3.connect(":memory:", isolation_level=None)
    connection = _connect(files)
    try:
        if is_ours(connection):
            return connection
    except (sqlite3.Error, UnicodeError) as error:  # its message may be damaged, too
        log.warning("the first page of %s is damaged (%s): replaced", files.db, error)
    connection.close()
    with files.db.open("r+b") as file:
        file.write(first_page())
        # SQLite refuses a schema that names pages beyond the end, and reads none of its tables.
        file.truncate(max(file.seek(0, os.SEEK_END), _LEAST_PAGES * len(first_page())))
    return _connect(files)


def _connect(files: Files) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{files.db.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)
    connection.isolation_level = None
    # Whatever a text has become, it fails its checksum and not the decoder.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


class _Salvage:
    """Copies one file into another."""

    def __init__(
        self, source: sqlite3.Connection, target: sqlite3.Connection, memo: Memo | None
    ) -> None:
        self._source = source
        self._target = target
        self._memo = memo or Memo(format=0, last_id=0, ledger={}, queues=[])
        self._queues: dict[int, Queue] = {}
        self._pending: Counter[str] = Counter()
        self._letters: Counter[str] = Counter()
        self._highest = {"chunks": self._memo.last_id, "dead_letters": 0}
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        self._probes = min(PROBES, pages * _ROWS_IN_PAGE)

    def run(self, now_ms: int) -> Salvaged:
        result = Salvaged()
        rows, is_behind = self._ledger()
        self._copy_queues()
        result.chunks = self._copy_chunks(now_ms, self._settled_ids() if is_behind else {})
        result.letters = self._copy_letters()
        for name in sorted({*rows, *self._pending, *self._letters}):
            before = rows.get(name)
            pending, letters = self._pending[name], self._letters[name]
            if before is None:
                log.error("the ledger of %s is lost: it begins with what is there", name)
                before = Ledger(accepted=pending + letters)
            row = balance(before, pending=pending, letters=letters)
            write_row(self._target.execute, name, row)
            result.lost[name] = max(0, row.lost - before.lost)
        self._target.execute("DELETE FROM sqlite_sequence")
        self._target.executemany(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
            [(table, highest + SPARE_IDS) for table, highest in self._highest.items()],
        )
        return result

    def _ledger(self) -> tuple[dict[str, Ledger], bool]:
        """Return the best row of each destination, and whether the file is behind the memo."""
        known = {
            name: Ledger(**dict(zip(COUNTED, counts, strict=False)))
            for name, counts in self._memo.ledger.items()
        }
        found: dict[str, Ledger] = {}
        with _passing_over("the ledger"):
            found = read_rows(self._source.execute)
        best = later(found, known)
        return best, bool(known) and best == known

    def _settled_ids(self) -> dict[int, int]:
        """Return, by queue, the first id that was waiting in the end: those before are settled."""
        return {
            each.id: each.first_id or self._memo.last_id + 1
            for each in self._memo.queues
            if each.endpoint
        }

    def _copy_queues(self) -> None:
        with _passing_over("the queues"):
            for queue_id, *names in self._source.execute("SELECT * FROM queues NOT INDEXED"):
                if all(isinstance(name, str) for name in names):
                    self._queues[queue_id] = Queue(*names)
        self._queues |= {each.id: each.queue for each in self._memo.queues}
        for queue_id, queue in self._queues.items():
            self._target.execute(
                "INSERT OR IGNORE INTO queues VALUES (?, ?, ?)", (queue_id, *queue)
            )
        ids = self._target.execute("SELECT id, destination, endpoint FROM queues")
        self._queues = {queue_id: Queue(*names) for queue_id, *names in ids}

    def _copy_chunks(self, now_ms: int, first_ids: Mapping[int, int]) -> int:
        ids = {queue: queue_id for queue_id, queue in self._queues.items()}
        copied = 0
        for chunk_id, *row in self._rows("chunks", _CHUNK):
            queue = self._owner(*row)
            if queue is None or chunk_id < first_ids.get(ids[queue], 0):
                continue
            created_ms = row[1] if isinstance(row[1], int) else now_ms
            added = self._target.execute(
                f"INSERT OR IGNORE INTO chunks (id, {_CHUNK})"  # noqa: S608  # our own names
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (chunk_id, ids[queue], created_ms, *row[2:]),
            ).rowcount
            if added:
                copied += 1
                self._pending[queue.destination] += row[2]
                self._highest["chunks"] = max(self._highest["chunks"], chunk_id)
                if copied % PROGRESS_ROWS == 0:
                    log.warning("salvage: %d chunks copied", copied)
        return copied

    def _owner(self, queue_id: Any, _: Any, *row: Any) -> Queue | None:
        """Return the queue that a chunk was written for; None when the chunk is damaged."""
        records, raw_bytes, encoding, expected, payload = row
        if not isinstance(payload, bytes) or not isinstance(records, int) or records < 1:
            return None
        own = self._queues.get(queue_id)
        for queue in (own, *self._queues.values()):
            if queue and checksum(queue, records, raw_bytes, encoding, payload) == expected:
                return queue
        return None

    def _copy_letters(self) -> int:
        found: Sequence[str] = ()
        with _passing_over("the dead letters"):
            found = [name for name, *_ in self._source.execute(_NO_LETTERS).description]
        if not found:
            return 0
        # Formats before had fewer columns.
        columns = ", ".join(name if name in found else "NULL" for name in COLUMNS)
        ids = {queue: queue_id for queue_id, queue in self._queues.items()}
        copied = 0
        for letter_id, queue_id, *row in self._rows("dead_letters", f"queue_id, {columns}"):
            letter = self._letter(queue_id, row)
            if letter is None:
                continue
            added = self._target.execute(
                f"INSERT OR IGNORE INTO dead_letters (id, queue_id, {', '.join(COLUMNS)})"  # noqa: S608
                f" VALUES (?, ?{', ?' * len(COLUMNS)})",
                (letter_id, ids[letter.queue], *row_of(letter, row[0])),
            ).rowcount
            copied += added
            self._letters[letter.queue.destination] += added
            self._highest["dead_letters"] = max(self._highest["dead_letters"], letter_id)
        return copied

    def _letter(self, queue_id: Any, row: Sequence[Any]) -> DeadLetter | None:
        """Return the letter that was written, for whichever queue; None when it is damaged."""
        own = self._queues.get(queue_id)
        queues = (own, *self._queues.values()) if row[-1] is not None else (own,)
        for queue in queues:
            if queue and (letter := read_row(queue, row)):
                return letter
        return None

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table that can be read, whichever way leads to them.

        From both ends, by the index, and by trying the ids between.  A row may come twice.
        """
        select = f"SELECT id, {columns} FROM {table} NOT INDEXED WHERE id"  # noqa: S608
        ceiling = IDS_PER_FILE - SPARE_IDS
        if table == "chunks" and self._memo.last_id:
            ceiling = self._memo.last_id + LAG_IDS
        between = yield from self._scan(table, select, ceiling)
        has = f"SELECT 1 FROM {table} WHERE id = ?"  # noqa: S608
        for row_id in itertools.chain(self._indexed_ids(table), between):
            if row_id > ceiling or self._target.execute(has, (row_id,)).fetchone():
                continue
            try:
                yield from self._source.execute(f"{select} = ?", (row_id,))
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise

    def _scan(
        self, table: str, select: str, ceiling: int
    ) -> Generator[tuple[Any, ...], None, range]:
        """Yield rows from both ends, as far as these lead; return the ids between them.

        A damaged page may give ids in any order, twice, or ids of its own making.
        """
        low, high = 0, ceiling
        try:
            for row in self._source.execute(f"{select} > 0 ORDER BY id"):
                if 0 < row[0] <= ceiling:
                    low = max(low, row[0])
                    yield row
            return range(0)
        except sqlite3.Error as error:
            _tell(error, f"{table} after id {low}")
        try:
            for row in self._source.execute(f"{select} > ? ORDER BY id DESC", (low,)):
                if low < row[0] <= ceiling:
                    high = min(high, row[0])
                    yield row
        except sqlite3.Error as error:
            _tell(error, f"{table} before id {high}")
        return range(low + 1, min(high, low + self._probes))

    def _indexed_ids(self, table: str) -> Iterator[int]:
        """Yield the ids that the index names: the table may not show all of them in passing."""
        index = {"chunks": "chunks_of_queue", "dead_letters": "dead_letters_by_reason"}[table]
        with _passing_over(f"the index of {table}"):
            for (row_id,) in self._source.execute(
                f"SELECT id FROM {table} INDEXED BY {index}"  # noqa: S608
            ):
                if isinstance(row_id, int) and row_id > 0:
                    yield row_id


class _passing_over:  # used like a function
    """Go on without a part that cannot be read."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, sqlite3.Error):
            _tell(error, self._what)
            return True
        return False


def _tell(error: sqlite3.Error, what: str) -> None:
    """Log damage; raise what is no damage."""
    if not _is_damage(error):
        raise error
    log.warning("salvage: %s cannot be read (%s)", what, error)


def _is_damage(error: sqlite3.Error) -> bool:
    """Tell a part that is wrong; one that the disk does not give is as good as that by now."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return is_damage(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR)
