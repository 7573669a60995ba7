"""The heads of requests, by which a connection knows again what it has understood before.

An SDK sends the same head over and over, but for the length of the body.  What one says once it has
been parsed and found to be right, and what follows from it, is remembered on its connection: the
same bytes mean the same again.
"""

import re
from typing import NamedTuple, TypeAlias

from gateway.ingest.intake import Intake, Told

__all__ = ["MAX_HEADS", "Head", "Known", "Split", "split"]

MAX_HEADS = 8
"""How many a connection remembers; SDKs have one path for each type of event at most."""

_MAX_HEAD_BYTES = 2048

_LENGTH = re.compile(rb"\r\ncontent-length: ?([1-9]\d{0,8})(?=\r\n)", re.IGNORECASE)
_END = b"\r\n\r\n"

Head: TypeAlias = tuple[bytes, bytes]
"""What comes before and after the digits of the length, without the empty line."""


class Split(NamedTuple):
    """A request of which nothing is missing."""

    head: Head
    body: bytes


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


def split(data: bytes) -> Split | None:
    """Return the parts of what has come; None where that is not exactly one request.

    Whether it is a request at all is not looked at: only heads that have been parsed are known.
    """
    end = data.find(_END, 0, _MAX_HEAD_BYTES)
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    body = end + len(_END)
    if found is None or len(data) - body != int(found[1]):
        return None
    begin, stop = found.span(1)
    return Split((data[:begin], data[stop:end]), data[body:])
