"""Files that lose their names while they are open: put back, with everything in them."""

import logging
import os
import sqlite3

from gateway.errors import SpoolError
from gateway.spool.sqlite.files import Files, Lock, identity, sync

__all__ = ["find_again"]

log = logging.getLogger(__name__)


def find_again(
    connection: sqlite3.Connection, files: Files, db: tuple[int, int] | None, lock: Lock
) -> None:
    """Bring the file that is open back to its name.

    :param db: which file that is.
    :raises SpoolError: that needs a person first.
    """
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    here, directory = identity(files.db), identity(files.directory)
    if here == db:
        # Only the log lost its name: what is in it goes into the file, then it starts anew.
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise SpoolError(f"the log of {files.db} was moved, and it is still in use")
    elif here is not None:
        raise SpoolError(
            f"another file lies at {files.db} now; move it away, and the gateway puts its own "
            "back, or restart the gateway to use that one"
        )
    elif directory is None:
        raise SpoolError(
            f"the directory {files.directory} is gone: bring it back, or make an empty one"
        )
    elif db is None or directory[0] != db[0]:
        raise SpoolError(
            f"{files.directory} is on another disk than before; mount the right one again"
        )
    else:
        lock.take()
        _copy_to_name(connection, files)
        log.warning("%s had vanished: written again, with everything in it", files.db)


def _copy_to_name(connection: sqlite3.Connection, files: Files) -> None:
    os.close(os.open(files.unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    target = sqlite3.connect(files.unfinished, isolation_level=None)
    try:
        connection.backup(target)
    finally:
        target.close()
    sync(files.unfinished)
    files.unfinished.rename(files.db)
    sync(files.directory)
