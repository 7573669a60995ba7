"""Reading dead letters: on a connection of its own, since a search may read all of them."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.model import Queue, StoredDeadLetter
from gateway.spool.dead_letters import Filter, LetterGroup
from gateway.spool.sqlite.connection import Database, is_damage
from gateway.spool.sqlite.dead_letters.rows import SELECT, read_row
from gateway.spool.sqlite.ids import FileIds

__all__ = ["LetterReader"]

_CONDITIONS = {
    "destination": "queue_id IN (SELECT id FROM queues WHERE destination = ?)",
    "endpoint": "queue_id IN (SELECT id FROM queues WHERE endpoint = ?)",
    "kind": "kind = ?",
    "reason": "reason = ?",
    "since_ms": "created_ms >= ?",
    "until_ms": "created_ms < ?",
    "ids": "id IN (SELECT value FROM json_each(?))",
    "up_to": "id <= ?",
}


_FIRST_FILE = FileIds()


class _Damaged(Exception):
    """A letter is not as it was written."""


class LetterReader(Database):
    """A connection that changes nothing and never waits for a commit.

    :param ids: what letters are called outside.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        ids: FileIds = _FIRST_FILE,
    ) -> None:
        super().__init__(path, connect)
        self._ids = ids

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        # A damaged text fails its checksum; it must not fail in the decoder before that.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def page(
        self, wanted: Filter, after: int, limit: int, max_bytes: int
    ) -> tuple[list[StoredDeadLetter], list[int]]:
        """Return letters with ``id > after``, oldest first, within both limits.

        Also the ids of the damaged ones on the way to them.
        """
        letters: list[StoredDeadLetter] = []
        damaged: list[int] = []
        size = 0
        for letter_id in self.ids(wanted, after, limit):
            # One by one, so that one that cannot be read is known by its id.
            try:
                stored = self._load(letter_id)
            except _Damaged:
                damaged.append(letter_id)
                continue
            if stored is None:
                continue
            size += len(stored.letter.payload)
            if letters and size > max_bytes:
                break
            letters.append(stored)
        return letters, damaged

    def ids(self, wanted: Filter, after: int, limit: int) -> list[int]:
        """Return the ids of letters with ``id > after``, oldest first."""
        where, values = self._where(wanted)
        # Without the index the rows come as they lie, and each page goes on where the one before
        # ended.  What is asked for precedes the payload, which is not read.
        rows = self.execute(
            "SELECT id FROM dead_letters NOT INDEXED"  # noqa: S608
            f" WHERE id > ?{where} ORDER BY id LIMIT ?",
            (after, *values, limit),
        )
        return [letter_id for (letter_id,) in rows]

    def groups(self, wanted: Filter) -> list[LetterGroup]:
        """Return counts by cause, the most frequent first; only examples are read from the rows."""
        where, values = self._where(wanted)
        rows = self.execute(
            "SELECT destination, endpoint, kind, reason, letters, size, oldest, newest, last FROM ("  # noqa: S608
            "SELECT queue_id, kind, reason, COUNT(*) AS letters, SUM(size) AS size,"
            " MIN(created_ms) AS oldest, MAX(created_ms) AS newest, MAX(id) AS last"
            " FROM dead_letters INDEXED BY dead_letters_by_reason"
            f" WHERE TRUE{where} GROUP BY queue_id, kind, reason"
            ") JOIN queues ON queues.id = queue_id ORDER BY letters DESC, last DESC",
            values,
        ).fetchall()
        names = ("destination", "endpoint", "kind", "reason", "letters", "bytes")
        return [
            LetterGroup(
                **dict(zip(names, row[:6], strict=True)),
                oldest_ms=row[6],
                newest_ms=row[7],
                example=self._detail(row[8]),
            )
            for row in rows
        ]

    def newest_id(self) -> int:
        """Return the id of the newest letter, 0 when there is none."""
        (newest,) = self.row("SELECT MAX(id) FROM dead_letters")
        return newest or 0

    def _detail(self, letter_id: int) -> str:
        try:
            stored = self._load(letter_id)
        except _Damaged:
            return ""
        return stored.letter.detail if stored else ""

    def _load(self, letter_id: int) -> StoredDeadLetter | None:
        """Return a letter, None when it has just gone.

        :raises _Damaged: it is not as it was written.
        """
        try:
            row = self.execute(SELECT, (letter_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            raise _Damaged from error
        if row is None:
            return None
        letter = read_row(Queue(*row[:2]), row[2:])
        if letter is None:
            raise _Damaged
        return StoredDeadLetter(id=self._ids.text(letter_id), created_ms=row[2], letter=letter)

    def _where(self, wanted: Filter) -> tuple[str, Sequence[object]]:
        """Return the conditions and their values."""
        given = {name: getattr(wanted, name) for name in _CONDITIONS}
        if wanted.ids is not None:
            given["ids"] = json.dumps(self._ids.own(wanted.ids))
        if wanted.up_to is not None:
            given["up_to"] = self._ids.bound(wanted.up_to)
        given = {name: value for name, value in given.items() if value is not None}
        return "".join(f" AND {_CONDITIONS[name]}" for name in given), tuple(given.values())
