"""Hostile clients.  Each keeps a number of connections busy for a time, and connects again when it
is thrown out."""

import asyncio
import gzip
import math
import time
from collections import Counter
from typing import Any, cast

from tests.torture.traffic import event_bytes, request_bytes

_STEP_S = 0.005
_HEAD = b"POST /v1/batch HTTP/1.1\r\nHost: gateway.test\r\n"


class _Attacker(asyncio.Protocol):
    """One connection of an attack."""

    def __init__(self, attack: "_Attack") -> None:
        self._attack = attack
        self.transport: asyncio.Transport | None = None
        self.began = time.monotonic()
        self.sent = 0
        self.answer = b""
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.began = time.monotonic()
        self._attack.attackers.add(self)
        self.send(self._attack.first)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing() and data:
            self.sent += len(data)
            self._attack.sends += 1
            self.transport.write(data)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def data_received(self, data: bytes) -> None:
        if not self.answer:
            self._attack.answered(data)
        self.answer += data

    def eof_received(self) -> bool:
        return self._attack.goes_on  # after the answer, too

    def connection_lost(self, exc: Exception | None) -> None:
        self._attack.ended(self)


class _Attack:
    """:ivar first: what a connection sends at once; ``more`` is sent every ``interval_s``."""

    first = b""
    more = b""
    interval_s = 1.0
    goes_on = False

    def __init__(self, port: int, connections: int, seconds: float, again: bool = True) -> None:
        self._port = port
        self._connections = connections
        self._seconds = seconds
        self._again = again
        self.attackers: set[_Attacker] = set()
        self._statuses: Counter[int] = Counter()
        self._lives: list[float] = []
        self._most_sent = 0
        self._refused = 0
        self.sends = 0
        self._stopped = False

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        parts = math.ceil(self.interval_s / _STEP_S)  # they do not beat time
        opening = asyncio.create_task(self._open())
        while loop.time() < end:
            attackers = list(self.attackers) if self.more else []
            for part in range(parts):
                for attacker in attackers[part::parts]:
                    if attacker.writable:
                        attacker.send(self.more)
                await asyncio.sleep(self.interval_s / parts)
        self._stopped = True
        await opening
        left = list(self.attackers)
        for attacker in left:
            self._most_sent = max(self._most_sent, attacker.sent)
            if attacker.transport is not None:
                attacker.transport.abort()
        return {
            "statuses": dict(self._statuses),
            "thrown_out": len(self._lives),
            "left": len(left),
            "longest_life_s": max(self._lives, default=0.0),
            "sends_per_s": round(self.sends / self._seconds),
            "most_sent": self._most_sent,
            "refused": self._refused,
        }

    async def _open(self) -> None:
        """Keep as many connections open as there should be."""
        loop = asyncio.get_running_loop()
        opened = 0
        while not self._stopped:
            missing = self._connections - (len(self.attackers) if self._again else opened)
            # First all at once, then as fast as a person's patience allows.
            batch = min(missing, 100 if opened < self._connections else 5)
            for result in await asyncio.gather(
                *(
                    loop.create_connection(lambda: _Attacker(self), "127.0.0.1", self._port)
                    for _ in range(batch)
                ),
                return_exceptions=True,
            ):
                self._refused += isinstance(result, OSError)
            opened += batch
            await asyncio.sleep(0.01)

    def answered(self, data: bytes) -> None:
        """Count an answer."""
        if data.startswith(b"HTTP/1."):
            self._statuses[int(data[9:12])] += 1

    def ended(self, attacker: _Attacker) -> None:
        """Count a connection that the gateway has closed."""
        self.attackers.discard(attacker)
        self._most_sent = max(self._most_sent, attacker.sent)
        if not self._stopped:
            self._lives.append(time.monotonic() - attacker.began)


class Silent(_Attack):
    """Connections that say nothing."""


class SlowHead(_Attack):
    """Headers of which a byte arrives every second."""

    first = _HEAD
    more = b"x"


class SlowBody(_Attack):
    """Large bodies of which a byte arrives every second."""

    first = _HEAD + b"Content-Length: 1000000\r\n\r\n"
    more = b" "


class SlowChunks(_Attack):
    """The same without a length."""

    first = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    more = b"1\r\n \r\n"


class HeaderFlood(_Attack):
    """Headers without end, as fast as they are taken."""

    first = _HEAD
    more = b"".join(b"X-%d: %b\r\n" % (i, b"y" * 80) for i in range(200))
    interval_s = 0.02


class LongHeads(_Attack):
    """Headers as large as they may be, never finished."""

    first = _HEAD + b"".join(b"X-%d: %b\r\n" % (i, b"y" * 1000) for i in range(28))


class Lengths(_Attack):
    """Requests that say twice, and differently, how long they are."""

    first = _HEAD + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n{}   POST / HTTP/1.1\r\n\r\n"


class Endless(_Attack):
    """Bodies that go on after they were refused."""

    first = _HEAD + b"X-Write-Key: wrong\r\nContent-Length: 10000000000\r\n\r\n"
    more = bytes(65536)
    interval_s = 0.001
    goes_on = True


class Bombs(_Attack):
    """Small gzip bodies of many megabytes of zeros, and of as many empty events."""

    _BODIES = (b'{"batch":[' + b"{}," * 1_390_000 + b"{}]}", bytes(50_000_000))
    first = b"".join(
        request_bytes(gzip.compress(body), "Content-Encoding: gzip\r\n") for body in _BODIES
    )


class Deep(_Attack):
    """Nested JSON."""

    first = request_bytes(b'{"type":"track","event":' + b"[" * 100_000)
    more = first
    interval_s = 0.1


class Unread(_Attack):
    """Many requests whose answers nobody reads."""

    first = request_bytes(event_bytes(1, 0)) * 200
    more = first

    def answered(self, data: bytes) -> None:
        super().answered(data)
        for attacker in self.attackers:
            if attacker.transport is not None:
                attacker.transport.pause_reading()
