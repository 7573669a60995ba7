"""A connection to the spool's file: its own thread's, opened on demand, dropped when it fails."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Database", "connect", "is_damage"]

_DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_TOOBIG,  # nothing that is written comes near the limit: its size is wrong
    }
)
"""Those of other errors than sqlite3.DatabaseError that say that the file is not as written."""

log = logging.getLogger(__name__)


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that begins no transaction on its own.

    Only the writer makes the file: a reader never makes an empty one where it has vanished.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)


class Database:
    """One connection that is opened when it is needed, and dropped when it fails."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    def disconnect(self) -> None:
        """Close the connection; the next statement opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("closing the spool %s: %s", self._path, error)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        raise NotImplementedError

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        if self._connection is None:
            self._connection = self._connect(self._path)
            self._prepare(self._connection)
        return self._connection.execute(sql, values)

    def total_changes(self) -> int:
        """Return how many rows the connection has written so far; 0 before it is opened."""
        return 0 if self._connection is None else self._connection.total_changes

    def row(self, sql: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
        """Return the first row of what a statement results in."""
        row: tuple[Any, ...] = self.execute(sql, values).fetchone()
        return row


def is_damage(error: sqlite3.Error) -> bool:
    """Tell a file that is wrong from a disk that does not answer."""
    code = getattr(error, "sqlite_errorcode", None)
    return type(error) is sqlite3.DatabaseError or code in _DAMAGE_CODES
