"""Clients in a process of their own: ``python -m tests.torture.traffic '{"kind": ...}'``.

They send prepared bytes and look at little but status and time.  Each prints its figures as JSON.
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
"""How long the clients of one gateway send before those of the other do."""

_LOWEST_PRIORITY = 19
"""That of attackers, whose machine would be another one: what they compute is no part of them."""

ROOT = Path(__file__).parents[2]
_HEAD = "POST /v1/batch HTTP/1.1\r\nHost: gateway.test\r\nX-Write-Key: {key}\r\n"


async def traffic(kind: str, url: str, **options: Any) -> Any:
    """Run clients of a kind to their end; return their figures.

    :param kind: ``Turns`` or one of ``tests.torture.attacks``.
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
        self.broken = 0  # connections that ended with a request unanswered
        self.latencies: list[float] = []  # of 200s

    def count(self, answer: bytes, began: float) -> bool:
        """Count an answer; return whether the connection goes on."""
        status = int(answer[9:12])
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.perf_counter() - began)
        return b"\r\nConnection: close" not in answer

    def figures(self) -> dict[str, Any]:
        """Return what is to be known of it."""
        times = sorted(self.latencies)
        return {
            "p99_s": times[len(times) * 99 // 100] if times else 0.0,
            "statuses": dict(self.statuses),
            "broken": self.broken,
        }


class Sender(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, clients: "Clients", request: bytes) -> None:
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


class Clients:
    """Clients that send at a rate while it is their turn, however long the answers take.

    :param connections: how many there are.
    :param rate: requests per second; those that find every connection busy are not sent.
    :param turn: whose turn it is at first: theirs (0) or that of others (1).
    """

    def __init__(
        self, port: int, *, connections: int, seconds: float, rate: float, turn: int
    ) -> None:
        self.tally = Tally()
        self._port = port
        self._connections = connections
        self._seconds = seconds
        self._rate = rate
        self._turn = turn
        self._request = request_bytes(event_bytes(1, 100))
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = 0.0
        self._due_before = 0
        self._free: dict[Sender, None] = {}

    async def run(self) -> dict[str, Any]:
        """Send for the time; return the figures."""
        for _ in range(self._connections):
            self._connect()
        self._began = time.perf_counter()
        while time.perf_counter() - self._began < self._seconds:
            for _ in range(min(self._due(), len(self._free))):
                self._free.popitem()[0].send()
            await asyncio.sleep(0.002)
        self._stopped = True
        figures = self.tally.figures()
        await asyncio.sleep(0.1)
        return figures

    def _due(self) -> int:
        """Return how many requests are due since the last call."""
        due = int(self._time() * self._rate)
        new, self._due_before = due - self._due_before, due
        return new

    def _time(self) -> float:
        """Return for how long it has been their turn."""
        rounds, rest = divmod(time.perf_counter() - self._began, 2 * _TURN_S)
        return rounds * _TURN_S + min(max(rest - self._turn * _TURN_S, 0.0), _TURN_S)

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
        self._free[sender] = None

    def lost(self, sender: Sender) -> None:
        """Connect again."""
        self._free.pop(sender, None)
        if not self._stopped:
            self._connect()


class Turns:
    """Clients at two gateways in turns: what the machine does strikes both alike.

    :param other_port: of the second gateway.
    """

    def __init__(self, port: int, other_port: int, **options: Any) -> None:
        self._both = [
            Clients(each, turn=turn, **options) for turn, each in enumerate((port, other_port))
        ]

    async def run(self) -> list[dict[str, Any]]:
        """Return the figures of either."""
        return list(await asyncio.gather(*(each.run() for each in self._both)))


def main() -> None:
    """Do what the only argument says."""
    from tests.torture import attacks  # noqa: PLC0415  # which imports this module

    spec = json.loads(sys.argv[1])
    kind = spec.pop("kind")
    if kind == Turns.__name__:
        clients = Turns(**spec)
    else:
        os.nice(_LOWEST_PRIORITY)
        clients = getattr(attacks, kind)(**spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(clients.run())))


if __name__ == "__main__":
    main()
