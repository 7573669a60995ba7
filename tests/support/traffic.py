"""Clients of which everything is known: what they sent, and what of it was answered 200.

Every event is a function of the traffic's seed and its number, so one byte an event is all that
has to be remembered of a run, however long it is.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import blake2b
from itertools import islice
from random import Random
from typing import Self
from uuid import UUID

from tests.support.oracle import expected
from tests.support.oracle_events import Event, mixed_events
from tests.support.processes import TOKEN, WRITE_KEY
from tests.support.raw_http import Answer, Wire, post

__all__ = ["Fate", "Traffic", "traffic_events"]

_BASE = datetime(2026, 3, 2, tzinfo=UTC)
_LIBRARY = {"name": "plain", "version": "1"}
_LARGEST_BATCH = 20
_PAUSE_S = 0.02
_TIMEOUT_S = 10.0


class Fate(IntEnum):
    """What is known of an event."""

    SENT = 0  # it may have arrived
    ACKNOWLEDGED = 1


def traffic_events(seed: int) -> Iterator[Event]:
    """Return the events of the traffic with that seed, without end."""
    for number, event in enumerate(mixed_events(seed)):
        digest = blake2b(f"{seed}-{number}".encode(), digest_size=16).digest()
        at = (_BASE + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
        yield {
            "messageId": str(UUID(bytes=digest)),
            "timestamp": at,
            **event,
            "context": {**event["context"], "library": _LIBRARY},
        }


class Traffic:
    """Many connections that send single events and batches, also while nobody listens.

    Every other request that was cut off is sent again, as SDKs do; what became of the rest nobody
    knows.  Use it as a context: it sends until the context ends.

    :param events_per_s: about that many are sent where the gateway keeps up.
    :ivar fates: of each event, by its number.
    :ivar acknowledged: records of the events that were answered 200.
    :ivar answers: how often each status came back.
    :ivar cut_off: the requests that were cut off; see ``under_way``.
    """

    def __init__(
        self,
        url: str,
        *,
        seed: int,
        write_key: str = WRITE_KEY,
        connections: int = 16,
        events_per_s: float = 1000.0,
    ) -> None:
        self.seed = seed
        self.fates = bytearray()
        self.acknowledged = 0
        self.answers: Counter[str] = Counter()
        self.cut_off: set[tuple[Wire, int]] = set()
        self._write_key = write_key
        self._rng = Random(seed)
        self._events = traffic_events(seed)
        self._gap_s = connections * _LARGEST_BATCH / 4 / events_per_s
        self._wires = [Wire(url, timeout_s=_TIMEOUT_S) for _ in range(connections)]
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._send_all(wire)) for wire in self._wires]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        try:
            if kind is None:
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def under_way(self) -> set[tuple[Wire, int]]:
        """Return the requests that wait for their answer, by connection and number."""
        return {(wire, wire.requests) for wire in self._wires if wire.in_flight}

    def answered(self) -> int:
        """Return how many requests have been answered 200."""
        return self.answers["200"]

    async def _send_all(self, wire: Wire) -> None:
        async with wire:
            while not self._stopping.is_set():
                size = self._rng.choice((1, 1, self._rng.randint(2, _LARGEST_BATCH)))
                first = len(self.fates)
                events = list(islice(self._events, size))
                self.fates.extend([Fate.SENT] * size)
                if await self._is_acknowledged(wire, self._request(events)):
                    self.fates[first : first + size] = [Fate.ACKNOWLEDGED] * size
                    self.acknowledged += sum(len(expected(event, TOKEN)) for event in events)
                await self._pause(self._rng.uniform(0, 2 * self._gap_s))

    def _request(self, events: list[Event]) -> bytes:
        if len(events) > 1:
            return post("/v1/batch", self._write_key, json.dumps({"batch": events}).encode())
        event = {key: value for key, value in events[0].items() if key != "type"}
        return post(f"/v1/{events[0]['type']}", self._write_key, json.dumps(event).encode())

    async def _is_acknowledged(self, wire: Wire, request: bytes) -> bool:
        """Send until it is answered 200, or given up for good."""
        while True:
            answer: Answer = await wire.send(request)
            self.answers[str(answer.status)] += 1
            if answer.status == "cut off":
                self.cut_off.add((wire, wire.requests))
            match answer.status:
                case 200:
                    return True
                case 503:
                    assert answer.retry_after_s is not None, "503 without Retry-After"
                case "refused":
                    pass
                case "cut off" if self._rng.random() < 0.5:
                    return False
                case "cut off":
                    pass
                case _:
                    raise AssertionError(f"answered {answer}")
            if self._stopping.is_set():
                return False
            await self._pause(_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
