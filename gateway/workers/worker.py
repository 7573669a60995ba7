"""What a worker does: one job, until it is told to stop, or the supervisor has gone."""

import asyncio
import socket
from contextlib import suppress

import msgspec

from gateway.app import App
from gateway.errors import SpoolError
from gateway.http.tls import CertificateError
from gateway.output import detach_output
from gateway.process import (
    collect_garbage_by_time,
    end_with_parent,
    log_to_stderr,
    run_async,
)
from gateway.signals import Signals, ignore_signals
from gateway.spool.backends import name_of
from gateway.workers.job import ALIVE, ASK, CANNOT, HAND_OVER, LEFT, READY, STOP_NOW, Job, Left

__all__ = ["do_job"]


def do_job(channel: socket.socket, supervisor: int) -> None:
    """Wait for a job and do it, in a process that has done nothing else.

    :param channel: to the supervisor.
    :param supervisor: its process.
    """
    detach_output()
    ignore_signals()
    if not end_with_parent(supervisor):
        return
    lasting = channel.dup()  # until the process has ended: then the supervisor sees it
    job = Job.receive(channel)
    if job is not None:
        channel.sendall(ALIVE + b"\n")  # all that this needs is loaded
        log_to_stderr(name_of(job.number))
        run_async(_Worker(job).work(channel))
    del lasting


class _Worker:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._hands_over = False

    async def work(self, channel: socket.socket) -> None:
        told = Signals()
        reader, self._writer = await asyncio.open_unix_connection(sock=channel)
        listening = asyncio.create_task(self._listen(reader, told))
        await self._run(told)
        listening.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()  # only then everything is said

    async def _run(self, told: Signals) -> None:
        app = App(self._job.config, place=self._job.place())
        try:
            has_started = await told.has_started(app.start())
        except (SpoolError, CertificateError, OSError) as error:
            self._say(CANNOT + str(error).replace("\n", " ").encode(errors="replace"))
            return
        if not has_started:
            return
        collect_garbage_by_time()
        self._say(READY)
        await told.until_stop()
        stop = app.hand_over() if self._hands_over else app.stop()
        await told.stop_in_order(stop, lambda: app.stop(deliver=False))
        pending = sum(each.pending for each in app.spool.ledger().values())
        left = Left(pending=pending, metrics=app.telemetry.render().decode())
        self._say(LEFT + msgspec.json.encode(left))

    async def _listen(self, reader: asyncio.StreamReader, told: Signals) -> None:
        """Do what the supervisor says; without one, stop."""
        while line := await reader.readline():
            if line.rstrip() == ASK:
                self._say(ALIVE)
            elif line.rstrip() == HAND_OVER:
                self._hands_over = True
                told.stop()
            elif line.rstrip() == STOP_NOW:
                told.stop(at_once=True)
        self._hands_over = True
        told.stop()

    def _say(self, word: bytes) -> None:
        self._writer.write(word + b"\n")
