"""Reading dead letters: on a connection of its own, since a search may read all of them."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.spool.base import DeadLetter, Origin, Queue, StoredDeadLetter
from gateway.spool.database import Database, is_damage
from gateway.spool.dead_letters import Filter, Group
from gateway.spool.letterbox import checksum

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


class LetterReader(Database):
    """A connection that changes nothing and never waits for a commit."""

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        # A damaged text fails its checksum; it must not fail in the decoder before that.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def page(
        self, wanted: Filter, after: int, limit: int, max_bytes: int
    ) -> list[StoredDeadLetter]:
        """Return letters with ``id > after``, oldest first, within both limits."""
        letters: list[StoredDeadLetter] = []
        size = 0
        for letter_id in self.ids(wanted, after, limit):
            # One by one, so that one that cannot be read is known by its id.
            letter = self._load(letter_id)
            if letter is None:
                continue
            size += len(letter.letter.payload)
            if letters and size > max_bytes:
                break
            letters.append(letter)
        return letters

    def ids(self, wanted: Filter, after: int, limit: int) -> list[int]:
        """Return the ids of letters with ``id > after``, oldest first."""
        where, values = _where(wanted)
        # Without the index the rows come as they lie, and each page goes on where the one before
        # ended.  What is asked for precedes the payload, which is not read.
        rows = self.execute(
            "SELECT id FROM dead_letters NOT INDEXED"  # noqa: S608
            f" WHERE id > ?{where} ORDER BY id LIMIT ?",
            (after, *values, limit),
        )
        return [letter_id for (letter_id,) in rows]

    def groups(self, wanted: Filter) -> list[Group]:
        """Return counts by cause, the most frequent first; only examples are read from the rows."""
        where, values = _where(wanted)
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
            Group(
                **dict(zip(names, row[:6], strict=True)),
                oldest_ms=row[6],
                newest_ms=row[7],
                example=newest.letter.detail if (newest := self._load(row[8])) else "",
            )
            for row in rows
        ]

    def newest_id(self) -> int:
        """Return the id of the newest letter, 0 when there is none."""
        (newest,) = self.row("SELECT MAX(id) FROM dead_letters")
        return newest or 0

    def _load(self, letter_id: int) -> StoredDeadLetter | None:
        """Return a letter, None when it has just gone."""
        try:
            row = self.row(_LETTER, (letter_id,))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return _unreadable(letter_id)
        return _stored(letter_id, *row) if row else None


_LETTER = (
    "SELECT created_ms, destination, endpoint, kind, reason, detail, payload, source, received_ms,"
    " skew_ms, client_ip, checksum FROM dead_letters JOIN queues ON queues.id = queue_id"
    " WHERE dead_letters.id = ?"
)


def _where(wanted: Filter) -> tuple[str, Sequence[object]]:
    """Return the conditions and their values."""
    given = {name: getattr(wanted, name) for name in _CONDITIONS}
    given["ids"] = None if wanted.ids is None else json.dumps(wanted.ids)
    given = {name: value for name, value in given.items() if value is not None}
    return "".join(f" AND {_CONDITIONS[name]}" for name in given), tuple(given.values())


def _stored(
    letter_id: int,
    created_ms: int,
    destination: str,
    endpoint: str,
    kind: Any,
    reason: str,
    detail: str,
    payload: Any,
    source: str | None,
    received_ms: int | None,
    skew_ms: int | None,
    client_ip: str | None,
    expected: int | None,
) -> StoredDeadLetter:
    origin = None
    if source is not None:
        origin = Origin(
            source=source,
            received_ms=received_ms or 0,
            skew_ms=skew_ms or 0,
            client_ip=client_ip,
        )
    letter = DeadLetter(
        queue=Queue(destination, endpoint),
        kind=kind,
        reason=reason,
        detail=detail,
        payload=payload if isinstance(payload, bytes) else str(payload).encode(),
        origin=origin,
    )
    # Format 1 had no checksum of letters: those are taken as they are.
    is_damaged = expected is not None and checksum(letter, created_ms) != expected
    return StoredDeadLetter(
        id=letter_id, created_ms=created_ms, letter=letter, is_damaged=is_damaged
    )


def _unreadable(letter_id: int) -> StoredDeadLetter:
    letter = DeadLetter(
        queue=Queue("", ""), kind="record", reason="unreadable", detail="", payload=b""
    )
    return StoredDeadLetter(id=letter_id, created_ms=0, letter=letter, is_damaged=True)
