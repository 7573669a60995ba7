"""Events as they came, for those that nothing could be made of.

An event in memory holds what the gateway reads of it.  One that is kept for a person to look at,
and to be mapped again, has to hold everything else, too: its text is taken from the body again.
"""

import re
from functools import lru_cache

import msgspec

from gateway.events.event import MEMBERS, Event, decode_event, encode
from gateway.events.received import Received

__all__ = ["Originals", "without_key"]

MIN_UNMISTAKABLE = 16
"""A key of this length is no part of a word by accident: it is removed wherever it stands."""

_NOTED = frozenset({"write_key", "client_ip", "skew_ms", "family"})
"""Members that are not the event's own."""

_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_ESCAPED_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)+"')


class Originals:
    """The texts of a request's events; nothing is done before one is asked for.

    :param write_key: the key of their source, which no text may hold.
    """

    __slots__ = ("_received", "_texts", "_write_key")

    def __init__(self, received: Received, write_key: str) -> None:
        self._received = received
        self._write_key = write_key
        self._texts: dict[int, bytes] | None = None

    def __call__(self, event: Event) -> bytes:
        """Return an event of the request as JSON; ``decode_event`` gives an equal one.

        It is as it came, with the members that the gateway gave it, and without the write key.
        """
        return without_key(self._whole(event), self._write_key)

    def _whole(self, event: Event) -> bytes:
        try:
            if self._texts is None:
                texts = _texts(self._received)
                self._texts = {id(e): t for e, t in zip(self._received.events, texts, strict=False)}
            text = self._texts.get(id(event))
            return encode(event) if text is None else _completed(text, event)
        except RecursionError:  # it was nested just not too deep, when the stack was shorter
            return encode(event)


def without_key(text: bytes, key: str) -> bytes:
    """Return JSON text in which ``***`` stands for a write key, also where that was escaped.

    A short key, as in "dev", goes only where it is a word: it may be a part of others by chance.
    """
    pattern = _pattern(key)
    if b"\\" in text and _encode(key)[1:-1] in _with_plain_escapes(text, key):
        text = _ESCAPED_STRING.sub(lambda found: _string_without(found[0], pattern), text)
    if key.encode() not in text:
        return text
    return pattern.sub("***", text.decode()).encode()


def _with_plain_escapes(text: bytes, key: str) -> bytes:
    """Return JSON text with no other escapes than ``_encode`` makes.

    Ten times as fast as a search string by string, which is left for texts that hold the key.
    """
    try:
        return _encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return _encode(key)  # a number or a depth that is only carried: it may be there


def _string_without(token: bytes, pattern: re.Pattern[str]) -> bytes:
    try:
        value = _string(token)
    except msgspec.DecodeError:
        return token  # of what is no JSON
    return _encode(pattern.sub("***", value)) if pattern.search(value) else token


@lru_cache(maxsize=64)
def _pattern(key: str) -> re.Pattern[str]:
    escaped = re.escape(key)
    if len(key) >= MIN_UNMISTAKABLE:
        return re.compile(escaped)
    return re.compile(rf"(?<![A-Za-z0-9_-]){escaped}(?![A-Za-z0-9_-])")


def _texts(received: Received) -> list[bytes]:
    """Return the texts of the events, in order; none where the body is not theirs alone."""
    if not received.body:
        return []
    if not received.is_batch:
        return [received.body]
    body = received.body.lstrip()
    batch = body if body[:1] == b"[" else bytes(_split(body or b"{}").get("batch", b"[]"))
    texts = [bytes(element) for element in _elements(batch)]
    objects = [text for text in texts if text.lstrip()[:1] == b"{"]
    return objects if len(objects) == len(received.events) else []


def _completed(text: bytes, event: Event) -> bytes:
    """Return the text with the members that are not in it as the gateway reads them now."""
    members = _split(text)
    before = decode_event(text)
    has_changed = members.pop("writeKey", None) is not None
    for encoded_name, name, _ in MEMBERS:
        value, came = getattr(event, name), getattr(before, name)
        if value is came or name in _NOTED or _plain(value) == _plain(came):
            continue
        has_changed = True
        if value is None:
            members.pop(encoded_name, None)
        else:
            members[encoded_name] = msgspec.Raw(_encode(value))
    return _encode(members) if has_changed else text


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, msgspec.Raw) else value
