"""The folder of the spool: whether it can be used, and what stands in the way."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from gateway.errors import SpoolError

__all__ = ["FolderState", "check_file", "explained", "look_at", "prepare"]

_REMEDY = "name another folder with spool.path, on a local disk that this user may write to"


class FolderState(NamedTuple):
    """What can be told of a folder without changing anything.

    :param problem: why no spool can be there, "" when one can.
    :param disk_free: what its disk has left, in bytes.
    """

    problem: str
    disk_free: int = 0


def look_at(directory: Path) -> FolderState:
    """Return what can be told of the folder of a spool, also of one that is still to be made."""
    try:
        nearest = _nearest(directory)
        if not os.access(nearest, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
            code = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(code, os.strerror(code))
        disk = os.statvfs(nearest)
    except OSError as error:
        return FolderState(explained(directory, error))
    return FolderState("", disk.f_bavail * disk.f_frsize)


def prepare(directory: Path) -> None:
    """Make the folder where it is missing.

    :raises SpoolError: that is not possible; the text says what to do.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(explained(directory, error)) from error


def check_file(path: Path) -> None:
    """Find out whether a file can be read and written, or made where it is missing.

    :raises SpoolError: it cannot; the text says what to do.
    """
    if problem := _problem(path):
        raise SpoolError(
            f"spool.path: {problem}; move it away or let this user have it, or name another folder "
            "with spool.path"
        )


def _problem(path: Path) -> str:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except FileNotFoundError:
        target = path.resolve()
        is_astray = path.is_symlink() and not target.parent.is_dir()
        return f"{path} is a link to {target}, in a folder that does not exist" * is_astray
    except OSError as error:
        return f"{path}: {error.strerror}"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder and no file"
    if not stat.S_ISREG(mode):
        return f"{path} is no ordinary file"
    may = os.access(path, os.R_OK | os.W_OK)
    return "" if may else f"user {os.geteuid()} may not read and write {path}"


def explained(directory: Path, error: OSError) -> str:
    """Return why a folder cannot be used, for a person."""
    return f"spool.path: {directory} cannot be used: {_reason(directory, error)}; {_REMEDY}"


def _reason(directory: Path, error: OSError) -> str:
    text = error.strerror or str(error)
    try:
        nearest = _nearest(directory)
    except OSError as obstacle:
        return str(obstacle.strerror)
    if error.errno in (errno.EACCES, errno.EPERM):
        what = "list" if os.access(nearest, os.W_OK | os.X_OK) else "write to"
        return f"user {os.geteuid()} may not {what} {nearest} ({text})"
    if error.errno == errno.EROFS:
        return f"{nearest} is on a file system that is only to be read"
    return f"{text}, in {nearest}"


def _nearest(directory: Path) -> Path:
    """Return the folder, or the nearest one above it that exists.

    :raises OSError: something else is in the way; its text says what.
    """
    path = directory.absolute()
    for part in reversed((path, *path.parents)):
        try:
            mode = os.stat(part).st_mode  # noqa: PTH116
        except FileNotFoundError:
            if not part.is_symlink():
                return part.parent
            target = part.readlink()
            text = f"{part} is a link to {target}, which does not exist"
            raise FileNotFoundError(errno.ENOENT, text) from None
        except OSError as error:
            raise OSError(error.errno, f"{part}: {error.strerror}") from None
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{part} is a file and no folder")
    return path
