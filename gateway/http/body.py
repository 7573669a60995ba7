"""Reading a request's body: bounded in size, inflated size and time."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from aiohttp import web
from isal import isal_zlib
from multidict import MultiMapping

from gateway.errors import RequestError
from gateway.events.encodings import is_blank
from gateway.http.memory_budget import MemoryLease
from gateway.http.refusals import no_room
from gateway.http.request import AnyRequest, Request
from gateway.http.slow_bodies import Arrivals

__all__ = ["Bodies", "ask_for_body", "check_density", "encoding_of", "inflated", "is_plain"]

_BAD_STREAM: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub errs
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window bits, by which zlib is told what to expect."""

_COMPRESSIONS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_NO_COMPRESSIONS = frozenset(
    {"", "identity", "none", "null", "binary", "7bit", "8bit", "plain", "text", "json"}
    | {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "application/json"}
)
"""What senders write into ``Content-Encoding`` where nothing is compressed."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_MAGIC = frozenset({b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"})
_MAGIC = frozenset({b"\x1f", b"x"})
"""Their first bytes, with which no JSON begins."""

_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[\[{][\s!-~]|data=)")
"""How JSON begins, and the forms of Mixpanel's SDKs, and neither of them when it is deflated."""

_PADDING = b"\0\r\n"  # behind a compressed body: of block devices and of shells

_MAX_LAYERS = 2  # an SDK compresses, and the HTTP client below it compresses again
_MAX_MEMBERS = 100  # of a gzip body; each one costs a copy of what follows it

_SLICE_BYTES = 128 * 1024
_SLICES_AT_ONCE = 2
"""What is inflated at once, in 0.2 ms; of larger bodies one has a slice in a turn of the loop, so
that a few small ones, that inflate to megabytes, keep nobody waiting."""

_REQUEST_BYTES = 8192
"""What a request takes besides its body (measured: 7 kB)."""

_PART_BYTES = 64
"""What a part of a body takes besides its bytes; hostile ones have one byte each."""

# Decoding makes an object of each event and of each element of a batch that is none: 4 MiB of
# "{}," would take 300 MB and a quarter of a second.  A real event of that density does not exist.
_MAX_OBJECTS = 200_000
_MAX_VALUES = 1_000_000

_SHED_AT_ONCE = 64  # slow bodies given up for one request


class Bodies:
    """Reads the bodies of all requests.

    :param arrivals: watches those that did not come with their headers.
    :param max_bytes: of the largest, before and after inflating.
    :param patience: how many times the usual time one may take.
    """

    def __init__(self, arrivals: Arrivals, *, max_bytes: int, patience: float = 1.0) -> None:
        self._arrivals = arrivals
        self._max_bytes = max_bytes
        self._patience = patience
        self._inflating = asyncio.Lock()  # whoever inflates a large one has it

    async def read(self, request: AnyRequest, lease: MemoryLease) -> bytes:
        """Return the body of a request, inflated where the client compressed it.

        :param lease: holds what the body takes, from before the first byte is read.
        :raises RequestError: (400) too large, cut off or not readable; (503) too slow, or no room.
        """
        encoding = encoding_of(request.headers)
        length = request.content_length or 0  # chunked bodies tell none
        if length > self._max_bytes:
            raise _too_large(self._max_bytes)
        content = request.content
        if content.is_eof():
            self._hold(lease, length or content.total_bytes)
        else:
            self._hold(lease, max(length, content.total_bytes), arriving=True)
            await ask_for_body(request)
        body = await self._read_all(request, lease)
        return await self.take(body, encoding, lease)

    def take_plain(self, body: bytes, lease: MemoryLease) -> bytes:
        """Return a body that is there already and not compressed, as ``take`` does."""
        size = len(body)
        if size > self._max_bytes:
            raise _too_large(self._max_bytes)
        if not lease.resize(size + _REQUEST_BYTES):
            self._hold(lease, size)
        if size > _MAX_OBJECTS:
            check_density(body)
        return body

    async def take(self, body: bytes, encoding: str, lease: MemoryLease) -> bytes:
        """Return a body that is there already, as ``read`` does.

        :param encoding: as ``encoding_of`` returns it.
        """
        if len(body) > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._hold(lease, len(body))
        if not is_plain(body, encoding):
            for _ in range(_MAX_LAYERS):
                encoding = _encoding_in_fact(body, encoding)
                if not encoding:
                    break
                body = await self._inflate(body, encoding, lease)
                encoding = ""
        check_density(body)
        return body

    async def _inflate(self, body: bytes, encoding: str, lease: MemoryLease) -> bytes:
        """Return a compressed body inflated, and let others have their turns meanwhile."""
        parts = inflated(body, encoding, self._max_bytes)
        joined = list(islice(parts, _SLICES_AT_ONCE))
        size = sum(map(len, joined))
        if len(joined) == _SLICES_AT_ONCE:
            self._hold(lease, len(body) + size)
            async with self._inflating:
                for part in parts:
                    size += len(part)
                    self._hold(lease, len(body) + size)
                    joined.append(part)
                    await asyncio.sleep(0)
        self._hold(lease, size)
        return joined[0] if len(joined) == 1 else b"".join(joined)

    def _hold(self, lease: MemoryLease, size: int, *, arriving: bool = False) -> None:
        size += _REQUEST_BYTES
        if lease.resize(size, arriving=arriving):
            return
        for _ in range(_SHED_AT_ONCE):
            if not self._arrivals.shed():
                break
            if lease.resize(size, arriving=arriving):
                return
        raise no_room()

    async def _read_all(self, request: AnyRequest, lease: MemoryLease) -> bytes:
        content = request.content
        length = request.content_length or 0
        parts: list[bytes] = []
        size = 0
        arrival = None
        if not content.is_eof():
            arrival = self._arrivals.begin(content, lease, patience=self._patience)
        try:
            while True:
                part = content.read_nowait()
                size += len(part)
                if size > self._max_bytes:
                    raise _too_large(self._max_bytes)
                parts.append(part)
                if arrival is None or content.at_eof():
                    break
                taken = size + _PART_BYTES * len(parts)
                if taken > length:
                    self._hold(lease, taken, arriving=True)
                await arrival.piece_after(size)
        except (web.RequestPayloadError, ConnectionError) as error:
            error.__traceback__ = None  # the body keeps the error, and this would keep the body
            raise RequestError(
                400,
                "incomplete_body",
                "the body ends too early, or its chunks are malformed",
                close=True,
            ) from None
        finally:
            if arrival is not None:
                self._arrivals.end(content)
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def ask_for_body(request: AnyRequest) -> None:
    """Tell a client to go on that waits for a word before it sends the body.

    The low-level server leaves this to the handler; without it curl waits a second.
    """
    if isinstance(request, Request):
        return  # such a head is not usual
    if request.headers.get("Expect", "").lower() == "100-continue":
        with suppress(ConnectionError):  # one that has gone is found out by reading
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def encoding_of(headers: MultiMapping[str]) -> str:
    """Return what a body is said to be compressed with, "" for nothing."""
    lines = headers.getall("Content-Encoding", ())
    if not lines:
        return ""
    words = [word.partition(";")[0] for line in lines for word in line.split(",")]
    names = [word.strip(" \t\"'").lower() for word in words]
    said = [_COMPRESSIONS.get(name, name) for name in names if name not in _NO_COMPRESSIONS]
    return ", ".join(said)


