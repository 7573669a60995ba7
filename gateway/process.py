"""What every process of the gateway does around its work: the loop, the log, garbage."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from gateway.clock import SystemClock

__all__ = [
    "collect_garbage_by_time",
    "end_with_parent",
    "log_to_stderr",
    "run_async",
]

_T = TypeVar("_T")

_SET_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG

_COLLECT_S = 0.1
"""Between two looks at what is young.  What a look leaves is old, and is not looked at again: where
thousands of connections came and went, a second look at those of the last 0.4 s took 14 ms."""

_MUCH_S = 0.001
"""After a look that took longer the next one comes in half the time.  Under load most take less."""
_FULL_S = 60.0
_FULL_SHARE = 0.0001
"""Full collections have a minute between them at least, and this share of all time at most."""

_GIVE_BACK_S = 60.0

_MOST_YOUNG = 20_000
_FULL_NEVER = 10_000


def log_to_stderr(who: str = "") -> None:
    """Log one line an event to standard error.

    :param who: stands in every line, where several processes write to the same place.
    """
    name = f"{who} " if who else ""
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s {name}%(name)s: %(message)s"
    )


def run_async(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def end_with_parent(pid: int) -> bool:
    """Have this process killed when its parent ends, however that happens, where the system can.

    :param pid: of its parent; returns False when that has ended already.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux
    if prctl is not None:
        prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    return os.getppid() == pid


def collect_garbage_by_time() -> None:
    """Keep the garbage collector from stopping everything for long.

    It usually counts objects: those made less those freed.  Requests under way make many and free
    all of them, so that it looks in vain, which took a tenth of their time; and where connections
    come as fast as others go it counts little, but has to look at all that came meanwhile, which
    took 20 ms.  Here it looks at what the last moment has left, and counts only where the loop has
    no time.  A full collection takes 0.1 s with 10,000 connections, and the more rarely it is made.

    Once a minute the C library gives free pages back.  Bodies of all sizes leave it with more holes
    all the time: under load a process grew by 2 MB a minute with nothing lost in it.
    """
    gc.freeze()  # what has been loaded stays
    gc.set_threshold(_MOST_YOUNG, _FULL_NEVER, _FULL_NEVER)
    loop = asyncio.get_running_loop()
    _collect(loop, loop.time() + _FULL_S)
    _give_back(loop)


def _give_back(loop: asyncio.AbstractEventLoop) -> None:
    """Give free memory back to the system (5 ms for 40 MB), where the C library can (glibc's)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
        loop.call_later(_GIVE_BACK_S, _give_back, loop)


def _collect(loop: asyncio.AbstractEventLoop, full_at: float) -> None:
    clock = SystemClock()  # the loop's stands still meanwhile
    began = clock.monotonic()
    is_full = loop.time() >= full_at
    gc.collect(2 if is_full else 1)
    took_s = clock.monotonic() - began
    if is_full:
        full_at = loop.time() + max(_FULL_S, took_s / _FULL_SHARE)
    again_s = _COLLECT_S / 2 if took_s > _MUCH_S else _COLLECT_S
    loop.call_later(again_s, _collect, loop, full_at)
