"""One event: typed where the gateway steers by it, raw where it only carries."""

from collections.abc import Callable, Iterator

import msgspec

from fastmap.texts import plain_number
from gateway.events.depth import check_depth

__all__ = [
    "MEMBERS",
    "NOTHING",
    "TYPES",
    "Event",
    "decode_event",
    "decode_shallow_event",
    "encode",
    "event_of",
    "id_text",
    "is_event",
    "kind_of",
    "plain_text",
    "says_something",
]

TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias", "merge"})
"""The types of events; the last is RudderStack's."""

_NUMERIC = [bytes([byte]) for byte in b"-0123456789"]

NOTHING = msgspec.Raw(b"")
"""A raw member that is absent; only this very object is left out when an event is encoded."""


class Event(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """One event of the Segment specification.

    Raw members hold JSON text, empty when absent.  In an event that did not fit the types, a
    member with another type holds its raw text instead; ``plain_text`` reads either.
    """

    type: str | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    channel: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    group_id: str | None = None
    previous_id: str | None = None
    message_id: str | None = None
    timestamp: str | int | float | None = None
    original_timestamp: str | int | float | None = None
    sent_at: str | int | float | None = None
    write_key: str | None = None
    group_key: str | None = msgspec.field(name="group_key", default=None)
    context: msgspec.Raw = NOTHING
    properties: msgspec.Raw = NOTHING
    traits: msgspec.Raw = NOTHING
    integrations: msgspec.Raw = NOTHING
    # The client's address; set by the gateway, whatever the client sent under this name.
    client_ip: str | None = msgspec.field(name="(client address)", default=None)
    # What to add to the client's times, in milliseconds; set by the gateway as well.
    skew_ms: int = msgspec.field(name="(clock skew)", default=0)
    # Whose SDK it comes from, where that decides what members mean; set by the gateway as well.
    family: str | None = msgspec.field(name="(family)", default=None)

    def __repr__(self) -> str:
        return f"<event {self.message_id!r}>"  # the rest holds a key and personal data


_decode = msgspec.json.Decoder(Event).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


def decode_event(text: bytes) -> Event:
    """Return the event that one JSON object is, odd members included.

    :raises msgspec.DecodeError: it is no JSON object.
    :raises RecursionError: it is nested too deep.
    """
    check_depth(text)
    return decode_shallow_event(text)


def decode_shallow_event(text: bytes | msgspec.Raw) -> Event:
    """Return the event that one JSON object is, which is known not to be nested too deep."""
    try:
        return _decode(text)
    except msgspec.ValidationError:
        return event_of(_decode_members(text))


def encode(event: Event) -> bytes:
    """Return an event as JSON, without its write key and what the gateway noted on it."""
    event.write_key = None
    event.client_ip = None
    event.skew_ms = 0
    event.family = None
    return _encode(event)


def plain_text(value: object) -> str | None:
    """Return the text of a member that may be raw: a string, or a number's or boolean's digits."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, msgspec.Raw):
        try:
            value = _decode_any(bytes(value))
        except (msgspec.DecodeError, RecursionError):
            return None
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str) or value is None:
            return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def id_text(value: object) -> str | None:
    """Return the text of an id, as mappings read it: 55520.0 is 55520; true and false are none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, msgspec.Raw):
        try:
            given = _decode_list(value) if bytes(value)[:1] == b"[" else [value]
        except (msgspec.DecodeError, RecursionError):
            return None
        if len(given) == 1 and bytes(given[0])[:1] in _NUMERIC:
            return plain_number(bytes(given[0]).decode())
    return None if isinstance(value, bool) else plain_text(value)


def is_event(event: Event) -> bool:
    """Return whether it has a type and belongs to somebody, as nothing else does."""
    is_somebodys = event.message_id or event.user_id or event.anonymous_id
    return bool(is_somebodys) and kind_of(event) in TYPES


def kind_of(event: Event) -> str | None:
    """Return the type of an event as it is written here; SDKs of one's own write "Track"."""
    text = plain_text(event.type)
    return None if text is None else text.strip().lower()


def says_something(event: Event) -> bool:
    """Return whether an event has members that a batch has not."""
    return any(getattr(event, name) not in (None, NOTHING) for name in _EVENTS_OWN)


def event_of(members: dict[str, msgspec.Raw]) -> Event:
    """Return the event with these members; those of other types stay raw.

    :raises RecursionError: one is nested too deep.
    """
    event = Event()
    for encoded_name, name, kind in MEMBERS:
        raw = members.get(encoded_name)
        if raw is None:
            continue
        if kind is msgspec.Raw:
            check_depth(raw)
        try:
            setattr(event, name, _DECODERS[kind](raw))
        except msgspec.ValidationError:
            setattr(event, name, raw)
    return event


def _members() -> Iterator[tuple[str, str, type]]:
    for field in msgspec.structs.fields(Event):
        yield field.encode_name, field.name, field.type


MEMBERS = tuple(_members())
"""Names in JSON, names here and types of the members of an event."""

_DECODERS: dict[type, Callable[[msgspec.Raw], object]] = {
    kind: msgspec.json.Decoder(kind).decode for _, _, kind in MEMBERS
}

_SHARED = {"type", "context", "integrations", "sent_at", "write_key", "client_ip", "skew_ms"}
_EVENTS_OWN = tuple(name for _, name, _ in MEMBERS if name not in _SHARED)
