"""Requests that are no HTTP as the parser has it: what is wrong with them, and what can be mended.

All of it is decided by the text alone, once the parser has refused it.
"""

import re
from typing import NamedTuple

from yarl import URL

__all__ = [
    "BODY",
    "ONCE",
    "OTHER",
    "PROXY_PROTOCOL",
    "HeadLimits",
    "MalformedReason",
    "fault_in",
    "has_fault",
    "is_path_or_url",
    "mended",
    "origin_in",
]


class HeadLimits(NamedTuple):
    """What a head may have.

    :param line_bytes: of its first line, and of each header.
    :param bytes: of all together.
    :param headers: how many.
    """

    line_bytes: int
    head_bytes: int
    headers: int


class MalformedReason(NamedTuple):
    """Why a request is refused.

    :param reason: one of a few words.
    :param message: what is wrong and what to do, without anything that the client chose but the
        name of a header.
    """

    reason: str
    message: str


BODY = MalformedReason("body", "the chunks of its body are malformed")

PROXY_PROTOCOL = MalformedReason(
    "proxy_protocol",
    "it begins with a header of the PROXY protocol that is malformed, or does not come from one of "
    "server.trusted_proxies",
)
OTHER = MalformedReason("other", "it is not valid HTTP")

_TLS = MalformedReason(
    "tls",
    "it is TLS, and this port speaks plain HTTP: use http://, or set server.tls_cert and "
    "server.tls_key",
)
_HTTP_2 = MalformedReason("http2", "it is HTTP/2, which this port does not speak")

