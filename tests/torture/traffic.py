"""Clients in a process of their own: ``python -m tests.torture.traffic '{"kind": ...}'``.

They send prepared bytes and look at nothing but status, ``Retry-After`` and time, so that one of
them can ask for several times of what a gateway can do.  Each prints its figures as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.support.processes import WRITE_KEY

__all__ = ["event_bytes", "port_of", "traffic"]

_TURN_S = 0.25

_LOWEST_PRIORITY = 19
"""That of attackers, whose machine would be another one: what they compute is no part of them."""

ROOT = Path(__file__).parents[2]
_HEAD = "POST /v1/batch HTTP/1.1\r\nHost: gateway.test\r\nX-Write-Key: {key}\r\n"


async def traffic(kind: str, url: str, **options: Any) -> Any:
    """Run clients of a kind to their end; return their figures.

    :param kind: ``Closed``, ``Open`` or ``Turns``, or one of ``tests.torture.attacks``.
    """
    seconds: float = options["seconds"]
    spec = json.dumps({"kind": kind, "port": port_of(url), **options})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.torture.traffic", spec),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(3 * seconds + 60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"the clients failed: {spec}"
    return json.loads(out)


def port_of(url: str) -> int:
    """Return the port of a gateway."""
    return int(url.rpartition(":")[2])


def event_bytes(events: int, padding: int) -> bytes:
    """Return a batch of events that have about ``padding`` bytes of properties each."""
    event = {
        "type": "track",
        "event": "Torture",
        "userId": "u",
        "messageId": "m",
        "properties": {f"p{i}": "x" * 40 for i in range(padding // 48)},
    }
    return json.dumps({"batch": [event] * events}).encode()


def request_bytes(body: bytes, headers: str = "") -> bytes:
    """Return a whole request."""
    head = _HEAD.format(key=WRITE_KEY) + headers + f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Tally:
    """What clients saw."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.without_retry_after = 0
        self.broken = 0  # connections that ended with a request unanswered
        self.unsent = 0
        self.latencies: list[float] = []  # of 200s

    def count(self, answer: bytes, began: float) -> bool:
        """Count an answer; return whether the connection goes on."""
        status = int(answer[9:12])
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.perf_counter() - began)
        elif status == 503 and b"\r\nRetry-After: " not in answer:
            self.without_retry_after += 1
        return b"\r\nConnection: close" not in answer

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return the figures of clients that sent for that time."""
        times = sorted(self.latencies)
        return {
            "goodput": round(len(times) / seconds, 1),
            "p50_s": times[len(times) // 2] if times else 0.0,
            "p99_s": times[len(times) * 99 // 100] if times else 0.0,
            "statuses": dict(self.statuses),
            "without_retry_after": self.without_retry_after,
            "broken": self.broken,
            "unsent": self.unsent,
        }


class Sender(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, clients: "Closed", request: bytes) -> None:
        self._clients = clients
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._began = 0.0  # of the request under way, 0 when there is none
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._clients.free(self)

    def send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):  # every answer is an object, in one packet or two
            return
        answer, self._answer = self._answer, b""
        began, self._began = self._began, 0.0
        assert self._transport is not None
        if self._clients.tally.count(answer, began):
            self._clients.free(self)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._began:
            self._clients.tally.broken += 1
        self._clients.lost(self)


class Closed:
    """Clients that send the next request as soon as the one before is answered, whatever it says.

    :param connections: how many there are.
    """

    def __init__(
        self, port: int, connections: int, seconds: float, events: int = 1, padding: int = 100
    ) -> None:
        self.tally = Tally()
        self._port = port
        self._connections = connections
        self.seconds = seconds
        self._request = request_bytes(event_bytes(events, padding))
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        for _ in range(self._connections):
            self._connect()
        await self.drive()
        self._stopped = True
        figures = self.tally.figures(self.seconds)
        await asyncio.sleep(0.1)
        return figures

    async def drive(self) -> None:
        """Send for the time."""
        await asyncio.sleep(self.seconds)

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connected())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped:
            try:
                await loop.create_connection(
                    lambda: Sender(self, self._request), "127.0.0.1", self._port
                )
                return
            except OSError:
                self.tally.broken += 1
                await asyncio.sleep(0.1)

    def free(self, sender: Sender) -> None:
        """Take a connection without a request."""
        if not self._stopped:
            sender.send()

    def lost(self, _: Sender) -> None:
        """Connect again."""
        if not self._stopped:
            self._connect()


class Open(Closed):
    """Clients that send at a rate, however long the answers take.

    :param rate: requests per second; those that find every connection busy are not sent.
    :param turn: whose turn it is at first: theirs (0) or that of others (1).
    :param turn_s: how long each sends before the others do; 0 where there are none.
    """

    def __init__(
        self,
        port: int,
        connections: int,
        seconds: float,
        rate: float,
        turn: int = 0,
        turn_s: float = 0.0,
        **load: int,
    ) -> None:
        super().__init__(port, connections, seconds, **load)
        self._rate = rate
        self._turn = turn
        self._turn_s = turn_s
        self._began = 0.0
        self._due_before = 0
        self._free: dict[Sender, None] = {}

    async def drive(self) -> None:
        self._began = time.perf_counter()
        while time.perf_counter() - self._began < self.seconds:
            due = self._due()
            for _ in range(min(due, len(self._free))):
                self._free.popitem()[0].send()
                due -= 1
            self.tally.unsent += due
            await asyncio.sleep(0.002)

    def _due(self) -> int:
        """Return how many requests are due since the last call."""
        due = int(self._time() * self._rate)
        new, self._due_before = due - self._due_before, due
        return new

    def _time(self) -> float:
        """Return for how long it has been their turn."""
        passed = time.perf_counter() - self._began
        if not self._turn_s:
            return passed
        rounds, rest = divmod(passed, 2 * self._turn_s)
        return rounds * self._turn_s + min(max(rest - self._turn * self._turn_s, 0.0), self._turn_s)

    def free(self, sender: Sender) -> None:
        due = self._due() if self._began else 0
        if due:
            self.tally.unsent += due - 1
            sender.send()
        else:
            self._free[sender] = None

    def lost(self, sender: Sender) -> None:
        self._free.pop(sender, None)
        super().lost(sender)


class Turns:
    """The clients of ``Open`` at two gateways in turns: what the machine does strikes both alike.

    :param other_port: of the second gateway.
    """

    def __init__(self, port: int, other_port: int, **options: Any) -> None:
        self._both = [
            Open(each, turn=turn, turn_s=_TURN_S, **options)
            for turn, each in enumerate((port, other_port))
        ]

    async def run(self) -> list[dict[str, Any]]:
        """Return the figures of either."""
        return list(await asyncio.gather(*(each.run() for each in self._both)))


def main() -> None:
    """Do what the only argument says."""
    from tests.torture import attacks  # noqa: PLC0415  # which imports this module

    spec = json.loads(sys.argv[1])
    kind = spec.pop("kind")
    good = {"Closed": Closed, "Open": Open, "Turns": Turns}.get(kind)
    if good is None:
        os.nice(_LOWEST_PRIORITY)
    clients = (good or getattr(attacks, kind))(**spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(clients.run())))


if __name__ == "__main__":
    main()
