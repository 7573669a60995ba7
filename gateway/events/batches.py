"""The one list that all events of an envelope are in, wherever its SDK put them."""

import msgspec

from fastmap import parts
from gateway.events.event import decode_event, event_of, is_event
from gateway.events.recovery import LISTS

__all__ = ["with_one_batch"]

_HAPPENED = ("event", "name", "properties", "traits", "group_id", "previous_id")

_decode_any = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


def with_one_batch(body: bytes) -> bytes:
    """Return an object that holds all its events as its ``batch``; the same one where it does.

    They may be in a list of another name, in several, of one name even, of which JSON's readers see
    one alone, or around the list.  The same list twice is one that was written twice.

    :raises msgspec.DecodeError, MalformedInput: it is no JSON object.
    :raises RecursionError: what lies beside the lists is nested too deep.
    """
    lists: dict[bytes, None] = {}
    others: dict[str, msgspec.Raw] = {}
    strays: dict[bytes, None] = {}
    found: list[str] = []  # their names
    items = iter(parts(body))
    for quoted, text in zip(items, items, strict=True):
        name = _decode_any(quoted, type=str)
        if (name == "batch" and text[:1] == b"[") or _is_list_of_events(name, text):
            lists[text] = None
        elif name != "batch":
            others[name] = msgspec.Raw(text)
            continue
        elif text != b"null":
            strays[b"[%b]" % text] = None
        found.append(name)
    around = event_of(others)
    is_one_too = is_event(around) and any(getattr(around, name) for name in _HAPPENED)
    if not lists or (found == ["batch"] and not is_one_too):
        return body
    lists |= strays
    if is_one_too:
        lists[b"[%b]" % _encode(others)] = None
        del others["type"]
    elements = [text[1:-1] for text in lists if text[1:-1].strip()]
    others["batch"] = msgspec.Raw(b"[%b]" % b",".join(elements))
    return _encode(others)


def _is_list_of_events(name: str, text: bytes) -> bool:
    """Return whether a list can only be one of events, by its name or whatever that is."""
    if text[:1] != b"[" or text[1:].lstrip()[:1] != b"{":
        return False
    if name.lower() in LISTS:
        return True
    try:
        return is_event(decode_event(parts(text)[0]))
    except (msgspec.ValidationError, RecursionError):
        return False
