"""Coroutines that begin at once and need no task: most requests wait once, for the disk."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Steps"]


class Steps:
    """Runs a coroutine until it waits, and goes on whenever what it waits for is there.

    A task would begin it in the next turn of the event loop.  Without one it may not use what needs
    a task, as ``asyncio.timeout`` does, and it must not raise.
    """

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._waits_for: asyncio.Future[Any] | None = None

    def go_on(self, _: object = None) -> None:
        """Begin, or go on."""
        try:
            future: asyncio.Future[Any] | None = self._coroutine.send(None)
        except StopIteration:
            self._waits_for = None
            return
        self._waits_for = future
        if future is None:  # it gives others their turn
            asyncio.get_running_loop().call_soon(self.go_on)
            return
        future._asyncio_future_blocking = False  # as every task does: it has been awaited
        future.add_done_callback(self.go_on)

    def close(self) -> None:
        """End it where it waits; what it waits for goes on."""
        if self._waits_for is not None:
            self._waits_for.remove_done_callback(self.go_on)
            self._waits_for = None
            self._coroutine.close()
