"""The head of a request, and a request that is answered without aiohttp.

What is read here has one meaning only: heads that servers could understand in two ways are refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aiohttp import web
from multidict import CIMultiDict, MultiMapping
from yarl import URL

from gateway.http.incoming import Incoming
from gateway.http.malformed import ONCE, HeadLimits, is_path_or_url

__all__ = ["AnyRequest", "Head", "Request", "read_head"]

_HEAD = re.compile(
    rb"([A-Z-]++) ((?:/|[A-Za-z][A-Za-z+.-]*+://)[!-~]*+|\*) HTTP/1\.([01])\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)

_KEPT = ("keep-alive",)  # as HTTP/1.1 has it where nothing is said
_UNUSUAL = ("Transfer-Encoding", "Expect", "Upgrade", "Forwarded")


class Head:
    """What a request says before its body.

    :ivar target: as it is written, in ASCII.
    :ivar path: of the target, also as it is written.
    :ivar origin: of the page that sends it.
    :ivar headers: in which bytes that are no UTF-8 are lone surrogates.
    :ivar length: of the body, in bytes; 0 where it has none, or comes in chunks.
    :ivar size: of the head itself, in bytes, with the empty line.
    :ivar is_usual: whether it is a POST of HTTP/1.1 that tells its length, leaves the connection
        open, and asks for nothing that needs more than to be answered.
    :ivar note: what a handler has understood of it, and may be told again; None where nothing.
    :ivar noted_by: that handler.
    """

    __slots__ = (
        *("headers", "is_chunked", "is_usual", "length", "method", "note", "noted_by"),
        *("origin", "path", "size", "target"),
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        *,
        size: int,
        length: int,
        is_chunked: bool,
        is_usual: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.path = target.partition("?")[0]
        self.headers = headers
        self.origin = headers.get("Origin")
        self.size = size
        self.length = length
        self.is_chunked = is_chunked
        self.is_usual = is_usual
        self.note: object = None
        self.noted_by: object = None


def read_head(data: bytes, limits: HeadLimits) -> Head | None:
    """Return the head that data begins with; None where it is not valid, or too large."""
    found = _HEAD.match(data)
    if found is None:
        return None
    method, target, minor, lines = found.groups()
    size = found.end()
    pairs = []
    for line in lines.decode("utf-8", "surrogateescape").split("\r\n"):
        name, _, value = line.partition(":")
        pairs.append((name, value.strip(" \t")))
    pairs.pop()  # behind the last line
    headers = CIMultiDict(pairs)
    if size > limits.line_bytes and not _fits(method, target, pairs, size, limits):
        return None
    if not is_path_or_url(target):
        return None
    if len(headers) > limits.headers or _repeats(headers):
        return None
    length = headers.get("Content-Length")
    if minor == b"1" and "Host" not in headers:
        return None
    if length is not None and not _LENGTH.fullmatch(length):
        return None
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (length is not None or coding.lower() != "chunked"):
        return None
    return Head(
        method.decode(),
        target.decode(),
        headers,
        size=size,
        length=int(length or 0),
        is_chunked=coding is not None,
        is_usual=method == b"POST"
        and minor == b"1"
        and length is not None
        and ", ".join(headers.getall("Connection", _KEPT)).lower() == "keep-alive"
        and not any(name in headers for name in _UNUSUAL),
    )


def _fits(
    method: bytes, target: bytes, pairs: list[tuple[str, str]], size: int, limits: HeadLimits
) -> bool:
    longest = max(len(method), len(target), *(max(map(len, pair)) for pair in pairs))
    return size - len(b"\r\n\r\n") <= limits.head_bytes and longest <= limits.line_bytes


def _repeats(headers: CIMultiDict[str]) -> bool:
    return any(len(headers.getall(name, ())) > 1 for name in ONCE)


class Request:
    """A request that is answered without aiohttp; its members are those of ``web.BaseRequest``.

    :param head: that is usual.
    :param content: its body, that may still be arriving.
    :param remote: the address of the client.
    """

    __slots__ = (
        *("_url", "content", "content_length", "head", "headers"),
        *("method", "path", "remote", "target"),
    )

    forwarded: Sequence[Mapping[str, str]] = ()  # such a head is not usual

    def __init__(self, head: Head, content: Incoming, remote: str | None) -> None:
        self.head = head
        self.method = head.method
        self.target = head.target
        self.path = head.path  # in which nothing is escaped: it is that of a route
        self.headers: MultiMapping[str] = head.headers
        self.content = content
        self.content_length = head.length
        self.remote = remote
        self._url: URL | None = None

    @property
    def rel_url(self) -> URL:
        """The target."""
        if self._url is None:
            path, _, query = self.target.partition("?")
            query, _, fragment = query.partition("#")
            self._url = URL.build(path=path, query_string=query, fragment=fragment, encoded=True)
        return self._url

    @property
    def query_string(self) -> str:
        """The query, decoded."""
        return self.rel_url.query_string if "?" in self.target else ""

    @property
    def query(self) -> MultiMapping[str]:
        """The parameters of the query, decoded."""
        return self.rel_url.query


AnyRequest: TypeAlias = web.BaseRequest | Request
