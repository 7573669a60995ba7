"""Processes that share a port: started, watched, started again when they die, and stopped.

The supervisor owns the sockets, one for each worker, among which the kernel spreads connections.
They stay open while a worker is being replaced, so clients that connect meanwhile only wait.
"""

import asyncio
import logging
import pickle
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.admin.fleet import FleetAdmin, Member
from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.ingest.sockets import listen, listen_together
from gateway.spool.files import numbers_in, spool_name
from gateway.workers.job import READY, Job
from gateway.workers.restarts import Restarts
from gateway.workers.shares import share_of

__all__ = ["CannotStart", "Supervisor", "left_behind"]

_log = logging.getLogger(__name__)

_START_S = 60.0

_MARGIN_S = 15.0
"""What a worker may take to stop besides the time for requests and the time for delivery."""


class CannotStart(GatewayError):
    """A worker says why it cannot start."""


def left_behind(config: Config, workers: int) -> list[int]:
    """Return the numbers of spools of workers that there no longer are.

    :raises OSError: the folder cannot be read.
    """
    try:
        numbers = numbers_in(Path(config.spool.path))
    except FileNotFoundError:
        return []
    return [number for number in numbers if number >= workers]


class _Worker:
    """One worker: its process, of which there may be many in turn."""

    def __init__(self, number: int, directory: Path, listeners: list[socket.socket]) -> None:
        self.member = Member(
            name=spool_name(number),
            number=number,
            admin_path=directory / f"{number}.sock",
            serves=bool(listeners),
        )
        self.listeners = listeners
        self.restarts = Restarts()
        self.process: asyncio.subprocess.Process | None = None
        self.keeper: asyncio.Task[None] | None = None
        self.serving = asyncio.Event()

    async def start(self, config: Config) -> None:
        """Start a process; returns when it serves.

        :raises CannotStart: it says why.
        """
        member = self.member
        member.admin_path.unlink(missing_ok=True)
        member.state = "starting"
        member.life += 1
        listeners = tuple(each.fileno() for each in self.listeners)
        self.process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.workers"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=listeners,
            start_new_session=True,  # Ctrl-C is for the supervisor, which tells the workers
        )
        member.pid = process.pid
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        job = Job(
            config=config, number=member.number, admin_path=member.admin_path, listeners=listeners
        )
        text = pickle.dumps(job)
        try:
            async with asyncio.timeout(_START_S):
                process.stdin.write(len(text).to_bytes(8, "big") + text)
                await process.stdin.drain()
                answer = (await process.stdout.readline()).decode().strip()
        except (TimeoutError, ConnectionError):
            answer = ""
        if answer == READY:
            member.state = "running"
            self.serving.set()
            return
        await self.end()
        raise CannotStart(answer or f"{member.name} did not start; what it printed says why")

    async def ended(self) -> int:
        """Wait until the process ends; return its exit code."""
        assert self.process is not None  # noqa: S101
        code = await self.process.wait()
        self.member.pid = None
        self.serving.clear()
        return code

    def tell(self) -> None:
        """Tell the process to stop in order, or at once if it has been told before."""
        if self.process is not None and self.process.returncode is None:
            self.member.state = "stopping"
            self.process.send_signal(signal.SIGTERM)

    def stop_listening(self) -> None:
        """Close the sockets: who waits there is cut off, and others come to other workers."""
        for each in self.listeners:
            each.close()
        self.listeners = []

    async def end(self) -> None:
        """Kill the process, unless it has ended."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.ended()


class Supervisor:
    """All workers of a gateway and the port of their operators.

    :param config: of all of them together.
    :param workers: how many serve; spools that more of them have left get one each that delivers.
    """

    def __init__(self, config: Config, workers: int, *, clock: Clock | None = None) -> None:
        self.config = config
        self._count = workers
        self._share = share_of(config, workers)
        self._clock = clock or SystemClock()
        self._directory = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._workers: list[_Worker] = []
        self._stopping = False
        self.admin = FleetAdmin(config.admin, self.members)
        self.port = config.server.port

    def members(self) -> Sequence[Member]:
        """Return the workers as they are now."""
        return [worker.member for worker in self._workers]

    async def start(self) -> None:
        """Start all workers; returns when they serve.

        :raises CannotStart: one of them cannot.
        :raises OSError: an address cannot be used.
        """
        server = self.config.server
        try:
            await self.admin.start()
            sets = listen_together(server.hosts, self.port, self._count)
            self.port = int(sets[0][0].getsockname()[1])  # the configuration may say 0
            for number, listeners in enumerate(sets):
                self._workers.append(_Worker(number, self._directory, listeners))
            for number in left_behind(self.config, self._count):
                _log.warning("worker-%d no longer serves; what it left is delivered", number)
                self._workers.append(_Worker(number, self._directory, []))
            await asyncio.gather(*(worker.start(self._share) for worker in self._workers))
        except BaseException:
            await self.stop_now()
            raise
        for worker in self._workers:
            worker.keeper = asyncio.create_task(self._keep(worker))

    async def stop(self) -> None:
        """Tell all workers to stop in order, and wait for them.  May be cancelled."""
        self._stopping = True
        self.admin.drain()
        for worker in self._workers:
            worker.tell()
        keepers = [worker.keeper for worker in self._workers if worker.keeper is not None]
        patience_s = 2 * self.config.server.shutdown_timeout_s + _MARGIN_S
        _, late = await asyncio.wait(keepers, timeout=patience_s)
        if late:
            _log.error("%d workers did not stop within %g s: killed", len(late), patience_s)
        await self._clean_up()

    async def stop_now(self) -> None:
        """Tell all workers to stop at once."""
        self._stopping = True
        for worker in self._workers:
            worker.tell()
        ends = [asyncio.create_task(worker.ended()) for worker in self._workers if worker.process]
        if ends:
            await asyncio.wait(ends, timeout=_MARGIN_S)
        await self._clean_up()

    async def reload(self, config: Config) -> None:
        """Replace the workers one by one by others with a new configuration.

        While one of them stops, those that connect to it wait for the next.
        """
        self._share = share_of(config, self._count)
        for worker in self._workers:
            worker.serving.clear()
            worker.tell()
            await worker.serving.wait()

    async def _keep(self, worker: _Worker) -> None:
        """Start a worker's process again whenever it ends."""
        member = worker.member
        while True:
            started = self._clock.monotonic()
            code = await worker.ended()
            if self._stopping:
                member.state = "stopped"
                return
            if member.state == "stopping":  # as it was told
                delay = 0.0
            else:
                delay = worker.restarts.after_death(started, self._clock.monotonic())
                _log.error(
                    "%s ended with %s; what it has acknowledged is on disk; it is started again%s",
                    *(member.name, _how(code), f" in {delay:g} s" if delay else ""),
                )
            member.state = "dead"
            while not self._stopping:
                if delay:
                    self._stop_listening(worker)
                    await asyncio.sleep(delay)
                try:
                    self._listen_again(worker)
                    await worker.start(self._share)
                    break
                except (CannotStart, OSError) as error:
                    now = self._clock.monotonic()
                    delay = max(1.0, worker.restarts.after_death(now, now))
                    member.state = "dead"
                    _log.error("%s: tried again in %g s: %s", member.name, delay, error)

    def _stop_listening(self, worker: _Worker) -> None:
        """Leave the connections of a worker that stays away to the others."""
        if any(each.listeners for each in self._workers if each is not worker):
            worker.stop_listening()

    def _listen_again(self, worker: _Worker) -> None:
        if worker.member.serves and not worker.listeners:
            worker.listeners = listen(self.config.server.hosts, self.port, shared=True)

    async def _clean_up(self) -> None:
        for worker in self._workers:
            await worker.end()
            if worker.keeper is not None:
                worker.keeper.cancel()
            worker.stop_listening()
        await self.admin.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
