"""Numbered events at any speed, from a process of its own, and how long the answers took."""

import asyncio
import random
from collections import Counter
from time import perf_counter
from typing import Any

import msgspec

from tests.support.arrivals import Arrivals
from tests.support.children import Child, serve
from tests.support.raw_http import Wire, post

__all__ = ["Flood", "Measured", "is_complete"]

_BODIES = 64  # different ones, so that they compress about as well as real events do
_WORDS = 60
_LATE_S = 1.0
_PAUSE_S = 0.05
_ENOUGH = 250  # requests
_NOISE_S = 0.25


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen since the last question.

    :param requests: answered 200.
    :param events: of these requests.
    :param refused: requests answered 503.
    :param unanswered: requests without an answer: no connection, or cut off.
    """

    seconds: float
    requests: int
    events: int
    refused: int
    unanswered: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    def assert_as_good_as(self, before: "Measured", what: str) -> None:
        """Fail unless this was as good as before, but for the noise of a busy machine.

        Noise is a matter of milliseconds; who waits for something that is away waits for seconds.
        """
        told = f"{what}: {self}, before: {before}"
        assert self.refused == 0, told
        expected = before.events_per_s * (self.seconds - _NOISE_S)
        assert self.events >= 0.9 * expected, told
        assert self.p50_ms <= 2 * before.p50_ms + 50, told
        # Of few requests, the slowest one or two say nothing.
        if min(self.requests, before.requests) >= _ENOUGH:
            assert self.p99_ms <= 3 * before.p99_ms + 1000 * _NOISE_S, told


class Flood(Child):
    """Clients that send events with ascending numbers, each until it is acknowledged.

    Nothing is sent before ``pace``.  Latency counts from the moment at which a request was due, so
    that a server that answers late cannot hide it by being asked less.

    :param updates: one of how many events updates a profile; 0 where none does.
    """

    def __init__(
        self,
        url: str,
        write_key: str,
        *,
        connections: int = 16,
        batch: int = 50,
        updates: int = 0,
    ) -> None:
        options = {
            "url": url,
            "key": write_key,
            "connections": connections,
            "batch": batch,
            "updates": updates,
        }
        super().__init__(__name__, options)

    async def pace(self, events_per_s: float | None) -> None:
        """Send that many from now on; None for as many as are taken.

        With 0, returns when all that were sent have been acknowledged.
        """
        await self.ask({"do": "pace", "events_per_s": events_per_s})

    async def measured(self) -> Measured:
        """Return what was seen since the last call."""
        return msgspec.convert(await self.ask({"do": "measure"}), Measured)

    async def measure(self, seconds: float) -> Measured:
        """Return what is seen from now on for that time."""
        await self.measured()
        await asyncio.sleep(seconds)
        return await self.measured()

    async def stop(self) -> int:
        """Send nothing any more; return how many events have been sent, all acknowledged."""
        number: int = await self.ask({"do": "stop"})
        return number


def is_complete(arrivals: Arrivals, sent: int) -> bool:
    """Whether each number below ``sent`` has arrived, and no other one."""
    numbers = {int.from_bytes(each[0], "big") for each in arrivals.records}
    return numbers == set(range(sent))


class _Clients:
    def __init__(self, options: dict[str, Any]) -> None:
        self._key: str = options["key"]
        self._batch: int = options["batch"]
        self._bodies = _bodies(options["updates"])
        self._number = 0
        self._rate: float | None = 0.0
        self._due_s = 0.0
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._changed = asyncio.Event()
        self._stopping = False
        self._begin()
        self._tasks = [
            asyncio.create_task(self._send_all(Wire(options["url"])))
            for _ in range(options["connections"])
        ]

    async def answer(self, question: dict[str, Any]) -> object:
        match question["do"]:
            case "pace":
                self._rate = question["events_per_s"]
                self._due_s = perf_counter()
                self._changed.set()
                self._changed = asyncio.Event()
                if self._rate == 0:
                    await self._idle.wait()
            case "measure":
                return self._measured()
            case "stop":
                self._stopping = True
                self._changed.set()
                await asyncio.gather(*self._tasks)
                return self._number
            case other:
                raise ValueError(other)
        return None

    def _begin(self) -> None:
        self._began = perf_counter()
        self._seen: Counter[str] = Counter()
        self._latencies: list[float] = []

    def _measured(self) -> Measured:
        seconds = perf_counter() - self._began
        times = sorted(self._latencies) or [0.0]
        measured = Measured(
            seconds=seconds,
            requests=self._seen["200"],
            events=self._seen["200"] * self._batch,
            refused=self._seen["503"],
            unanswered=self._seen["refused"] + self._seen["cut off"],
            p50_ms=times[len(times) // 2] * 1000,
            p99_ms=times[len(times) * 99 // 100] * 1000,
            max_ms=times[-1] * 1000,
        )
        self._begin()
        return measured

    async def _send_all(self, wire: Wire) -> None:
        async with wire:
            while (due := await self._turn()) is not None:
                first = self._number
                self._number += self._batch
                self._under_way += 1
                self._idle.clear()
                request = self._request(first)
                while (answer := await wire.send(request)).status != 200:
                    self._seen[str(answer.status)] += 1
                    assert answer.status in (503, "refused", "cut off"), answer
                    await asyncio.sleep(_PAUSE_S)
                self._under_way -= 1
                if not self._under_way:
                    self._idle.set()
                self._seen["200"] += 1
                self._latencies.append(perf_counter() - due)

    async def _turn(self) -> float | None:
        """Return when the next request is due, as soon as that is; None at the end."""
        while not self._stopping:
            now = perf_counter()
            rate = self._rate
            if rate is None:
                return now
            if rate == 0:
                await self._changed.wait()
                continue
            due = max(self._due_s, now - _LATE_S)
            self._due_s = due + self._batch / rate
            await asyncio.sleep(max(0.0, due - now))
            if self._rate == rate:
                return due
        return None

    def _request(self, first: int) -> bytes:
        events = [
            self._bodies[number % _BODIES] % (number, number)
            for number in range(first, first + self._batch)
        ]
        return post("/v1/batch", self._key, b'{"batch":[%s]}' % b",".join(events))


def _bodies(updates: int) -> list[bytes]:
    """Return events of about 1 kB with holes for their number.

    :param updates: one of how many updates a profile; 0 where none does.
    """
    rng = random.Random(0)
    words = [f"{rng.getrandbits(40):x}" for _ in range(2000)]
    return [
        (_UPDATE if updates and number % updates == 0 else _TRACK)
        % (rng.randrange(1000), " ".join(rng.choices(words, k=_WORDS)).encode())
        for number in range(_BODIES)
    ]


_TRACK = (
    b'{"type":"track","event":"Order Viewed","messageId":"flood-%%d","userId":"user-%d",'
    b'"timestamp":"2026-03-02T12:00:00.000Z","context":{"ip":"203.0.113.7","locale":"de-CH",'
    b'"app":{"name":"Shop","version":"2.3"},"os":{"name":"iOS","version":"17.1"},'
    b'"library":{"name":"plain","version":"1"}},"properties":{"seq":%%d,"text":"%s"}}'
)
_UPDATE = (
    b'{"type":"identify","messageId":"flood-%%d","userId":"user-%d","traits":{"seq":%%d,'
    b'"text":"%s"}}'
)


async def _start(options: dict[str, Any]) -> tuple[None, Any]:
    return None, _Clients(options).answer


if __name__ == "__main__":
    serve(_start)
