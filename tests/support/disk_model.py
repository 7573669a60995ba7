"""What a disk may hold after the power went, by the calls that were made before.

The strictest file system that POSIX allows:

* What ``fsync`` returned for is there.  Of what was written later, each sector is there or not, on
  its own: writes reach the disk in any order, and may be torn.
* The size of a file is any that it had since the last sync.  What was never written reads as zeros.
* Names are there when their directory was synced.  Those that came, went or changed later did so or
  not, but in order.
* A failed ``fsync`` made nothing durable, and no later one does for what was written before it: the
  kernel marks such pages clean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from random import Random
from typing import Literal

from tests.support.faultfs import Step, What

__all__ = ["Disk", "Image", "Mode"]

Mode = Literal["synced", "all", "in order", "any"]
"""What happened to unsynced changes: none arrived, all, the first ones, or any of them."""

Image = dict[str, bytes]
"""Files by their paths."""

SECTORS = (512, 4096)


@dataclass(slots=True)
class _Write:
    offset: int
    data: bytes


@dataclass(slots=True)
class _Resize:
    size: int


@dataclass(slots=True)
class _File:
    """One file, whatever its name is.

    :ivar durable: what is on the disk for certain.
    :ivar pending: changes since then, in order; a sync makes them durable.
    :ivar doubtful: how many of those met a failed sync; no other sync makes them durable.
    """

    durable: bytearray = field(default_factory=bytearray)
    pending: list[_Write | _Resize] = field(default_factory=list)
    doubtful: int = 0

    def sync(self) -> None:
        lost, kept = self.pending[: self.doubtful], self.pending[self.doubtful :]
        for change in (*filter(_is_journaled, lost), *kept):
            _apply(self.durable, change)
        # What may or may not be there stays so, except where it was written again.
        self.pending = [
            piece
            for i, change in enumerate(lost)
            for piece in _without(change, (*filter(_is_journaled, lost[i:]), *kept))
        ]
        self.doubtful = len(self.pending)

    def fail_sync(self) -> None:
        self.doubtful = len(self.pending)

    def survivor(self, mode: Mode, rng: Random) -> bytes:
        content = bytearray(self.durable)
        if mode == "in order":
            mode, until = "all", rng.randint(0, len(self.pending))
        else:
            until = len(self.pending)
        if mode == "synced":
            until = 0
        sector = rng.choice(SECTORS)
        sizes = [len(content)]
        for change in self.pending[:until]:
            if mode == "all":
                _apply(content, change)
            elif isinstance(change, _Resize):
                sizes.append(change.size)
            else:
                sizes.append(max(sizes[-1], change.offset + len(change.data)))
                for piece in _sectors(change, sector):
                    if rng.random() < 0.5:
                        _apply(content, piece)
        if mode == "any":
            _apply(content, _Resize(rng.choice(sizes)))
        return bytes(content)


class Disk:
    """A model of the disk, which follows what a process does.

    :param image: what is on it at first, durably.
    """

    def __init__(self, image: Image | None = None) -> None:
        self._files: dict[str, _File] = {}  # by name, as the process sees it
        self._durable: dict[str, _File] = {}  # by name, as it is on the disk for certain
        self._renames: list[_Names] = []  # changes of names since then, in order
        self._open: dict[int, _File | str] = {}  # a file, or a directory's name
        for name, content in (image or {}).items():
            self._files[name] = self._durable[name] = _File(bytearray(content))

    def follow(self, steps: Iterable[Step]) -> None:
        """Apply what a process did."""
        for step in steps:
            self._follow(step)

    def crash(self, mode: Mode, rng: Random) -> Image:
        """Return what may be on the disk when the power goes now."""
        names = dict(self._durable)
        until = len(self._renames)
        if mode == "synced":
            until = 0
        elif mode != "all":
            until = rng.randint(0, until)
        for change in self._renames[:until]:
            _point(names, change)
        return {name: file.survivor(mode, rng) for name, file in names.items()}

    def kill(self) -> Image:
        """End the process; return what the next one finds, on the disk or not."""
        self._open.clear()
        return {name: file.survivor("all", Random(0)) for name, file in self._files.items()}

    def _follow(self, step: Step) -> None:
        file = self._open.get(step.fd)
        match step.what:
            case What.OPEN:
                self._opened(step)
            case What.CLOSE:
                self._open.pop(step.fd, None)
            case What.WRITE if isinstance(file, _File):
                file.pending.append(_Write(step.number, step.data))
            case What.TRUNCATE if isinstance(file, _File):
                file.pending.append(_Resize(step.number))
            case What.SYNC if isinstance(file, _File):
                file.fail_sync() if step.number else file.sync()
            case What.SYNC if isinstance(file, str) and not step.number:
                self._sync_directory(file)
            case What.UNLINK:
                self._point({step.data.decode(): None})
            case What.RENAME:
                old, new = (part.decode() for part in step.data.split(b"\0"))
                self._point({new: self._files[old], old: None})
            case _:
                pass  # directories: that the spool's own exists is not in question

    def _opened(self, step: Step) -> None:
        name = step.data.decode()
        if step.number & 2:
            self._point({name: _File()})
        elif name not in self._files:
            self._open[step.fd] = name
            return
        elif step.number & 1:
            self._files[name].pending.append(_Resize(0))
        self._open[step.fd] = self._files[name]

    def _point(self, change: "_Names") -> None:
        _point(self._files, change)
        self._renames.append(change)

    def _sync_directory(self, directory: str) -> None:
        later: list[_Names] = []
        for change in self._renames:
            if PurePath(next(iter(change))).parent == PurePath(directory):
                _point(self._durable, change)
            else:
                later.append(change)
        self._renames = later


_Names = dict[str, _File | None]
"""Names that change together; those with None go."""


def _point(names: dict[str, _File], change: _Names) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _is_journaled(change: _Write | _Resize) -> bool:
    """Tell what file systems keep apart from data, and never forget."""
    return isinstance(change, _Resize)


def _apply(content: bytearray, change: _Write | _Resize) -> None:
    if isinstance(change, _Resize):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _sectors(write: _Write, size: int) -> Iterable[_Write]:
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min((start // size + 1) * size, end)
        yield _Write(start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _without(change: _Write | _Resize, later: Sequence[_Write | _Resize]) -> list[_Write | _Resize]:
    """Return the parts of a write that nothing later covers; sizes are always settled."""
    if isinstance(change, _Resize):
        return []
    pieces = [change]
    for cover in later:
        if isinstance(cover, _Resize):
            first, last = cover.size, change.offset + len(change.data)
        else:
            first, last = cover.offset, cover.offset + len(cover.data)
        left: list[_Write] = []
        for piece in pieces:
            end = piece.offset + len(piece.data)
            if first > piece.offset:
                left.append(_Write(piece.offset, piece.data[: max(0, first - piece.offset)]))
            if last < end:
                skip = max(0, last - piece.offset)
                left.append(_Write(piece.offset + skip, piece.data[skip:]))
        pieces = [piece for piece in left if piece.data]
    return list(pieces)
