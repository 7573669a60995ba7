"""A body that arrives, for requests that are answered without aiohttp."""

__all__ = ["Incoming"]


class Incoming:
    """Holds what has come of a body and was not read yet; its members are those of a StreamReader.

    :ivar total_bytes: that have come.
    """

    __slots__ = ("_error", "_is_complete", "_parts", "total_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_complete = False
        self._error: BaseException | None = None
        self.total_bytes = 0

    def feed_data(self, data: bytes) -> None:
        """Take what has come; nothing more is kept once the body was given up."""
        self.total_bytes += len(data)
        if self._error is None:
            self._parts.append(data)

    def feed_eof(self) -> None:
        """Note that it is complete."""
        self._is_complete = True

    def is_eof(self) -> bool:
        """Return whether it has come as a whole."""
        return self._is_complete

    def at_eof(self) -> bool:
        """Return whether it was read as a whole."""
        return self._is_complete and not self._parts

    def read_nowait(self) -> bytes:
        """Return what has come since the last time."""
        if self._error is not None:
            raise self._error
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def exception(self) -> BaseException | None:
        """Return why it was given up; None unless it was."""
        return self._error

    def set_exception(self, error: BaseException) -> None:
        """Give it up: reading it raises an error."""
        self._error = error
        self._parts.clear()
