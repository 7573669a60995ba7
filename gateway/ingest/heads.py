"""The heads of requests, by which a connection knows again what it has understood before.

An SDK sends the same head over and over, but for the length of the body.  What one says once it has
been parsed and found to be right, and what follows from it, is remembered on its connection: the
same bytes mean the same again.
"""

import re
from typing import NamedTuple

from gateway.ingest.intake import Intake, Told

__all__ = ["Head", "Heads", "Known", "head_of"]

MAX_HEADS = 8
"""How many a connection remembers; SDKs have one path for each type of event at most."""

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


class Heads:
    """What one connection remembers."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Head, Known] = {}

    @property
    def is_full(self) -> bool:
        """Whether no more is remembered."""
        return len(self._known) >= MAX_HEADS

    def remember(self, head: Head, known: Known) -> None:
        """Know a head again."""
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
