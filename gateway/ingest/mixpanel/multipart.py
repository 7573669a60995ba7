"""Forms as ``multipart/form-data`` (RFC 7578): what ``curl -F`` and pages with files send.

The boundary is that of the first line: ``Content-Type`` need not tell it.
"""

import re
from typing import TypeAlias

__all__ = ["Field", "fields_of", "is_multipart"]

Field: TypeAlias = tuple[str, bytes]
"""A name and its value."""

_MAX_PARTS = 100
_MAX_HEAD = 2048  # bytes, of the headers of a part

_OPENING = re.compile(rb"(?:\r?\n)?(--[^\r\n]{1,200}?)[ \t]*\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(rb'(?im)^content-disposition:[^\r\n]*?;[ \t]*name=(?:"([^"\r\n]*)"|([^\s;"]+))')


def is_multipart(body: bytes) -> bool:
    """Tell whether a body begins as such a form does."""
    return _OPENING.match(body) is not None


def fields_of(body: bytes) -> list[Field]:
    """Return the names and contents of a form; files count as fields.

    What is no part of a form is passed over.

    :param body: of which ``is_multipart`` holds.
    """
    opening = _OPENING.match(body)
    if opening is None:
        return []
    between = re.compile(rb"\r?\n" + re.escape(opening[1]) + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")
    fields: list[Field] = []
    start, left = opening.end(1), _MAX_PARTS
    while left and start < len(body):
        end = between.search(body, start)
        part = body[start : end.start() if end else len(body)]
        start, left = end.end() if end else len(body), left - 1
        head = _END_OF_HEAD.search(part, 0, _MAX_HEAD)
        name = _NAME.search(part, 0, head.end()) if head else None
        if head is not None and name is not None:
            text = (name[1] or name[2] or b"").decode("utf-8", "replace")
            fields.append((text, part[head.end() :]))
    return fields
