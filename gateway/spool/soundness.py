"""Whether a file that was opened is as it was written, as far as that is quick."""

import sqlite3
from collections.abc import Iterable

from gateway.spool.database import Database, is_damage

__all__ = ["check_chunks", "is_damage_at_open"]

MAX_CHECKED_CHUNKS = 500_000
"""Chunks up to which the order of their index is looked at: 0.3 s."""

MAX_CHECKED_BYTES = 64 * 1024 * 1024
"""Size of a file up to which its table of chunks is compared with that: 0.1 s."""


def check_chunks(
    database: Database, queue_ids: Iterable[int], *, chunks: int, file_bytes: int
) -> None:
    """Find out whether table and index agree.

    What is not in order cannot be found by seeking, and what is appended behind a damaged page is
    lost with it.

    :param chunks: how many the index has.
    :raises sqlite3.DatabaseError: they do not.
    """
    try:
        (last,) = database.row("SELECT MAX(id) FROM chunks NOT INDEXED")
        lasts = [_last_in_index(database, queue_id) for queue_id in queue_ids]
        if (last or 0) != max(lasts, default=0):
            raise sqlite3.DatabaseError("the newest chunk is not where it should be")
        if chunks <= MAX_CHECKED_CHUNKS:
            _check_order(
                database.execute("SELECT queue_id, id FROM chunks INDEXED BY chunks_of_queue")
            )
        if file_bytes <= MAX_CHECKED_BYTES:
            found = _check_order(database.execute("SELECT 0, id FROM chunks NOT INDEXED"))
            if found != chunks:
                raise sqlite3.DatabaseError("the table and the index of the chunks differ")
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
