"""Room on the disk that is given up when it is full, because deleting takes room as well."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["RESERVE_BYTES", "Reserve"]

RESERVE_BYTES = 8 * 1024 * 1024
"""What settling a full group writes: its pages to the log, and from there into the file."""


class Reserve:
    """A file that is nothing but its size.

    ``is_given_up`` from when it was needed until it could be taken back.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size
        self._is_held = False
        self.is_given_up = False

    def take(self, min_free_bytes: int) -> None:
        """Take the room, where the disk has that and as much again.

        :param min_free_bytes: what has to stay free besides.
        """
        if self._is_held:
            return
        fd = -1
        with suppress(OSError):
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < min_free_bytes + 2 * self._size:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.posix_fallocate(fd, 0, self._size)
            self._is_held, self.is_given_up = True, False
        if fd >= 0:
            os.close(fd)
        if not self._is_held:
            self._delete()

    def give_up(self) -> bool:
        """Make room; tell whether there was any to make."""
        had, self._is_held = self._is_held, False
        self.is_given_up = True
        self._delete()
        return had

    def lost(self) -> None:
        """Take note that the file may not be there any more."""
        self._is_held = False

    def _delete(self) -> None:
        with suppress(OSError):
            fd = os.open(self._path, os.O_RDWR | os.O_TRUNC)
            try:
                os.fsync(fd)  # some file systems free the room only then
            finally:
                os.close(fd)
        with suppress(OSError):
            self._path.unlink()
