"""Bodies that are still arriving: who is too slow, and who has to go when others need the room."""

import asyncio

from aiohttp import StreamReader

from gateway.errors import RequestError
from gateway.ingest.budget import Lease
from gateway.ingest.refusals import slow_body

__all__ = ["Arrivals"]

_GRACE_S = 5.0
"""How long a body may arrive at any rate; also that of Kestrel, as is the usual rate."""

_SAFE_S = 2.0
"""How long a body is safe from being cut off for others."""


class Arrivals:
    """The bodies that did not come with their headers, in the order of their beginning.

    :param timeout_s: time for a whole body.
    :param min_bytes_per_s: what has to arrive on average.
    """

    def __init__(self, *, timeout_s: float, min_bytes_per_s: int) -> None:
        self._timeout_s = timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._leases: dict[StreamReader, tuple[float, Lease]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, body: StreamReader) -> bool:
        return body in self._leases

    def begin(self, body: StreamReader, lease: Lease) -> None:
        """Watch a body.  When it is cut off, reading it raises RequestError (503)."""
        self._leases[body] = (asyncio.get_running_loop().time(), lease)

    def grow(self, body: StreamReader, size: int) -> bool:
        """Count bytes of a body that are not read yet; return whether there is room for them."""
        lease = self._leases[body][1]
        return lease.resize(lease.size + size, arriving=True)

    def end(self, body: StreamReader) -> None:
        """Stop watching it."""
        self._leases.pop(body, None)

    def slow(self, now: float) -> list[StreamReader]:
        """Return the bodies that take too long.

        :param now: in the time of the event loop.
        """
        young = min(self._timeout_s, _GRACE_S)
        found: list[StreamReader] = []
        for body, (began, _) in self._leases.items():
            age = now - began
            if age <= young:
                break
            if age > self._timeout_s or body.total_bytes < age * self._min_bytes_per_s:
                found.append(body)
        return found

    def shed(self) -> bool:
        """Give up the oldest body unless it is young, so that others fit; return whether it was."""
        latest = asyncio.get_running_loop().time() - _SAFE_S
        for body, (began, _) in self._leases.items():
            return began <= latest and self.cut(body)
        return False

    def cut(self, body: StreamReader, error: RequestError | None = None) -> bool:
        """Give up a body and what it holds; return False when it has ended meanwhile.

        :param error: what its request is told; by default that it is too slow.
        """
        _, lease = self._leases.pop(body, (0.0, None))
        if lease is None:
            return False
        lease.release()
        body.set_exception(error or slow_body())
        return True
