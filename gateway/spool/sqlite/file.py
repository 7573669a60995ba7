"""The spool's file, opened whatever has happened to it: new, older, damaged, or moved away."""

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import SpoolError
from gateway.spool.sqlite.commands import Totals
from gateway.spool.sqlite.connection import Database, is_damage
from gateway.spool.sqlite.files import Files, Lock, identity, sync, write_again
from gateway.spool.sqlite.folder import check_file, explained, prepare
from gateway.spool.sqlite.format import create, is_cut, is_ours, upgrade
from gateway.spool.sqlite.recovery.integrity import check, is_damage_at_open
from gateway.spool.sqlite.recovery.remembered import RememberedState
from gateway.spool.sqlite.recovery.repair import Repair
from gateway.spool.sqlite.recovery.salvage import finish
from gateway.spool.sqlite.recovery.vanished import find_again
from gateway.spool.sqlite.reserve import Reserve
from gateway.spool.sqlite.space import LOG_BYTES
from gateway.spool.sqlite.transaction import Contents
from gateway.telemetry import Telemetry

__all__ = ["SpoolFile"]

log = logging.getLogger(__name__)

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = OFF",
    "secure_delete = FAST",  # some builds default to ON, which writes every deleted chunk again
    # 4 MiB.  The commit that checkpoints waits 10-20 ms for it; with four times as many pages it
    # waited 30-50 ms, and throughput was the same.
    "wal_autocheckpoint = 1000",
    f"journal_size_limit = {LOG_BYTES}",  # a log that something held open shrinks afterwards
)

_TELLS_AFTER_MS = 2000
"""How old the time of a directory has to be before it tells of the next change: file systems take
times from a clock that ticks in milliseconds, and old ones in seconds."""


class SpoolFile(Database):
    """The only connection that changes the file, and everything that belongs to having it.

    :param on_replaced: called when another file has taken the place of the one that was open.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        *,
        clock: Clock,
        telemetry: Telemetry,
        on_replaced: Callable[[], None],
    ) -> None:
        super().__init__(path, connect)
        self._clock = clock
        self._on_replaced = on_replaced
        self._files = Files(path)
        self._lock = Lock(self._files.lock)
        self.reserve = Reserve(self._files.reserve)
        self.memory = RememberedState(self._files.sidecar)
        self.repair = Repair(path, self._files, clock=clock, telemetry=telemetry)
        self._names: tuple[tuple[int, int] | None, ...] = ()  # which files are open
        self._seen: tuple[int, int, int] | None = None  # the directory when it had these names

    def take(self) -> None:
        """Make the file this process' own.

        :raises SpoolError: that is not possible.
        """
        prepare(self._files.directory)
        for file in self._files.needed:
            check_file(file)
        try:
            self._lock.take()
        except OSError as error:
            raise SpoolError(explained(self._files.directory, error)) from error

    def close(self) -> None:
        """Write the log into the file and let others have it.  Idempotent."""
        if self._connection is not None and self.has_names():
            try:
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                log.warning("no last checkpoint of %s: %s; nothing is lost", self._path, error)
        self.disconnect()
        self.memory.close()
        self._lock.release()

    def has_names(self) -> bool:
        """Tell whether what is open is still what others find under its names.

        The directory alone says so while nothing has changed in it.
        """
        changed = self._files.changed()  # before the names: what changes meanwhile shows next time
        if changed is not None and changed == self._seen:
            return True
        has_names = self._lock.is_held() and self._files.identities() == self._names
        self._seen = changed if has_names and self._tells(changed) else None
        return has_names

    def _tells(self, changed: tuple[int, int, int] | None) -> bool:
        """Whether the next change of a name would give the directory another time."""
        if changed is None or self._files.db.is_symlink():  # SQLite keeps its log beside the file
            return False
        return changed[2] // 1_000_000 < self._clock.now_ms() - _TELLS_AFTER_MS

    def roll_back(self) -> None:
        """End a transaction that failed."""
        if self._connection is not None and self._connection.in_transaction:
            self.execute("ROLLBACK")

    def reconnect(self, contents: Contents) -> Totals:
        """Open the file, whatever has happened to it, and read the counters.

        :raises SpoolError, sqlite3.Error, OSError: not possible now.
        """
        if self._connection is not None:
            if not self.has_names():  # which looks like damage to readers
                self._find_again(self._connection)
            write_again(self._files.wal)  # closing may write the log into the file
            self.disconnect()
        self._lock.take()
        if self.repair.damage:
            self.repair.read_through()
        try:
            totals = self._connect_to_file(contents)
            if self.repair.is_cleared():
                return totals
        except (sqlite3.Error, UnicodeError) as error:
            if not is_damage_at_open(error):
                raise
            self.repair.damage = str(error)
            log.error("the spool %s is damaged: %s", self._path, error)
        self.disconnect()
        self.repair.salvage(self.memory.memo)
        self._on_replaced()
        return self._connect_to_file(contents, is_salvaged=True)

    def _find_again(self, connection: sqlite3.Connection) -> None:
        try:
            find_again(connection, self._files, self._names[0], self._lock)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self.repair.damage = self.repair.damage or str(error)
            return
        self.memory.close()  # these files are made again where they have vanished as well
        self.reserve.lost()
        self._on_replaced()

    def _connect_to_file(self, contents: Contents, *, is_salvaged: bool = False) -> Totals:
        files = self._files
        if finish(files, self._clock.now_ms()):
            is_salvaged = True
            self._on_replaced()
        self.memory.open()
        self._make_file()
        write_again(files.wal)
        if not self._names and is_cut(files.db, files.wal):
            raise sqlite3.DatabaseError("the file is cut, or its header is damaged")
        totals = contents.read()
        # SQLite makes the log now.  It syncs the name itself, but passes over errors of that.
        for directory in (files.directory, files.directory.parent):
            sync(directory)
        ids = contents.queue_ids
        if not self._names or self.repair.damage:
            check(
                self,
                ids.values(),
                chunks=sum(state.chunks for state in totals.queues.values()),
                file_bytes=self._path.stat().st_size,
            )
        self.memory.check(totals, ids, is_salvaged=is_salvaged)
        self._names = files.identities()
        self.memory.write(contents.rows)
        return totals

    def _make_file(self) -> None:
        """Make an empty file where there is none and none is missing."""
        files = self._files
        if identity(files.db) is not None and files.db.stat().st_size:
            return
        if self.memory.knows_of_records() or (files.wal.exists() and files.wal.stat().st_size):
            raise sqlite3.DatabaseError("the file is missing")
        # SQLite gives its log files the mode of the main file: this is the only one to make.
        os.close(os.open(files.db, os.O_RDWR | os.O_CREAT, 0o600))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Whatever a text has become is for checks to find, not for the decoder.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        if not self._path.stat().st_size:
            create(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        self.memory.check_format(*connection.execute("PRAGMA user_version").fetchone())
        upgrade(connection, self._path)
        if not is_ours(connection):
            raise sqlite3.DatabaseError("the schema is not that of a spool")
