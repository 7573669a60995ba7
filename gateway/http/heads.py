"""The heads of usual requests, by which they are known again.

An SDK sends the same head over and over, but for the length of the body, and those of one version
of an app send the same ones.  What a head means follows from its bytes alone, so the same bytes
mean the same again, on any connection.
"""

import re
from typing import TypeAlias

from gateway.http.request import Head

__all__ = ["KnownHeads"]

MAX_HEADS = 1024
"""How many are known at least, once so many have come; twice that at most, which take 5 MB where
all are as long as they may be."""

_MAX_BYTES = 2048

_LENGTH = re.compile(rb"\r\ncontent-length: ?([1-9][0-9]{0,8})\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"

_Key: TypeAlias = tuple[bytes, bytes]


class KnownHeads:
    """Heads by what comes before and after the digits of their length.

    There are two generations: where the younger is full it becomes the elder, whose heads live on
    only if they come again.
    """

    __slots__ = ("_elder", "_younger")

    def __init__(self) -> None:
        self._younger: dict[_Key, Head] = {}
        self._elder: dict[_Key, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head of a request, and its body; None unless data is exactly that.

        :param data: all that has come since the last request.  What completes something that came
            before is no request, even if it looks like one.
        """
        found = _key_of(data)
        if found is None:
            return None
        key, body = found
        head = self._younger.get(key)
        if head is None:
            head = self._elder.get(key)
            if head is None:
                return None
            self._add(key, head)
        return head, data[body:]

    def remember(self, head: Head, data: bytes) -> None:
        """Know a head again, if it is not too long.

        :param data: the request that it was read from.
        """
        found = _key_of(data)
        if found is not None:
            self._add(found[0], head)

    def _add(self, key: _Key, head: Head) -> None:
        if len(self._younger) >= MAX_HEADS:
            self._elder, self._younger = self._younger, {}
        self._younger[key] = head


def _key_of(data: bytes) -> tuple[_Key, int] | None:
    """Return what a head is known by, and where the body begins.

    None where data is not exactly one request.  Whether it is one at all is not looked at: only
    heads that were read are known.
    """
    end = data.find(_END, 0, _MAX_BYTES)
    if end < 0:
        return None
    body = end + len(_END)
    found = _LENGTH.search(data, 0, end + 2)
    if found is None or len(data) - body != int(found[1]):
        return None
    start, stop = found.span(1)
    return (data[:start], data[stop:body]), body
