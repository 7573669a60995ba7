"""The encodings that text comes in."""

import codecs

from fastmap import is_utf8

__all__ = ["as_utf8", "is_blank"]

_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""The longer ones begin like the shorter ones."""

_LOOKED_AT = 16  # bytes, which in JSON are ASCII


def as_utf8(body: bytes) -> bytes:
    """Return text with U+FFFD for what is not UTF-8, and without a byte order mark.

    JSON in UTF-16 and UTF-32 is recognised, with and without a mark: RFC 4627 allowed it.
    """
    if body[:2] != b'{"':  # nothing else begins so, and nearly everything does
        body = body.removeprefix(codecs.BOM_UTF8)
        encoding = _wide_encoding(body) if b"\0" in body[:6] else ""
        if encoding:
            body = body.decode(encoding, "replace").removeprefix("\ufeff").encode()
    return body if is_utf8(body) else body.decode(errors="replace").encode()


def is_blank(text: bytes) -> bool:
    """Return whether there is nothing in a text but white space and zeros."""
    return not text.removeprefix(codecs.BOM_UTF8).strip(b"\0 \t\r\n")


def _wide_encoding(body: bytes) -> str:
    """Return the encoding of JSON that is neither ASCII nor UTF-8, "" for none."""
    head = body[:_LOOKED_AT]
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    head = body[len(mark) : len(mark) + _LOOKED_AT]
    for width, place, encoding in (
        (4, 0, "utf-32-le"),
        (4, 3, "utf-32-be"),
        (2, 0, "utf-16-le"),
        (2, 1, "utf-16-be"),
    ):
        characters = head[place::width]
        if characters[:1] in (b"{", b"[") and head.count(0) == len(head) - len(characters):
            return encoding if characters.count(0) == 0 else ""
    return ""
