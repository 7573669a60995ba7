"""Connections of a spool that is as it should be, and of some that are worse."""

import sqlite3
from typing import Any

__all__ = ["MUTANTS", "Connection"]


class Connection(sqlite3.Connection):
    """Checkpoints after few pages, so that short histories have checkpoints too."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA wal_autocheckpoint"):
            sql = "PRAGMA wal_autocheckpoint = 16"
        return super().execute(sql, parameters)


class Unsynced(Connection):
    """Acknowledges what the disk may not have."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            sql = "PRAGMA synchronous = OFF"
        return super().execute(sql, parameters)


class Early(Connection):
    """Acknowledges before the commit, which comes with the next statement."""

    late = False

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if self.late:
            self.late = False
            super().execute("COMMIT")
        if sql == "COMMIT":
            self.late = True
            return super().execute("SELECT 1")
        return super().execute(sql, parameters)


class Halved(Connection):
    """Replays in two transactions: dead letters go in one, their records come in the next."""

    has_deleted = False

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith("DELETE FROM dead_letters"):
            self.has_deleted = True
        if self.has_deleted and sql.startswith("INSERT INTO chunks"):
            super().execute("COMMIT")
            super().execute("BEGIN IMMEDIATE")
        if sql in ("COMMIT", "ROLLBACK", "PRAGMA page_count"):  # purges come before that
            self.has_deleted = False
        return super().execute(sql, parameters)


MUTANTS: dict[str, type[Connection]] = {
    "": Connection,
    "unsynced": Unsynced,
    "early": Early,
    "halved": Halved,
}
