"""A process that waits for a job and does it: how it is started, talked to, and ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import msgspec

from gateway.workers.job import ASK, CANNOT, HAND_OVER, LEFT, MOST_BYTES, READY, STOP_NOW, Job, Left
from gateway.workers.watch import Pulse
from gateway.workers.worker import do_job

__all__ = ["Child", "fork_children"]


class Child:
    """One process, which does nothing before it has its job.

    :param channel: to it.
    """

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.code: int | None = None  # with which it has ended, negative for a signal
        self.left: Left | None = None  # when it has stopped in order
        self.pulse = Pulse(0.0)
        self._answer: asyncio.Future[str]
        self._ended: asyncio.Future[int]
        self._writer: asyncio.StreamWriter | None = None
        self._talking: asyncio.Task[None]

    @classmethod
    def start(cls) -> Self:
        """Start a process.

        :raises OSError: there can be no other one.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            # Until it ignores it, SIGHUP would end it; what is blocked here is blocked there.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
            try:
                process = subprocess.Popen(  # noqa: S603 - ourselves
                    (sys.executable, "-m", "gateway.workers", str(fd), str(os.getpid())),
                    pass_fds=[fd],
                    start_new_session=True,  # Ctrl-C is for the supervisor, who tells the workers
                )
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        process.returncode = 0  # who waits for it is _wait
        return cls(process.pid, ours)

    async def give(self, job: Job, now: float) -> str | None:
        """Give it its job; return why it cannot do it, None when it does.

        :param now: as for ``Pulse``.
        """
        loop = asyncio.get_running_loop()
        self.pulse = Pulse(now)
        self._answer, self._ended = loop.create_future(), loop.create_future()
        self.channel.setblocking(False)
        rest = b""
        with suppress(OSError):  # it has ended, which is noticed in a moment
            rest = job.begin(self.channel)
        self._talking = loop.create_task(self._talk(rest))
        return await asyncio.shield(self._answer) or None

    def ask(self) -> None:
        """Ask whether its event loop turns; ``pulse`` hears the answer."""
        self._say(ASK)

    def hand_over(self) -> None:
        """Tell it to stop in order and to leave to another one what is pending."""
        self._say(HAND_OVER)

    def stop_now(self) -> None:
        """Tell it to stop at once."""
        self._say(STOP_NOW)
        self.send_signal(signal.SIGTERM)  # where it does not listen yet

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait until it ends; return its exit code."""
        return await asyncio.shield(self._ended)

    def abandon(self) -> None:
        """End it, which has not been given a job."""
        self.channel.close()
        self.send_signal(signal.SIGKILL)
        threading.Thread(target=os.waitpid, args=(self.pid, 0), daemon=True).start()

    def _say(self, word: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(word + b"\n")

    async def _talk(self, rest: bytes) -> None:
        """Hear everything that it says, until it ends."""
        reader, writer = await asyncio.open_unix_connection(sock=self.channel, limit=MOST_BYTES)
        writer.write(rest)
        self._writer = writer
        with suppress(OSError, ValueError):  # ValueError: it does not speak this language
            while line := await reader.readline():
                self.pulse.hear()
                self._hear(line.rstrip())
        writer.close()
        threading.Thread(target=self._wait, args=(asyncio.get_running_loop(),), daemon=True).start()
        self.code = await self._ended
        if not self._answer.done():
            self._answer.set_result("it did not start; what it printed says why")

    def _hear(self, word: bytes) -> None:
        if word == READY:
            self._answer.set_result("")
        elif word.startswith(CANNOT):
            self._answer.set_result(word.removeprefix(CANNOT).decode(errors="replace"))
        elif word.startswith(LEFT):
            self.left = msgspec.json.decode(word.removeprefix(LEFT), type=Left)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        _, status = os.waitpid(self.pid, 0)
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(self._ended.set_result, os.waitstatus_to_exitcode(status))


def fork_children(number: int) -> Sequence[Child]:
    """Return processes like this one, which share its memory as long as they do not change it.

    Only before there is a thread or an event loop.  In each of them this ends the program when
    their job is done.
    """
    children: list[Child] = []
    parent = os.getpid()
    for _ in range(number):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            for each in (ours, *(child.channel for child in children)):
                each.close()  # or the end of the supervisor would not be seen
            os.setsid()
            do_job(theirs, parent)
            raise SystemExit(0)
        theirs.close()
        children.append(Child(pid, ours))
    return children
