"""The format of the spool's file: how one is made or brought up to date, and what it has to be."""

import functools
import os
import sqlite3
import struct
from importlib.resources import files
from pathlib import Path

from gateway.errors import SpoolError

__all__ = ["FORMAT", "create", "first_page", "is_cut", "is_ours", "upgrade"]

FORMAT = 3
"""The newest file in ``schema/``; each spool says which it has in its ``user_version``."""

PAGE_BYTES = 4096

_CREATE_PRAGMAS = (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL")  # before any table
_IN_WAL_MODE = b"\2\2"
_MODES = (b"\1\1", _IN_WAL_MODE)
_TABLES = ("queues", "chunks", "ledger", "dead_letters", "damaged_chunks", "damaged_letters")
_INDEXES = ("chunks_of_queue", "dead_letters_by_reason")


def create(connection: sqlite3.Connection) -> None:
    """Make a new spool of an empty file."""
    for pragma in _CREATE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    upgrade(connection, "")


def upgrade(connection: sqlite3.Connection, name: object) -> None:
    """Bring a file to the newest format.

    :raises SpoolError: it is newer than that.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise SpoolError(
            f"the spool {name} has format {version}, newer than this gateway's {FORMAT}: "
            "run the version that wrote it, or choose another spool.path"
        )
    schema = files("gateway.spool.sqlite").joinpath("schema")
    for step in range(version + 1, FORMAT + 1):
        script = schema.joinpath(f"{step}.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {step}; COMMIT;")


@functools.cache
def first_page() -> bytes:
    """Return the first page of a new file: header and schema, the same in every spool.

    It tells nothing of the size of the file, which SQLite then finds by itself.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create(connection)
    page = bytearray(connection.serialize()[:PAGE_BYTES])
    connection.close()
    page[18:20] = _IN_WAL_MODE
    struct.pack_into(">I", page, 24, 1)  # a change counter that is not that at offset 92 says so
    struct.pack_into(">I", page, 92, 0)
    struct.pack_into(">II", page, 32, 0, 0)  # no free pages
    return bytes(page)


def is_ours(connection: sqlite3.Connection) -> bool:
    """Tell whether the tables are what and where they are in every spool.

    :raises sqlite3.Error: the schema cannot be read.
    """
    return _shape(connection) == _model()


@functools.cache
def _model() -> list[object]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create(connection)
    shape = _shape(connection)
    connection.close()
    return shape


def _shape(connection: sqlite3.Connection) -> list[object]:
    """Return what tells tables apart; not their SQL, which SQLite may word in another way."""
    places = dict(connection.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    return [
        *(places.get(table) for table in _TABLES),
        *(connection.execute(f"PRAGMA table_info({table})").fetchall() for table in _TABLES),
        *(connection.execute(f"PRAGMA index_info({index})").fetchall() for index in _INDEXES),
    ]


def is_cut(db: Path, wal: Path) -> bool:
    """Tell whether the file ends before its last page, and the log does not have the rest.

    SQLite itself notices that only when it reads such a page.  It also takes some flipped bits of
    the header for a file that is only to be read; they count as well.

    :raises OSError: a file cannot be read.
    """
    with db.open("rb") as file:
        head = file.read(100)
        size = os.fstat(file.fileno()).st_size
    if not head:
        return False
    model = first_page()
    fixed = (slice(18), slice(20, 24), slice(44, 48), slice(56, 60))
    if head[18:20] not in _MODES or any(head[part] != model[part] for part in fixed):
        return True
    (pages,) = struct.unpack_from(">I", head, 28)
    if head[24:28] != head[92:96]:
        pages = 0  # the number is out of date; SQLite ignores it as well
    logged: set[int] = set()
    try:
        with wal.open("rb") as log:
            salts = log.read(32)[16:24]
            while len(frame := log.read(24)) == 24 and frame[8:16] == salts:
                page, committed = struct.unpack_from(">II", frame)
                logged.add(page)
                pages = committed or pages
                log.seek(PAGE_BYTES, os.SEEK_CUR)
    except FileNotFoundError:
        pass
    return not logged.issuperset(range(size // PAGE_BYTES + 1, pages + 1))
