"""The files of one spool: their names, whose they are, and how they are made durable."""

import fcntl
import os
import re
from pathlib import Path

from gateway.errors import SpoolError, SpoolLocked
from gateway.spool.sqlite.folder import check_file, explained

__all__ = [
    "Files",
    "Lock",
    "check_files",
    "identity",
    "number_of",
    "numbers_in",
    "read_through",
    "spool_name",
    "sync",
    "write_again",
]

_BLOCK_BYTES = 1024 * 1024


def spool_name(number: int) -> str:
    """Return what the files of a worker's spool are called."""
    return f"worker-{number}"


def number_of(name: str) -> int:
    """Return the worker whose spool's files are called so; 0 for any other name."""
    found = re.fullmatch(r"worker-(\d{1,6})", name)
    return int(found[1]) if found else 0


def numbers_in(directory: Path) -> list[int]:
    """Return the workers that have left a spool in a directory, also one that is half replaced.

    :raises SpoolError: it cannot be read; there are none where it is missing.
    """
    found = (re.fullmatch(r"worker-(0|[1-9]\d{0,5})\.(db|recovered)", n) for n in _names(directory))
    return sorted({int(match[1]) for match in found if match})


def check_files(directory: Path) -> None:
    """Find out whether what is in a directory lets all spools in it be opened, changing nothing.

    :raises SpoolError: it does not; there is nothing in the way where the directory is missing.
    """
    for name in sorted(_names(directory)):
        if re.fullmatch(r"worker-\d+\.(db(-wal|-shm)?|recovered|lock|ledger)", name):
            check_file(directory / name)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SpoolError(explained(directory, error)) from error


class Files:
    """Names beside SQLite's main file.

    :param db: the main file.
    """

    def __init__(self, db: Path) -> None:
        self.directory = db.parent
        self.db = db
        self.wal = db.with_name(db.name + "-wal")
        self.shm = db.with_name(db.name + "-shm")  # SQLite makes it again from the log
        self.lock = db.with_suffix(".lock")
        self.sidecar = db.with_suffix(".ledger")
        self.reserve = db.with_suffix(".reserve")
        self.unfinished = db.with_suffix(".unfinished")  # being written, to replace the main file
        self.recovered = db.with_suffix(".recovered")  # the same once it is whole: now it has to
        self.needed = (self.db, self.wal, self.shm, self.recovered, self.lock, self.sidecar)
        self._watched = tuple(map(str, (self.db, self.wal, self.shm)))
        self._folder = str(self.directory)

    def identities(self) -> tuple[tuple[int, int] | None, ...]:
        """Return which files have SQLite's three names now."""
        return tuple(map(identity, self._watched))

    def changed(self) -> tuple[int, int, int] | None:
        """Return which directory that is, and when a name in it last came, went or changed.

        In nanoseconds since the epoch; None when the directory is gone.  It is the time that
        nobody can set.
        """
        try:
            status = os.stat(self._folder)  # noqa: PTH116  # two of these a commit
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def set_aside(self, now_ms: int) -> Path:
        """Return the name that a damaged main file gets."""
        return self.db.with_name(f"{self.db.stem}.damaged-{now_ms}.db")


class Lock:
    """The right to change the spool, for as long as this process lives.

    :raises SpoolLocked: (from ``take``) another process has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock, again where its file has lost its name."""
        if self.is_held():
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                raise SpoolLocked(
                    f"the spool {self._path.with_suffix('.db')} is in use: another process holds "
                    f"{self._path}; stop that process, or give this one another spool.path"
                ) from None
            raise SpoolError(
                f"cannot lock {self._path}: {error}; spool.path has to be on a disk whose file "
                "system has locks (flock), as local ones do"
            ) from error
        self.release()
        self._fd = fd

    def is_held(self) -> bool:
        """Tell whether the lock is taken, and on the file that others would see."""
        if self._fd is None:
            return False
        status = os.fstat(self._fd)
        return identity(self._path) == (status.st_dev, status.st_ino)

    def release(self) -> None:
        """Let others have it.  Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def identity(path: Path | str) -> tuple[int, int] | None:
    """Return which file has a name: device and number, None when there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def sync(path: Path) -> None:
    """Make a file durable, or the names in a directory, which syncing the files does not."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_through(path: Path) -> None:
    """Read a file to its end, for nothing but to know that it can be read.

    :raises OSError: the disk does not answer.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while block := os.pread(fd, _BLOCK_BYTES, offset):
            offset += len(block)
    finally:
        os.close(fd)


def write_again(log: Path) -> None:
    """Make a log durable of which an fsync may have failed.

    After a failed fsync the kernel takes the pages for clean though the disk never got them, and
    the next fsync succeeds.  A commit that SQLite appends behind such frames would be
    acknowledged, and a power cut would end the log before it.  Written again, the same bytes are
    dirty again, and this fsync tells the truth.  An earlier process may have died of the same, so
    every log that is found is treated like this.
    """
    try:
        fd = os.open(log, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while block := os.pread(fd, _BLOCK_BYTES, offset):
            offset += os.pwrite(fd, block, offset)
        os.fsync(fd)
    finally:
        os.close(fd)
