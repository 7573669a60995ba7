"""Coroutines that begin at once and need no task: most requests wait once, for the disk.

A task would begin in the next turn of the event loop, and cost a third of what such a request does.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["begin"]


def begin(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until it waits, and go on whenever what it waits for is there.

    It runs in no task: neither can it be cancelled, nor may it use what needs a task, as
    ``asyncio.timeout`` does.  It must not raise.
    """
    _Steps(coroutine).go_on()


class _Steps:
    __slots__ = ("_send",)

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._send = coroutine.send

    def go_on(self, _: object = None) -> None:
        try:
            future: asyncio.Future[Any] | None = self._send(None)
        except StopIteration:
            return
        if future is None:  # it gives others their turn
            asyncio.get_running_loop().call_soon(self.go_on)
            return
        future._asyncio_future_blocking = False  # as every task does: it has been awaited
        future.add_done_callback(self.go_on)
