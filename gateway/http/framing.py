"""Where a body ends.

Of one in chunks nothing is taken that another server may read in another way: what is not exactly
as RFC 9112 has it is malformed.
"""

import re

__all__ = ["Chunks", "Length", "MalformedChunks"]

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*+)?\r\n")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,15}|[0-9A-Fa-f]{1,15}(?:;[\t -~\x80-\xff]*+)?\r?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n")
_LINE_END = b"\r\n"

_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8192

_BEFORE_SIZE, _IN_DATA, _BEHIND_DATA, _IN_TRAILERS, _COMPLETE = range(5)


class MalformedChunks(ValueError):
    """The body is not what it should be; nothing behind can be told from it."""


class Length:
    """Follows a body whose length was told, as it arrives.

    :param length: in bytes.
    """

    __slots__ = ("_left",)

    is_chunked = False

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """Whether it has come as a whole."""
        return not self._left

    def end_in(self, data: bytes) -> int:
        """Return how many of the bytes that have come belong to the body."""
        end = min(self._left, len(data))
        self._left -= end
        return end


class Chunks:
    """Follows a body in chunks, as it arrives."""

    __slots__ = ("_begun", "_left", "_state", "_trailer_bytes")

    is_chunked = True

    def __init__(self) -> None:
        self._state = _BEFORE_SIZE
        self._left = 0  # of the chunk
        self._begun = b""  # a line that has come in part
        self._trailer_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether it has come as a whole."""
        return self._state == _COMPLETE

    def end_in(self, data: bytes) -> int:
        """Return how many of the bytes that have come belong to the body.

        :raises MalformedChunks: they are no chunks.
        """
        before = len(self._begun)
        if before:
            data, self._begun = self._begun + data, b""
        place = 0
        while self._state != _COMPLETE and place < len(data):
            place = self._step(data, place)
        return place - before

    def _step(self, data: bytes, place: int) -> int:
        """Take the next part of the body, return where it ends."""
        if self._state == _IN_DATA:
            taken = min(self._left, len(data) - place)
            self._left -= taken
            if not self._left:
                self._state = _BEHIND_DATA
            return place + taken
        if self._state == _BEFORE_SIZE:
            found = _SIZE.match(data, place)
            if found is None:
                return self._keep(data, place)
            self._left = int(found[1], 16)
            self._state = _IN_DATA if self._left else _IN_TRAILERS
            return found.end()
        if data.startswith(_LINE_END, place):
            self._state = _BEFORE_SIZE if self._state == _BEHIND_DATA else _COMPLETE
            return place + len(_LINE_END)
        if self._state == _IN_TRAILERS:
            found = _TRAILER.match(data, place)
            if found is not None:
                self._trailer_bytes += found.end() - place
                if self._trailer_bytes <= _MAX_TRAILER_BYTES:
                    return found.end()
        return self._keep(data, place)

    def _keep(self, data: bytes, place: int) -> int:
        """Keep a line that has come in part, if it may still become one."""
        line = data[place:]
        if self._state == _BEFORE_SIZE:
            is_begun = _SIZE_BEGUN.fullmatch(line) is not None
        elif self._state == _BEHIND_DATA:
            is_begun = line == b"\r"
        else:
            is_begun = b"\n" not in line
        if not is_begun or len(line) > _MAX_LINE_BYTES:
            raise MalformedChunks
        self._begun = line
        return len(data)
