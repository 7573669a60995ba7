"""Processes that share a port: started, watched, started again when they die, and stopped.

The supervisor owns the sockets, one for each worker, among which the kernel spreads connections.
They stay open while a worker is being replaced, so clients that connect meanwhile only wait.
"""

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.admin.fleet import FleetAdmin, Member
from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.http.sockets import listen, listen_together
from gateway.output import lost_lines
from gateway.spool.backends import name_of, numbers_left
from gateway.telemetry import FleetTelemetry
from gateway.workers.child import Child
from gateway.workers.job import Job, Left
from gateway.workers.shares import share_of
from gateway.workers.watch import Restarts

__all__ = ["CannotStart", "Supervisor", "left_behind"]

_log = logging.getLogger(__name__)

_LOOK_S = 1.0

_SILENT_S = 3.0
"""After so long a worker that does not answer counts as not well."""

_START_S = 60.0
"""How long a process may take until it can answer at all; what comes then may take its time."""

_KILL_S = 5.0
"""Between the signal that a process could take in order and the one that it cannot refuse."""

_MARGIN_S = 15.0
"""What a worker may take to stop besides the time for requests and the time for delivery."""


class CannotStart(GatewayError):
    """A worker says why it cannot start."""


def left_behind(config: Config, workers: int) -> list[int]:
    """Return the numbers of spools of workers that there no longer are.

    :raises SpoolError: the folder cannot be read.
    """
    return [number for number in numbers_left(config) if number >= workers]


class _Worker:
    """One worker: its process, of which there may be many in turn."""

    def __init__(self, number: int, directory: Path, listeners: list[socket.socket]) -> None:
        self.member = Member(
            name=name_of(number),
            number=number,
            admin_path=directory / f"{number}.sock",
            serves=bool(listeners),
        )
        self.listeners = listeners
        self.restarts = Restarts()
        self.child: Child | None = None
        self.next: Child | None = None  # one that waits to take its place
        self.keeper: asyncio.Task[None] | None = None
        self.serving = asyncio.Event()
        self._is_told = False  # to stop
        self.is_hung = False

    @property
    def left(self) -> Left | None:
        """What its last process has left; None where that has not ended, or not in order."""
        return self.child.left if self.child is not None else None

    @property
    def is_replaced(self) -> bool:
        """Whether it was told to make room for another one, and was well then."""
        return self.next is not None and not self.is_hung

    async def start(self, config: Config, now: float) -> None:
        """Give a process its job; returns when it serves.

        :param now: of a clock that never goes back.
        :raises CannotStart: it says why.
        :raises OSError: there can be no other process.
        """
        member = self.member
        self.child, self.next = self.next or Child.start(), None
        member.admin_path.unlink(missing_ok=True)
        if member.state != "reloading":
            member.state = "starting"
        member.life += 1
        member.pid = self.child.pid
        member.is_silent = self._is_told = self.is_hung = False
        job = Job(
            config=config,
            number=member.number,
            admin_path=member.admin_path,
            listeners=tuple(each.fileno() for each in self.listeners),
        )
        reason = await self.child.give(job, now)
        if reason is not None:
            await self.end()
            raise CannotStart(f"{member.name}: {reason}")
        if not self._is_told:
            member.state = "running"
        self.serving.set()

    def look(self, now: float, timeout_s: float) -> bool:
        """Ask whether the process is well; return true at the moment when it is given up.

        :param timeout_s: how long it may be silent.
        """
        child = self.child
        if child is None or child.code is not None:
            return False
        silent_s = child.pulse.look(now)
        self.member.is_silent = silent_s >= _SILENT_S and child.pulse.was_heard
        if not child.pulse.was_heard:
            timeout_s = max(timeout_s, _START_S)
        if silent_s < timeout_s:
            child.ask()
            self.is_hung = False
        elif not self.is_hung:
            self.is_hung = True
            child.send_signal(signal.SIGTERM)
            return True
        elif silent_s >= timeout_s + _KILL_S:
            child.send_signal(signal.SIGKILL)
        return False

    async def ended(self) -> int:
        """Wait until the process ends; return its exit code."""
        assert self.child is not None  # noqa: S101
        code = await self.child.ended()
        self.member.pid = None
        self.member.is_silent = False
        self.serving.clear()
        return code

    def tell(self, *, at_once: bool = False) -> None:
        """Tell the process to stop in order, or at once."""
        if self.child is not None and self.child.code is None:
            self._is_told = True
            self.member.state = "stopping"
            if at_once:
                self.child.stop_now()
            else:
                self.child.send_signal(signal.SIGTERM)

    def replace(self) -> None:
        """Tell the process to make room for another one, which is ready to take its place.

        :raises OSError: there can be no other process.
        """
        self.next = self.next or Child.start()
        self.serving.clear()
        if self.child is not None and self.child.code is None:
            self.member.state = "reloading"
            self.child.hand_over()

    def stop_listening(self) -> None:
        """Close the sockets: who waits there is cut off, and others come to other workers."""
        for each in self.listeners:
            each.close()
        self.listeners = []

    async def end(self) -> None:
        """Kill the process, unless it has ended."""
        if self.child is not None and self.child.code is None:
            self.child.send_signal(signal.SIGKILL)
            await self.ended()
        if self.next is not None:
            self.next.abandon()
            self.next = None