_TLS_HELLO = re.compile(rb"\x16\x03[\x00-\x04]|[\x80-\xff].\x01[\x00\x02\x03]", re.DOTALL)
"""A record of TLS, and the hello of SSL 2 that old clients begin with."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(rb"[A-Z-]+")
_TARGET = re.compile(rb"(?:/|[A-Za-z][A-Za-z+.-]*://)[!-~]*|\*")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SHOWN_NAME = re.compile(rb"[A-Za-z0-9-]{1,40}")

ONCE = ("Content-Length", "Content-Type", "Host", "Transfer-Encoding", "User-Agent")
"""Headers that may occur only once."""

_ONCE = frozenset(name.lower().encode() for name in ONCE)

_ORIGIN = re.compile(rb"\norigin:[ \t]*([!-~]{1,300})[ \t]*\r?\n", re.IGNORECASE)

_PATH = rb"/[^?\x00-\x20\x7f]*"
_QUERY = rb"\?[^\x00-\x08\x0a-\x1f\x7f]*"
_LINE_TO_MEND = re.compile(rb"([A-Z]+ )(%b(?:%b)?)( HTTP/1\.[01]\r\n)" % (_PATH, _QUERY))
_LINE_BEGUN = re.compile(rb"[A-Z-]{0,32}(?: [^\x00-\x08\x0a-\x1f\x7f]*\r?)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_TO_ESCAPE = re.compile(rb"[\x80-\xff \t]")
_A_VERSION = re.compile(rb"[ \t]HTTP/", re.IGNORECASE)


def fault_in(text: bytes, limits: HeadLimits) -> MalformedReason:
    """Return what is wrong with a request that has been refused.

    :param text: what has come of it, with what may have come behind.
    """
    text = text[: limits.head_bytes + limits.line_bytes].lstrip(b"\r\n")
    if _TLS_HELLO.match(text):
        return _TLS
    if text.startswith((b"PROXY ", b"\x00\r\nQUIT\n")):
        return PROXY_PROTOCOL
    if text.startswith(b"PRI * HTTP/2"):
        return _HTTP_2
    head, end, _ = text.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return (
        _too_much(line, headers, len(head), limits)
        or _in_line(line)
        or _in_headers(line, headers)
        or (BODY if end else OTHER)
    )


def _too_much(
    line: bytes, headers: list[bytes], size: int, limits: HeadLimits
) -> MalformedReason | None:
    most = limits.line_bytes
    if len(line) > most:
        return MalformedReason(
            "line_too_long", f"its first line is longer than {most} bytes: server.max_header_bytes"
        )
    for header in headers:
        if len(header) > most:
            return MalformedReason(
                "header_too_long",
                f"{_named(header)} is longer than {most} bytes: server.max_header_bytes",
            )
    if size > limits.head_bytes:
        return MalformedReason(
            "head_too_long",
            f"its headers have more than {limits.head_bytes} bytes: server.max_head_bytes",
        )
    if len(headers) > limits.headers:
        return MalformedReason("too_many_headers", f"it has more than {limits.headers} headers")
    return None


def _in_line(line: bytes) -> MalformedReason | None:
    if b"\n" in line:
        return MalformedReason("line_end", "a line of its head ends with LF alone")
    words = line.split(b" ")
    if len(words) != 3:
        return MalformedReason(
            "request_line", "its first line is not a method, a path and a version of HTTP"
        )
    method, target, version = words
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return MalformedReason("version", "this port does not speak its version of HTTP")
    if not _METHOD.fullmatch(method):
        return MalformedReason("method", "its method is not in capital letters")
    if not (_TARGET.fullmatch(target) and is_path_or_url(target)):
        return MalformedReason("target", "its target is no path: percent-encode it")
    return None


def is_path_or_url(target: bytes) -> bool:
    """Tell whether a target that is no path is a URL whose host can be read.

    aiohttp reads it when nothing that fails is answered any more.
    """
    if target[:1] in (b"/", b"*"):
        return True
    try:
        return URL(target.decode(), encoded=True).host is not None
    except ValueError:
        return False


def _in_headers(line: bytes, headers: list[bytes]) -> MalformedReason | None:
    seen: dict[bytes, bytes] = {}
    for header in headers:
        name, colon, value = header.partition(b":")
        lower = name.lower()
        if b"\n" in header:
            return MalformedReason("line_end", "a line of its head ends with LF alone")
        if header[:1] in (b" ", b"\t"):
            return MalformedReason(
                "folded_header", "one of its headers is folded into several lines"
            )
        if not (colon and _TOKEN.fullmatch(name)):
            return MalformedReason("header_name", "one of its headers has no valid name")
        if _CONTROL.search(value):
            return MalformedReason("header_value", f"{_named(header)} holds a control character")
        if lower in _ONCE and lower in seen:
            return MalformedReason("repeated_header", f"{_named(header)} occurs more than once")
        seen[lower] = value.strip(b" \t")
    if b"host" not in seen and line.endswith(b"1.1"):
        return MalformedReason("no_host", "it has no Host header")
    length, coding = seen.get(b"content-length"), seen.get(b"transfer-encoding")
    if (length is not None and not _LENGTH.fullmatch(length)) or (
        coding is not None and (length is not None or coding.lower() != b"chunked")
    ):
        return MalformedReason("length", "the length of its body cannot be told for certain")
    return None


def _named(header: bytes) -> str:
    name = header.partition(b":")[0]
    return f"the header {name.decode()}" if _SHOWN_NAME.fullmatch(name) else "a header"


def origin_in(text: bytes) -> str | None:
    """Return the origin of the page that has sent a head, None where it cannot be read."""
    head, end, _ = text.partition(b"\r\n\r\n")
    found = _ORIGIN.search(head + end)
    return None if found is None else found[1].decode()


def has_fault(part: bytes, limits: HeadLimits, *, is_first: bool) -> bool:
    """Tell whether a head that has come in part can be none, whatever follows.

    :param part: from the beginning of the first line that was not looked at as a whole before.
    :param is_first: whether that is the first line of the head.
    """
    *lines, begun = part.split(b"\n")
    if any(_is_too_long(line, limits) for line in (*lines, begun)):
        return True
    if is_first:
        if not lines:
            return _LINE_BEGUN.fullmatch(begun) is None
        line = lines.pop(0)
        if not line.endswith(b"\r"):
            return True
        if _in_line(line[:-1]) is not None and mended(line + b"\n") is None:
            return True
    return not all(_HEADER.fullmatch(line + b"\n") for line in lines)


def _is_too_long(line: bytes, limits: HeadLimits) -> bool:
    """Tell whether a line is certainly too long, with the blanks that do not count."""
    most = limits.line_bytes + len(b" \r")
    return len(line) > most and max(map(len, line.split(b":", 1))) > most


def mended(text: bytes) -> bytes | None:
    """Return a request with its target as it should be written; None where that is no help.

    Bytes beyond ASCII are percent-encoded, as UTF-8 or else as Latin-1, and so are blanks in the
    query.  Where the request ends is not touched, nor anything that tells it.
    """
    found = _LINE_TO_MEND.match(text)
    if found is None:
        return None
    method, target, version = found.groups()
    if not _TO_ESCAPE.search(target) or _A_VERSION.search(target):
        return None
    try:
        target.decode()
    except UnicodeDecodeError:
        target = target.decode("latin-1").encode()
    escaped = _TO_ESCAPE.sub(lambda byte: b"%%%02X" % ord(byte[0]), target)
    return method + escaped + version + text[found.end() :]
