"""What an answer says that is not Mixpanel's: a page of a proxy, a text, JSON of another shape."""

import html
import re
from collections.abc import Iterable

__all__ = ["cleaned", "quoted", "without"]

_MAX_READ = 16 * 1024
"""Bytes that are looked at: what a page is about stands at its beginning."""

_MAX_QUOTE = 200

_MIN_SECRET = 8
"""Bytes.  Whatever is shorter may be part of the answer's own words."""

_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|svg)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*>?",
    re.IGNORECASE | re.DOTALL,
)  # Each alternative may end with the text, so no tag that is not closed is looked for twice.


def quoted(body: bytes) -> str:
    """Return the title of a page, or how its text or any other begins; "" where it is no text."""
    start = body[:_MAX_READ].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"<"):
        return _short(_text(start))
    return _short(_plain(_title(start))) or _short(_plain(start))


def cleaned(text: str) -> str:
    """Return one line without anything that moves the cursor of a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def without(secrets: Iterable[str], body: bytes) -> bytes:
    """Return an answer in which none of these stands: who answers may repeat what was sent."""
    for secret in secrets:
        if len(hidden := secret.encode()) >= _MIN_SECRET:
            body = body.replace(hidden, b"***")
    return body


def _title(page: bytes) -> bytes:
    lower = page.lower()
    if (tag := lower.find(b"<title")) < 0:
        return b""
    begin = lower.find(b">", tag) + 1
    end = lower.find(b"</title", begin)
    return page[begin:end] if 0 < begin < end else b""


def _plain(page: bytes) -> str:
    return html.unescape(_MARKUP.sub(" ", _text(page)))


def _text(data: bytes) -> str:
    text = data.decode(errors="replace")
    return "" if text.count("\ufffd") * 4 > len(text) else text


def _short(text: str) -> str:
    text = " ".join(cleaned(text).split())
    return text if len(text) <= _MAX_QUOTE else f"{text[: _MAX_QUOTE - 1]}…"
