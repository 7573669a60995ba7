"""A fast HTTP client: one connection that posts bytes that are ready, and says what came back."""

import asyncio
import base64
import re
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

__all__ = ["Answer", "Wire", "post"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)\r", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Answer(NamedTuple):
    """What came back; without a status, whether anything had been sent is what matters.

    :param status: or why there is none: ``refused``: no connection, so nothing was sent;
        ``cut off``: nobody knows what became of the request.
    :param retry_after_s: of the header; None without one that is an integer.
    """

    status: int | Literal["refused", "cut off"]
    retry_after_s: int | None = None


def post(path: str, write_key: str, body: bytes) -> bytes:
    """Return a request."""
    key = base64.b64encode(f"{write_key}:".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Basic {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Wire:
    """One connection after the other to the same server, kept alive while that is possible.

    :param timeout_s: for connecting, and again for an answer.
    :ivar in_flight: whether a request waits for its answer.
    :ivar requests: how many have been sent, that one included.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.in_flight = False
        self.requests = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def send(self, request: bytes) -> Answer:
        """Send a request once."""
        if self._streams is not None and self._streams[0].at_eof():
            self._close()  # the server had closed it: nothing was lost
        try:
            async with asyncio.timeout(self._timeout_s):
                self._streams = self._streams or await asyncio.open_connection(*self._address)
        except (OSError, TimeoutError):
            return Answer("refused")
        reader, writer = self._streams
        self.in_flight = True
        self.requests += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError):
            self._close()
            return Answer("cut off")
        finally:
            self.in_flight = False
        if _CLOSES.search(head):
            self._close()
        after = _RETRY_AFTER.search(head)
        return Answer(int(head[9:12]), int(after[1]) if after else None)

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
