"""What has come of a request, and waits: for the rest of its head, or for the one before."""

from collections import deque
from typing import Literal

from gateway.http.malformed import HeadLimits, has_fault
from gateway.http.memory_budget import Budget, MemoryLease

__all__ = ["Queued", "UnfinishedHead"]

_END = b"\r\n\r\n"

_HEAD_BYTES = 1024
_LINE_BYTES = 400
_TEXTS = 4
"""What an unfinished head and each line of it take besides their text, and how often that is there:
as bytes, as text, and as what it was cut from."""

_PIECE_BYTES = 16 * 1024
"""What is left of a piece is copied for each request in it."""


class UnfinishedHead:
    """A head that does not come as a whole.

    :ivar text: what has come of it.
    """

    __slots__ = ("_counted", "_lease", "_limits", "_searched", "text")

    def __init__(self, budget: Budget, limits: HeadLimits) -> None:
        self.text = bytearray()
        self._limits = limits
        self._lease: MemoryLease = budget.lease()
        self._counted = 0  # of the text, by what it takes
        self._searched = 0  # of the text: lines that were looked at

    def add(self, data: bytes) -> Literal["unfinished", "whole", "faulty", "too much"]:
        """Take what has come; return what the head is now.

        "too much" is one that there is no room for.
        """
        text, searched = self.text, self._searched
        begin = max(0, len(text) - len(_END) + 1)
        text += data
        if text.find(_END, begin) >= 0:
            return "whole"
        if len(text) > self._limits.head_bytes or has_fault(
            bytes(text[searched:]), self._limits, is_first=not searched
        ):
            return "faulty"
        self._searched = max(searched, text.rfind(b"\n", searched) + 1)
        self._counted += _TEXTS * len(data) + _LINE_BYTES * data.count(b"\n")
        has_room = self._lease.resize(_HEAD_BYTES + self._counted, arriving=True)
        return "unfinished" if has_room else "too much"

    def release(self) -> None:
        """Give back what it holds."""
        self._lease.release()


class Queued:
    """What has come behind a request, in pieces.

    :ivar size: in bytes.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add what comes last."""
        self._pieces.extend(_cut(data))
        self.size += len(data)

    def push_back(self, data: bytes) -> None:
        """Add what comes first."""
        self._pieces.extendleft(reversed(_cut(data)))
        self.size += len(data)

    def pop(self) -> bytes:
        """Return the first piece, that is queued no more."""
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece

    def clear(self) -> None:
        """Forget all of it."""
        self._pieces.clear()
        self.size = 0


def _cut(data: bytes) -> list[bytes]:
    return [data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES)]
