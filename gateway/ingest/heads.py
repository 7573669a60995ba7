"""The heads of requests, by which a connection knows again what it has understood before.

An SDK sends the same head over and over, but for the length of the body.  What one says once it has
been parsed and found to be right, and what follows from it, is remembered: the same bytes mean the
same again.  That holds on other connections too, but for the address that they come from; and
telephones of one kind, with the same version of an app, send the same heads.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from gateway.ingest.intake import Intake, Told

__all__ = ["CommonHeads", "Head", "Heads", "Known", "body_behind", "head_of"]

MAX_HEADS = 8
"""How many a connection remembers; SDKs have one path for each type of event at most."""

MAX_COMMON = 1024
"""How many of all connections are remembered at least, once so many have come; twice that at most,
which take 5 MB where all are as long as they may be."""

_MAX_HEAD_BYTES = 2048
_MAX_DIGITS = 9

_LENGTH = re.compile(
    rb"\r\ncontent-length: ?([1-9]\d{0,%d})(?=\r\n)" % (_MAX_DIGITS - 1), re.IGNORECASE
)
_LINE = b"\r\n"
_END = b"\r\n\r\n"


class Head(NamedTuple):
    """What comes before and after the digits of the length, with the empty line."""

    before: bytes
    after: bytes


class Known(NamedTuple):
    """What is done with requests that have a certain head.

    :param family: whose SDK sends them.
    :param encoding: of their bodies.
    :param client_ip: the address that they come from.
    """

    intake: Intake
    told: Told
    family: str
    encoding: str
    client_ip: str | None


def head_of(data: bytes) -> Head | None:
    """Return the head of what has come; None where that is not exactly one request.

    Whether it is a request at all is not looked at: only heads that have been parsed are known.
    """
    end = data.find(_END, 0, _MAX_HEAD_BYTES)
    if end < 0:
        return None
    body = end + len(_END)
    found = _LENGTH.search(data, 0, end + len(_LINE))
    if found is None or len(data) - body != int(found[1]):
        return None
    begin, stop = found.span(1)
    return Head(data[:begin], data[stop:body])


def body_behind(head: Head, data: bytes) -> bytes:
    """Return the body of a request of which ``head_of`` has found that head."""
    stop = data.index(_LINE, len(head.before))
    return data[stop + len(head.after) :]


class Heads:
    """What one connection remembers."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Head, Known] = {}

    def remember(self, head: Head, known: Known) -> None:
        """Know a head again, if it is one of the first."""
        if len(self._known) < MAX_HEADS:
            self._known[head] = known

    def find(self, data: bytes) -> tuple[Known, bytes] | None:
        """Return what is known of a request, and its body.

        None where ``head_of`` would find none, or one that is not known.
        """
        for (before, after), known in self._known.items():
            if data.startswith(before):
                begin = len(before)
                stop = data.find(_LINE, begin, begin + _MAX_DIGITS + len(_LINE))
                digits = data[begin:stop]
                body = stop + len(after)
                if (
                    data.startswith(after, stop)
                    and digits.isdigit()
                    and not digits.startswith(b"0")
                    and len(data) - body == int(digits)
                ):
                    return known, data[body:]
        return None


class CommonHeads:
    """What all connections have understood lately: most of those of telephones send once, and go.

    There are two generations: where the younger is full it becomes the elder, whose heads live on
    only if they come again.

    :param address_of: returns the address to be kept of a peer.  There must be no proxies that
        are believed: with them the address of a client is not that of the connection.
    """

    __slots__ = ("_address_of", "_elder", "_younger")

    def __init__(self, address_of: Callable[[str], str | None]) -> None:
        self._address_of = address_of
        self._younger: dict[Head, tuple[Head, Known]] = {}
        self._elder: dict[Head, tuple[Head, Known]] = {}

    def remember(self, head: Head, known: Known) -> None:
        """Know a head again, wherever it comes from."""
        if len(self._younger) >= MAX_COMMON:
            self._elder, self._younger = self._younger, {}
        self._younger[head] = head, known._replace(client_ip=None)

    def find(self, head: Head, peer: str) -> tuple[Head, Known] | None:
        """Return an equal head, as it was remembered, and what it says where a peer sends it."""
        found = self._younger.get(head)
        if found is None:
            found = self._elder.get(head)
            if found is None:
                return None
            self.remember(*found)
        first, known = found
        return first, known._replace(client_ip=self._address_of(peer))
