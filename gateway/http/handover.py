"""What is not answered by the connection itself is answered by aiohttp, through its public parts.

A protocol of aiohttp's factory has the connection's bytes of one request after the other, and a
transport that writes to the connection.  Whatever concerns the connection as a whole (deadlines,
memory, how it ends) is decided in front of it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

__all__ = ["EXTRA", "Front", "Handover"]

EXTRA = "gateway.handover"
"""The name by which a handler finds the ``Handover`` of its request (``get_extra_info``)."""

_Bytes: TypeAlias = bytes | bytearray | memoryview


class Front(Protocol):
    """The connection, as far as aiohttp may touch it."""

    transport: asyncio.Transport | None
    told_peer: tuple[Any, ...] | None

    def refused_by_aiohttp(self) -> None:
        """Answer a request that aiohttp does not take for one."""

    def abort(self) -> None:
        """End the connection at once."""

    def fail(self) -> None:
        """End the connection because an answer has failed."""

    def hold_reading(self, *, is_held: bool) -> None:
        """Read no further while a body's buffer is full."""


class Handover(asyncio.Transport):
    """A protocol of aiohttp's, and the transport that it knows.

    :param front: has the connection itself.
    :param factory: makes the protocol.
    """

    def __init__(self, front: Front, factory: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self.front: Front | None = front
        self._waits_for_handler = False
        self._is_handled = False
        self._protocol: asyncio.Protocol | None = factory()
        self._protocol.connection_made(self)

    # From the connection

    def begin(self, data: bytes) -> None:
        """Pass on a request: its head, and what has come of its body."""
        self._waits_for_handler = True
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Pass on what has come of the body."""
        if self._protocol is not None:
            self._protocol.data_received(data)

    def note_handler(self) -> None:
        """Note that a handler has the request: what is written now is its answer."""
        self._waits_for_handler = False
        self._is_handled = True

    def note_end(self) -> None:
        """Note that the answer is written."""
        self._is_handled = False

    def pause_writing(self) -> None:
        """Have whoever answers wait: the client does not read."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Have it go on."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def end(self, error: BaseException | None = None) -> None:
        """Part with the connection.  Idempotent."""
        self.front = None
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error if isinstance(error, Exception) else None)

    # From aiohttp

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the handover itself by its name, the client's address, else as asyncio has it."""
        if name == EXTRA:
            return self
        if self.front is None or self.front.transport is None:
            return default
        if name == "peername":
            return self.front.told_peer
        return self.front.transport.get_extra_info(name, default)

    def write(self, data: _Bytes) -> None:
        """Write a part of the answer."""
        front = self.front
        if front is None or front.transport is None:
            return
        if self._is_handled:
            front.transport.write(data)
        elif self._waits_for_handler:
            self._waits_for_handler = False
            front.refused_by_aiohttp()

    def writelines(self, list_of_data: Iterable[_Bytes]) -> None:
        """Write parts of the answer."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Return False: how a connection ends is not aiohttp's to decide."""
        return False

    def is_closing(self) -> bool:
        """Return whether nothing can be written any more."""
        front = self.front
        return front is None or front.transport is None or front.transport.is_closing()

    def close(self) -> None:
        """Part with the connection, which may go on without this protocol."""
        front, self.front = self.front, None
        if front is not None:
            asyncio.get_running_loop().call_soon(self.end)
            if self._waits_for_handler or self._is_handled:
                front.fail()

    def abort(self) -> None:
        """End the connection at once: what was written of an answer cannot be taken back."""
        if self.front is not None:
            self.front.abort()

    def pause_reading(self) -> None:
        """Read no further for now."""
        if self.front is not None:
            self.front.hold_reading(is_held=True)

    def resume_reading(self) -> None:
        """Read on."""
        if self.front is not None:
            self.front.hold_reading(is_held=False)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the client to read."""
        if self.front is None or self.front.transport is None:
            return 0
        return self.front.transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Change nothing: the connection has its limits."""