def is_plain(body: bytes, encoding: str) -> bool:
    """Tell whether nothing says that a body is compressed.

    :param encoding: as ``encoding_of`` returns it.
    """
    return not encoding and body[:1] not in _MAGIC


def _encoding_in_fact(body: bytes, encoding: str) -> str:
    """Return what a body is compressed with, whatever is said of it; "" for nothing.

    Some senders compress and do not say so, or say what is none; proxies inflate bodies and go on
    saying so.

    :raises RequestError: (400) neither what is said of it nor itself tells how to read it.
    """
    start = body[:2]
    if start == _GZIP_MAGIC:
        return "gzip"
    if start in _ZLIB_MAGIC:
        return "deflate"
    if not encoding or is_blank(body) or _TEXT.match(body):
        return ""
    if encoding not in _COMPRESSIONS:
        raise RequestError(
            400,
            "unsupported_encoding",
            "Content-Encoding must be gzip, deflate or absent; others cannot be read here",
        )
    return encoding


def check_density(body: bytes) -> None:
    """Refuse JSON that would take far more memory decoded than as text.

    :raises RequestError: (400) it holds too many values.
    """
    if _has_more(body, b"{", _MAX_OBJECTS) or _has_more(body, b",", _MAX_VALUES):
        raise RequestError(
            400, "too_many_values", "the body holds too many values; send smaller batches"
        )


def _has_more(body: bytes, byte: bytes, limit: int) -> bool:
    """Tell whether a byte occurs more often; where it does, that is found out early."""
    if len(body) <= limit:
        return False
    count = 0
    for start in range(0, len(body), limit):
        count += body.count(byte, start, start + limit)
        if count > limit:
            return True
    return False


def inflated(body: bytes, encoding: str, max_bytes: int) -> Iterator[bytes]:
    """Inflate a compressed body, part by part; several gzip members count as one.

    One that ends too early gives what there is of it.  Where something in it is wrong, nobody knows
    since where, and nothing of it may be believed.

    :param encoding: gzip, or deflate with or without the header that it should have.
    :raises RequestError: (400) it is damaged, has nothing in it, or is larger than ``max_bytes``.
    """
    bits = _GZIP if encoding == "gzip" else _ZLIB if _is_zlib(body) else _RAW
    parts = _inflated(body, bits, max_bytes)
    try:
        try:
            first = next(parts, b"")
        except _BAD_STREAM:
            if bits != _ZLIB:
                raise
            # Its first two bytes are a header by chance.
            parts = _inflated(body, _RAW, max_bytes)
            first = next(parts, b"")
        yield first
        yield from parts
    except _BAD_STREAM:
        raise RequestError(
            400, "invalid_encoding", f"the body is not what Content-Encoding says ({encoding})"
        ) from None


def _is_zlib(body: bytes) -> bool:
    """Tell whether the first two bytes are those of RFC 1950."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _inflated(body: bytes, bits: int, max_bytes: int) -> Iterator[bytes]:
    left = max_bytes
    members = 0
    while body:
        if members == _MAX_MEMBERS:
            raise RequestError(
                400, "invalid_encoding", f"the body has more than {_MAX_MEMBERS} gzip members"
            )
        members += 1
        start = body[:2]
        stream = isal_zlib.decompressobj(bits)
        while not stream.eof:
            # One byte more than allowed tells too large from just large enough.
            part = stream.decompress(body, min(left + 1, _SLICE_BYTES))
            body = stream.unconsumed_tail
            left -= len(part)
            if left < 0:
                raise _too_large(max_bytes)
            if part:
                yield part
            elif not (body or stream.eof):
                is_begun = members == 1 or _GZIP_MAGIC.startswith(start)
                if left < max_bytes and is_begun:
                    return  # what came before the cut is right: it is decoded in order
                raise RequestError(400, "invalid_encoding", "the compressed body is cut off")
        body = stream.unused_data
        if body[:1] in _PADDING:
            body = body.lstrip(_PADDING)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        400,
        "body_too_large",
        f"a body may have {max_bytes} bytes, also after inflating; send smaller batches",
        close=True,
    )
