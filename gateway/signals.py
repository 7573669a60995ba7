"""Signals: what ends a process that serves, what tells it something, and what does nothing."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["Signals", "ignore_signals"]

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_BROKEN = frozenset(
    {
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE),
        *(signal.SIGSEGV, signal.SIGSYS, signal.SIGXCPU),
    }
)
_JOBS = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSTOP),  # nobody can ignore them
        *(signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH),
    }
)
_KEPT = frozenset(_STOPS) | _BROKEN | _JOBS


def ignore_signals() -> None:
    """Let no signal end this process that means neither to stop nor that something is broken.

    Terminals that are closed, tools that rotate logs and timers of whoever started it send some.
    """
    for number in signal.valid_signals() - _KEPT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])  # see gateway.workers.child


class Signals:
    """What the process is told by signals from now on, at any moment.

    SIGTERM, SIGINT and SIGQUIT tell it to stop, the second one at once; SIGHUP to read its
    configuration again.

    :param reloads: whether it can do that; otherwise SIGHUP stays what it was.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self._signals = 0
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self.reload = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.add_signal_handler(number, self._take_signal)
        if reloads:
            loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _take_signal(self) -> None:
        self._signals += 1
        self.stop(at_once=self._signals > 1)

    def stop(self, *, at_once: bool = False) -> None:
        """Tell it to stop; in order, unless it was told before to do it at once."""
        self._stop.set()
        if at_once:
            self._stop_now.set()

    async def until_stop(self) -> None:
        """Wait until it is told to stop."""
        await self._stop.wait()

    async def has_started(self, start: Coroutine[Any, Any, None]) -> bool:
        """Start something; return False when told to stop meanwhile, and it was given up.

        :param start: may be cancelled at any time, and then leaves nothing behind.
        """
        return await _unless(self._stop, start)

    async def stop_in_order(
        self, stop: Coroutine[Any, Any, None], stop_now: Callable[[], Awaitable[None]]
    ) -> None:
        """Stop in order; when told again meanwhile, stop at once.

        :param stop: may be cancelled at any time.
        """
        if not await _unless(self._stop_now, stop):
            await stop_now()


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do something until an event happens; return whether it was done before."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait((working,))
        return False
    await working
    return True
