"""Reading a request's body: bounded in size, inflated size and time."""

import asyncio

from aiohttp import web
from isal import isal_zlib

from gateway.errors import RequestError

__all__ = ["inflate", "read_body"]

_BAD_STREAM: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub errs
_GZIP = 31  # window bits that make zlib expect a gzip header
_DEFLATE = 15
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE}
_MAX_MEMBERS = 100  # of a gzip body; each one costs a copy of what follows it


async def read_body(request: web.BaseRequest, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the body, inflated where the client compressed it.

    :param max_bytes: the largest body, before and after inflating.
    :param timeout_s: time until the last byte.
    :raises RequestError: (400) too large, cut off or not readable; (503) too slow.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity") and encoding not in _WINDOW_BITS:
        raise RequestError(
            400,
            "unsupported_encoding",
            "Content-Encoding must be gzip, deflate or absent",
            close=True,
        )
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    if request.headers.get("Expect", "").lower() == "100-continue":
        # The low-level server leaves this to the handler; without it curl waits a second.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read_all(request, max_bytes)
    except TimeoutError:
        raise RequestError(
            503,
            "body_timeout",
            f"the body did not arrive within {timeout_s:g} seconds",
            retry_after_s=5,
            close=True,
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise RequestError(
            400,
            "incomplete_body",
            "the body ends too early, or its chunks are malformed",
            close=True,
        ) from None
    if encoding in _WINDOW_BITS:
        return inflate(body, encoding, max_bytes)
    return body


async def _read_all(request: web.BaseRequest, max_bytes: int) -> bytes:
    content = request.content
    parts: list[bytes] = []
    size = 0
    while True:
        part = await content.readany()
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return what a compressed body holds; several gzip members count as one.

    :raises RequestError: (400) it is damaged, or larger than ``max_bytes``.
    """
    parts: list[bytes] = []
    left = max_bytes
    try:
        while body:
            if len(parts) == _MAX_MEMBERS:
                raise RequestError(
                    400, "invalid_encoding", f"the body has more than {_MAX_MEMBERS} gzip members"
                )
            # One byte more than allowed tells too large from just large enough.
            stream = isal_zlib.decompressobj(_WINDOW_BITS[encoding])
            part = stream.decompress(body, left + 1)
            if len(part) > left:
                raise _too_large(max_bytes)
            if not stream.eof:
                raise RequestError(400, "invalid_encoding", f"the {encoding} body is cut off")
            left -= len(part)
            parts.append(part)
            body = stream.unused_data
    except _BAD_STREAM:
        raise RequestError(
            400, "invalid_encoding", f"the body is not what Content-Encoding says ({encoding})"
        ) from None
    return b"".join(parts)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        400,
        "body_too_large",
        f"a body may have {max_bytes} bytes, also after inflating; send smaller batches",
        close=True,
    )
