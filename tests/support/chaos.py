"""A TCP proxy that misbehaves: between the gateway and Mixpanel, or a client and the gateway."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.support.ports import lasting_port

__all__ = ["ACTIONS", "PASS", "Action", "Behaviour", "ChaosProxy", "random_schedule"]

Action = Literal["pass", "stall", "blackhole", "cut", "reset", "lose_answer"]

ACTIONS: tuple[Action, ...] = ("stall", "blackhole", "cut", "reset", "lose_answer")

_PIECE = 64 * 1024
_STEP_S = 0.05
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens to one connection.

    :param action: ``stall`` forwards nothing of the requests for a while; ``blackhole`` swallows
        what comes and answers never; ``cut`` ends the connection in order; ``reset`` ends it with
        a RST; ``lose_answer`` forwards the requests, and resets when the answer arrives.
    :param after_bytes: bytes of requests that pass before that.
    :param stall_s: for ``stall``.
    :param bytes_per_s: in each direction; None for no limit.
    """

    action: Action = "pass"
    after_bytes: int = 0
    stall_s: float = 0.0
    bytes_per_s: int | None = None


PASS = Behaviour()

Schedule = Callable[[], Behaviour]


def random_schedule(
    rng: Random,
    *,
    share: float,
    within_bytes: int,
    stall_s: float = 1.0,
    actions: Sequence[Action] = ACTIONS,
) -> Schedule:
    """Return what gives each connection its behaviour.

    :param share: of the connections that misbehave.
    :param within_bytes: somewhere in the first that many bytes of their requests.
    """

    def draw() -> Behaviour:
        if rng.random() >= share:
            return PASS
        return Behaviour(
            action=rng.choice(actions),
            after_bytes=rng.randrange(within_bytes),
            stall_s=rng.uniform(0, stall_s),
        )

    return draw


class ChaosProxy:
    """Forwards each connection to ``target`` the way that its behaviour says.

    Use it as a context.  Its port stays the same while it refuses connections.

    :param target: base URL.
    :ivar struck: how often each action has happened.
    """

    def __init__(self, target: str, schedule: Schedule = lambda: PASS) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._schedule = schedule
        self._server: asyncio.Server | None = None
        self._port = lasting_port()
        self._links: set[_Link] = set()
        self.struck: Counter[Action] = Counter()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def behave(self, behaviour: Behaviour | Schedule, *, reset: bool = True) -> None:
        """Treat new connections like this from now on.

        :param reset: whether those that are open are ended; else they go on as they were.
        """
        self._schedule = behaviour if callable(behaviour) else lambda: behaviour
        if reset:
            self.reset_all()

    def reset_all(self) -> None:
        """End all connections with a RST."""
        for link in list(self._links):
            link.end(reset=True)

    async def accept(self) -> None:
        """Listen, again after ``refuse``.  Idempotent."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def refuse(self) -> None:
        """End all connections and refuse new ones.  Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.reset_all()
        await asyncio.sleep(0)  # what had been accepted and was not served yet
        self.reset_all()
        if self._links:
            await asyncio.wait([link.done for link in self._links], timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self._schedule(), self.struck, writer)
        self._links.add(link)
        try:
            if self._server is not None:
                await link.run(reader, self._target)
        finally:
            link.end(reset=False)
            self._links.discard(link)
            link.done.set_result(None)


class _Link:
    """One connection on its way through."""

    def __init__(
        self, behaviour: Behaviour, struck: Counter[Action], client: asyncio.StreamWriter
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._behaviour = behaviour
        self._struck = struck
        self._writers = [client]
        self._passed = 0  # bytes of requests
        self._ended = asyncio.Event()

    async def run(
        self, reader: asyncio.StreamReader, target: tuple[str | None, int | None]
    ) -> None:
        """Forward until one side ends, or the behaviour ends it."""
        try:
            upstream, writer = await asyncio.open_connection(*target)
        except OSError:
            self.end(reset=True)
            return
        self._writers.append(writer)
        pumps = [
            asyncio.create_task(self._requests(reader, writer)),
            asyncio.create_task(self._answers(upstream, self._writers[0])),
        ]
        ended = asyncio.create_task(self._ended.wait())
        # Either side's end is the end: HTTP has no use for half of a connection.
        await asyncio.wait([*pumps, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (*pumps, ended):
            task.cancel()
        await asyncio.gather(*pumps, ended, return_exceptions=True)

    def end(self, *, reset: bool) -> None:
        """Close both sides."""
        self._ended.set()
        for writer in self._writers:
            if reset and not writer.is_closing():
                _reset(writer)
            writer.close()
        self._writers.clear()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self._behaviour
        waits = behaviour.action not in ("pass", "lose_answer")
        while data := await self._read(reader):
            if waits and self._passed + len(data) > behaviour.after_bytes:
                left = max(0, behaviour.after_bytes - self._passed)
                await self._write(writer, data[:left])
                data = data[left:]
                waits = False
                if not await self._strike(reader):
                    return
            await self._write(writer, data)
            self._passed += len(data)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self._behaviour
        while data := await self._read(reader):
            if behaviour.action == "lose_answer" and self._passed >= behaviour.after_bytes:
                self._struck["lose_answer"] += 1
                self.end(reset=True)
                return
            await self._write(writer, data)

    async def _strike(self, reader: asyncio.StreamReader) -> bool:
        """Do what the behaviour says; return whether the connection goes on."""
        action = self._behaviour.action
        self._struck[action] += 1
        if action == "stall":
            await asyncio.sleep(self._behaviour.stall_s)
            return True
        if action == "blackhole":
            while await self._read(reader):
                pass
        # After an orderly end the answers that are under way are cut off, too.
        self.end(reset=action == "reset")
        return False

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        rate = self._behaviour.bytes_per_s
        try:
            return await reader.read(max(1, int(rate * _STEP_S)) if rate else _PIECE)
        except ConnectionError:
            return b""

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._behaviour.bytes_per_s:
            await asyncio.sleep(len(data) / self._behaviour.bytes_per_s)
        try:
            writer.write(data)
            await writer.drain()
        except ConnectionError:
            self.end(reset=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        pass  # the other side was faster
    writer.transport.abort()