class Supervisor:
    """All workers of a gateway and the port of their operators.

    :param config: of all of them together.
    :param workers: how many serve; spools that more of them have left get one each that delivers.
    :param children: processes that wait for a job; others are started where they are too few.
    """

    def __init__(
        self,
        config: Config,
        workers: int,
        *,
        children: Sequence[Child] = (),
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self._count = workers
        self._children = list(children)
        self._before: Config | None = None  # while another one is tried
        self._refused: list[CannotStart | OSError] = []  # why the last one that was tried was not
        self._clock = clock or SystemClock()
        self._directory = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._workers: list[_Worker] = []
        self._stopping = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._telemetry = FleetTelemetry(lost_lines)
        self.admin = FleetAdmin(config.admin, self.members, self._telemetry)
        self.port = config.server.port

    @property
    def left(self) -> int | None:
        """How many records the workers have left, when they have stopped; None: it is not known."""
        left = [worker.left for worker in self._workers]
        return None if None in left else sum(each.pending for each in left if each is not None)

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
            admin = self.config.admin
            with _naming("admin.port"):
                operators = listen(admin.host, admin.port)
            await self.admin.start(operators)
            with _naming("server.port"):
                sets = listen_together(server.hosts, self.port, self._count)
            self.port = int(sets[0][0].getsockname()[1])  # the configuration may say 0
            for number, listeners in enumerate(sets):
                self._workers.append(_Worker(number, self._directory, listeners))
            for number in left_behind(self.config, self._count):
                _log.warning("worker-%d no longer serves; what it left is delivered", number)
                self._workers.append(_Worker(number, self._directory, []))
            for worker in self._workers:
                worker.next = self._children.pop() if self._children else Child.start()
            self._watching = asyncio.create_task(self._watch())
            await asyncio.gather(*(self._start(worker) for worker in self._workers))
        except BaseException:
            await self.stop_now()
            raise
        for worker in self._workers:
            worker.keeper = asyncio.create_task(self._keep(worker))

    async def stop(self) -> None:
        """Tell all workers to stop in order, and wait for them.  May be cancelled."""
        self._stopping.set()
        self.admin.drain()
        for worker in self._workers:
            worker.stop_listening()  # who connects from now on is refused, not cut off at the end
            worker.tell()
        keepers = [worker.keeper for worker in self._workers if worker.keeper is not None]
        patience_s = 2 * self.config.server.shutdown_timeout_s + _MARGIN_S
        _, late = await asyncio.wait(keepers, timeout=patience_s)
        if late:
            _log.error("%d workers did not stop within %g s: killed", len(late), patience_s)
        await self._clean_up()

    async def stop_now(self) -> None:
        """Tell all workers to stop at once."""
        self._stopping.set()
        for worker in self._workers:
            worker.tell(at_once=True)
        ends = [asyncio.create_task(worker.ended()) for worker in self._workers if worker.child]
        if ends:
            await asyncio.wait(ends, timeout=_MARGIN_S)
        await self._clean_up()

    async def reload(self, config: Config) -> None:
        """Replace the workers one by one by others with a new configuration.

        While one of them stops, those that connect to it wait for the next.

        :raises CannotStart: a worker cannot start with it; all have the one before again.
        :raises OSError: there can be no other process; likewise.
        """
        self._before, self.config = self.config, config
        self._refused.clear()
        replaced: list[_Worker] = []
        try:
            for worker in self._workers:
                await self.admin.look_at(worker.member)
                worker.replace()
                replaced.append(worker)
                await worker.serving.wait()
                if self._refused:
                    break
        except OSError as error:
            self._undo(error)
        if not self._refused:
            self._before = None
            self._telemetry.reloads.labels("applied").inc()
            return
        for worker in replaced[:-1]:
            worker.replace()
            await worker.serving.wait()
        raise self._refused[0]

    def refuse_reload(self) -> None:
        """Count a configuration that could not be read or used."""
        self._telemetry.reloads.labels("refused").inc()

    def _undo(self, error: CannotStart | OSError) -> None:
        """Take the configuration that was there before the one that is being tried."""
        assert self._before is not None  # noqa: S101
        self.config, self._before = self._before, None
        self._refused.append(error)

    async def _start(self, worker: _Worker) -> None:
        share = share_of(self.config, self._count)
        await worker.start(share, self._clock.monotonic())

    async def _keep(self, worker: _Worker) -> None:
        """Start a worker's process again whenever it ends."""
        member = worker.member
        while True:
            started = self._clock.monotonic()
            code = await worker.ended()
            if worker.left is not None:
                self.admin.remember(member, worker.left.metrics)
            if self._stopping.is_set():
                member.state = "stopped"
                return
            if worker.is_replaced and code == 0:
                delay, reason = 0.0, "reload"
            else:
                reason = "hung" if worker.is_hung else "ended"
                delay = worker.restarts.after_death(started, self._clock.monotonic())
                _log.error(
                    "%s ended with %s; what it has acknowledged is on disk; it is started again%s",
                    *(member.name, _how(code), f" in {delay:g} s" if delay else ""),
                )
                member.state = "dead"
            await self._start_again(worker, delay, reason)

    async def _start_again(self, worker: _Worker, delay: float, reason: str) -> None:
        """Start a worker's process, as often as it takes, unless everything is to stop.

        :param delay: seconds to wait before that.
        """
        while not self._stopping.is_set():
            if delay:
                self._stop_listening(worker)
                if await self._is_stopped_within(delay):
                    return
            try:
                self._listen_again(worker)
                await self._start(worker)
            except (CannotStart, OSError) as error:
                if self._before is not None:
                    self._undo(error)
                    delay = 0.0
                elif not self._stopping.is_set():
                    now = self._clock.monotonic()
                    delay = max(1.0, worker.restarts.after_death(now, now))
                    worker.member.state = "dead"
                    _log.error("%s; tried again in %g s", error, delay)
            else:
                self._telemetry.restarts.labels(reason).inc()
                return

    async def _is_stopped_within(self, seconds: float) -> bool:
        """Wait; return early, and true, when everything is to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        return False

    async def _watch(self) -> None:
        """Ask all processes whether they are well, and replace those that are not."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in self._workers:
                timeout_s = self.config.server.worker_timeout_s
                if worker.look(self._clock.monotonic(), timeout_s):
                    _log.error(
                        "%s has not answered for %g s: its process (%d) hangs and is ended; "
                        "what it has acknowledged is on disk",
                        *(worker.member.name, timeout_s, worker.member.pid),
                    )

    def _stop_listening(self, worker: _Worker) -> None:
        """Leave the connections of a worker that stays away to the others."""
        if any(each.listeners for each in self._workers if each is not worker):
            worker.stop_listening()

    def _listen_again(self, worker: _Worker) -> None:
        if worker.member.serves and not worker.listeners:
            worker.listeners = listen(self.config.server.hosts, self.port, shared=True)

    async def _clean_up(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        for child in self._children:
            child.abandon()
        for worker in self._workers:
            await worker.end()
            if worker.keeper is not None:
                worker.keeper.cancel()
            worker.stop_listening()
        await self.admin.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Say which setting it is by which nothing can listen."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{setting}: {error.strerror}") from error


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
