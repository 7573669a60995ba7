"""Whether a file that was opened is as it was written."""

import sqlite3
from collections.abc import Collection, Iterable

from gateway.spool.sqlite.connection import Database, is_damage

__all__ = ["check", "is_damage_at_open"]

PROVEN_BYTES = 256 * 1024 * 1024
"""Size of a file up to which all of it is checked: 0.2 s, and what the disk takes to read it."""

MAX_CHECKED_CHUNKS = 500_000
"""Chunks of a larger file up to which the order of their index is looked at: 0.3 s."""


def check(database: Database, queue_ids: Collection[int], *, chunks: int, file_bytes: int) -> None:
    """Find out whether tables and indexes are sound and agree, as far as that is quick.

    What is not in order cannot be found by seeking, and what is added to a damaged page may
    overwrite what was there.

    :param chunks: how many the index has.
    :raises sqlite3.DatabaseError: they are not.
    """
    if file_bytes <= PROVEN_BYTES:
        (found,) = database.row("PRAGMA integrity_check(1)")
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        return
    try:
        (last,) = database.row("SELECT MAX(id) FROM chunks NOT INDEXED")
        lasts = [_last_in_index(database, queue_id) for queue_id in queue_ids]
        if (last or 0) != max(lasts, default=0):
            raise sqlite3.DatabaseError("the newest chunk is not where it should be")
        if chunks <= MAX_CHECKED_CHUNKS:
            _check_order(
                database.execute("SELECT queue_id, id FROM chunks INDEXED BY chunks_of_queue")
            )
    except TypeError:
        raise sqlite3.DatabaseError("the chunks have ids that are no numbers") from None


def is_damage_at_open(error: sqlite3.Error | UnicodeError) -> bool:
    """Tell damage where every statement is known to fit a sound file."""
    if isinstance(error, UnicodeError):  # SQLite quotes what it cannot read
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return is_damage(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA)


def _last_in_index(database: Database, queue_id: int) -> int:
    last: int | None
    (last,) = database.row(
        "SELECT MAX(id) FROM chunks INDEXED BY chunks_of_queue WHERE queue_id = ?", (queue_id,)
    )
    return last or 0


def _check_order(places: Iterable[tuple[int, int]]) -> None:
    """Find out whether places ascend.

    :raises sqlite3.DatabaseError: they do not.
    :raises TypeError: they are no numbers.
    """
    before = (-1, -1)
    for place in places:
        if place <= before:
            raise sqlite3.DatabaseError("the chunks are not in order")
        before = place
