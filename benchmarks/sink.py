"""A Mixpanel for load tests: takes everything, cheaply, and knows how many records it has got.

``python -m benchmarks.sink`` prints its address and serves on loopback until SIGTERM.  Bodies are
kept and looked into when somebody asks for ``/stats``, so that counting takes no time from what is
measured; only what exceeds the memory for that is counted at once.  A request below ``/v1/`` is one
that a proxy passed on as it was: it is counted, not looked into.
"""

import asyncio
import re
import signal
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from gateway.sandbox.body import TooLarge, Unreadable, inflate, parse_data, parse_fields

__all__ = ["ACCEPTED", "Stats"]

ACCEPTED = b'{"success":true}'
"""The body of a gateway's answer to a client."""

_KEPT_BYTES = 256 * 1024 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_GZIP = re.compile(rb"\r\ncontent-encoding: *gzip", re.IGNORECASE)


class Stats(msgspec.Struct):
    """What has come so far.

    :param requests: of any kind.
    :param records: that could be read in them.
    :param unreadable: requests that hold none.
    :param bytes: of all bodies.
    """

    requests: int = 0
    records: int = 0
    unreadable: int = 0
    bytes: int = 0


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


_OK = _answer(b'{"code":200,"status":"OK","error":null}')
_PASSED_ON = _answer(ACCEPTED)
_NO_LENGTH = _answer(b'{"error":"send Content-Length"}', b"411 Length Required")


class _Counter:
    """Counts bodies, later where there is room for them."""

    def __init__(self) -> None:
        self._stats = Stats()
        self._kept: deque[tuple[bool, bytes]] = deque()
        self._kept_bytes = 0

    def take(self, path: bytes, is_gzipped: bool, body: bytes) -> bytes:
        """Return the answer to a request."""
        self._stats.requests += 1
        self._stats.bytes += len(body)
        if path.startswith(b"/v1/"):
            return _PASSED_ON
        if self._kept_bytes + len(body) > _KEPT_BYTES:
            self._count(is_gzipped, body)
        else:
            self._kept.append((is_gzipped, body))
            self._kept_bytes += len(body)
        return _OK

    def stats(self) -> bytes:
        """Return the answer to who asks."""
        while self._kept:
            self._count(*self._kept.popleft())
        self._kept_bytes = 0
        return _answer(msgspec.json.encode(self._stats))

    def _count(self, is_gzipped: bool, body: bytes) -> None:
        try:
            self._stats.records += _records(inflate(body, "gzip") if is_gzipped else body)
        except (Unreadable, TooLarge):
            self._stats.unreadable += 1


def _records(body: bytes) -> int:
    if body[:1] == b"{":
        return body.count(b"\n") + (not body.endswith(b"\n"))  # JSON text holds no line end
    if body[:1] == b"[":
        return len(msgspec.json.decode(body, type=list[msgspec.Raw]))
    return len(parse_data(parse_fields(body).get("data", "")))


class _Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as those speak it that post here."""

    def __init__(
        self, take: Callable[[bytes, bool, bytes], bytes], stats: Callable[[], bytes]
    ) -> None:
        self._take = take
        self._stats = stats
        self._parts: list[bytes] = []
        self._missing = 0  # bytes of the request that is under way; 0 while that is not known
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        """Answer each request as soon as it is complete."""
        if self._missing > len(data):
            self._parts.append(data)
            self._missing -= len(data)
            return
        if self._parts:
            data = b"".join([*self._parts, data])
            self._parts.clear()
        self._missing = 0
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._parts.append(data)
                return
            head = data[:end]
            length = _LENGTH.search(head)
            size = end + (int(length[1]) if length else 0)
            if size > len(data):
                if size > _MAX_BODY_BYTES:
                    self._refuse()
                    return
                self._parts.append(data)
                self._missing = size - len(data)
                return
            self._respond(head, data[end:size], has_length=length is not None)
            data = data[size:]

    def _respond(self, head: bytes, body: bytes, *, has_length: bool) -> None:
        assert self._transport is not None  # noqa: S101
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            self._transport.write(self._stats())
        elif not has_length:
            self._refuse()
        else:
            self._transport.write(self._take(path, _GZIP.search(head) is not None, body))

    def _refuse(self) -> None:
        assert self._transport is not None  # noqa: S101
        self._transport.write(_NO_LENGTH)
        self._transport.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    counter = _Counter()
    server = await loop.create_server(
        lambda: _Protocol(counter.take, counter.stats), "127.0.0.1", 0, backlog=1024
    )
    print(f"sink: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
