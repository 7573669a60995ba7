"""Bodies that are still arriving: who is too slow, and who has to go when others need the room."""

import asyncio
from typing import TypeAlias

from aiohttp import StreamReader

from gateway.errors import RequestError
from gateway.http.incoming import Incoming
from gateway.http.memory_budget import MemoryLease
from gateway.http.refusals import slow_body

__all__ = ["Arrival", "Arrivals"]

Body: TypeAlias = StreamReader | Incoming

_GRACE_S = 5.0
"""How long a body may arrive at any rate; also that of Kestrel, as is the usual rate."""

_SAFE_S = 2.0
"""How long a body is safe from being cut off for others."""

_PIECE_BYTES = 256
"""What is worth waking a reader for.  Ten thousand hostile clients that send a byte a second, each
of them a chunk, took a fifth of the time; until they are cut off they do not come this far.  What
is kept of so many such chunks takes 45 times their bytes (12 kB)."""


class Arrival:
    """A body that did not come with its headers.

    :param began: when its request did, in the time of the event loop.
    :param lease: holds what it takes.
    :param timeout_s: time for the whole of it.
    """

    __slots__ = ("_body", "_end", "_waiter", "began", "lease", "timeout_s")

    def __init__(self, body: Body, began: float, lease: MemoryLease, timeout_s: float) -> None:
        self._body = body
        self.began = began
        self.lease = lease
        self.timeout_s = timeout_s
        self._end = 0
        self._waiter: asyncio.Future[None] | None = None

    async def piece_after(self, size: int) -> None:
        """Wait until a piece of it is there after so many bytes, or the rest, or it has failed."""
        self._end = size + _PIECE_BYTES
        if not self._is_there():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def look(self) -> None:
        """Have its reader go on, if what it waits for is there."""
        waiter = self._waiter
        if waiter is not None and self._is_there() and not waiter.done():
            waiter.set_result(None)

    def _is_there(self) -> bool:
        body = self._body
        return body.total_bytes >= self._end or body.is_eof() or body.exception() is not None


class Arrivals:
    """The bodies that did not come with their headers, in the order of their beginning.

    :param timeout_s: time for a whole body.
    :param min_bytes_per_s: what has to arrive on average.
    """

    def __init__(self, *, timeout_s: float, min_bytes_per_s: int) -> None:
        self._timeout_s = timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._arrivals: dict[Body, Arrival] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def __contains__(self, body: Body) -> bool:
        return body in self._arrivals

    def begin(self, body: Body, lease: MemoryLease, *, patience: float = 1.0) -> Arrival:
        """Watch a body.  When it is cut off, reading it raises RequestError (503).

        :param patience: how many times the usual time it may take.
        """
        now = asyncio.get_running_loop().time()
        arrival = Arrival(body, now, lease, self._timeout_s * patience)
        self._arrivals[body] = arrival
        return arrival

    def grow(self, body: Body, size: int) -> bool:
        """Count bytes of a body that are not read yet; return whether there is room for them."""
        lease = self._arrivals[body].lease
        return lease.resize(lease.size + size, arriving=True)

    def look(self, body: Body) -> None:
        """Have a body's reader go on if there is reason to: more has come, or nothing more will."""
        arrival = self._arrivals.get(body)
        if arrival is not None:
            arrival.look()

    def end(self, body: Body) -> None:
        """Stop watching it."""
        self._arrivals.pop(body, None)

    def slow(self, now: float) -> list[Body]:
        """Return the bodies that take too long.

        :param now: in the time of the event loop.
        """
        young = min(self._timeout_s, _GRACE_S)
        found: list[Body] = []
        for body, arrival in self._arrivals.items():
            age = now - arrival.began
            if age <= young:
                break
            if age > arrival.timeout_s or body.total_bytes < age * self._min_bytes_per_s:
                found.append(body)
        return found

    def shed(self) -> bool:
        """Give up the oldest body unless it is young, so that others fit; return whether it was."""
        latest = asyncio.get_running_loop().time() - _SAFE_S
        for body, arrival in self._arrivals.items():
            return arrival.began <= latest and self.cut(body)
        return False

    def cut(self, body: Body, error: RequestError | None = None) -> bool:
        """Give up a body and what it holds; return False when it has ended meanwhile.

        :param error: what its request is told; by default that it is too slow.
        """
        arrival = self._arrivals.pop(body, None)
        if arrival is None:
            return False
        arrival.lease.release()
        body.set_exception(error or slow_body())
        arrival.look()
        return True
