"""The rows of the ledger: how they are proven, and how they are made to add up after damage."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from isal import isal_zlib
from msgspec.structs import fields, replace

from gateway.model import Ledger

__all__ = ["COUNTED", "balance", "later", "read_rows", "write_row"]

COUNTED = tuple(each.name for each in fields(Ledger) if each.name != "pending")
"""The columns.  Pending is counted from the chunks, so that the two can prove each other."""

_COLUMNS = ", ".join(COUNTED)
_READ = f"SELECT destination, {_COLUMNS}, checksum FROM ledger"  # noqa: S608  # our own names
_WRITE = (
    f"INSERT OR REPLACE INTO ledger (destination, {_COLUMNS}, checksum)"  # noqa: S608
    f" VALUES (?, ?{', ?' * len(COUNTED)})"
)

_Execute = Callable[[str, Sequence[object]], sqlite3.Cursor]


def read_rows(execute: _Execute) -> dict[str, Ledger]:
    """Return the ledger by destination, without what is pending.

    :raises sqlite3.DatabaseError: a row is not as it was written.
    """
    rows = {}
    for destination, *counts, checksum in execute(_READ, ()):
        is_whole = isinstance(destination, str) and all(isinstance(count, int) for count in counts)
        # Rows of format 1 have no checksum.
        if not is_whole or checksum not in (None, _checksum(destination, counts)):
            raise sqlite3.DatabaseError(f"the ledger's row of {destination!r} is damaged")
        rows[destination] = Ledger(**dict(zip(COUNTED, counts, strict=True)))
    return rows


def write_row(execute: _Execute, destination: str, row: Ledger) -> None:
    """Write the counters of a destination."""
    counts = [getattr(row, name) for name in COUNTED]
    execute(_WRITE, (destination, *counts, _checksum(destination, counts)))


def later(rows: Mapping[str, Ledger], others: Mapping[str, Ledger]) -> dict[str, Ledger]:
    """Return each destination's row from the source that knows more of it: counters only grow."""
    empty = Ledger()
    return {
        name: max(rows.get(name, empty), others.get(name, empty), key=_progress)
        for name in {**rows, **others}
    }


def balance(row: Ledger, *, pending: int, letters: int) -> Ledger:
    """Return the row that fits what is there: what is missing is lost, and no count is negative.

    Where more is there than the row knows of, records come back whose end is not on disk any
    more: they count as not delivered, and are delivered again.

    :param pending: records in the chunks that are there.
    :param letters: dead letters that are there.
    """
    missing = row.accepted - row.delivered - row.purged - row.dropped - row.lost - pending - letters
    if missing >= 0:
        row = replace(row, lost=row.lost + missing)
    else:
        for name in ("delivered", "lost", "dropped", "purged"):
            taken = min(getattr(row, name), -missing)
            row = replace(row, **{name: getattr(row, name) - taken})
            missing += taken
        row = replace(row, accepted=row.accepted - missing)
    return replace(
        row,
        dead_lettered=letters + row.purged + row.dropped + row.lost,
        replayed=min(row.replayed, row.accepted),
        pending=pending,
    )


def _progress(row: Ledger) -> tuple[int, int]:
    return row.accepted, row.delivered + row.dead_lettered + row.replayed


def _checksum(destination: str, counts: Sequence[int]) -> int:
    return isal_zlib.crc32("\0".join(map(str, (destination, *counts))).encode("utf-8", "replace"))
