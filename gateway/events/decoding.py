"""Events as SDKs send them: typed where the gateway steers by them, raw where it only carries.

``decode`` turns a body into events.  The whole body decodes in one call; only when some event does
not fit the types is each decoded by itself, member by member, so that one odd event costs no other.
Nor does one that is damaged: see ``gateway.events.recovery``.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from fastmap import MalformedInput, fold, has_list_beside, parts, without_lone_surrogates
from fastmap.texts import plain_number
from gateway.errors import RequestError
from gateway.events.depth import check_depth, read_json
from gateway.events.encodings import as_utf8, is_blank
from gateway.events.recovery import (
    EVENTS,
    LISTS,
    MAX_EVENTS,
    TYPES,
    Saved,
    check_count,
    save,
    text_of,
)

__all__ = [
    "MAX_EVENTS",
    "MAX_SHARED_BYTES",
    "MEMBERS",
    "NOTHING",
    "Event",
    "Received",
    "add_to_contexts",
    "decode",
    "decode_event",
    "encode",
    "fault_of",
    "id_text",
    "integrations_of",
    "kind_of",
    "merge_objects",
    "plain_text",
    "share",
    "with_one_batch",
]

MAX_SHARED_BYTES = 32 * 1024 * 1024
"""What a batch's context and integrations may grow to when every event of it gets a copy."""

_NOES = frozenset({"false", "no", "n", "off", "0", "disabled"})
"""Texts that can only be meant as a no."""

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


class _Payload(Event):
    """A body: one event, or a batch and what its events share."""

    batch: list[Event] | None = None


class _LoosePayload(msgspec.Struct, rename="camel"):
    """The same, with nothing said about the events."""

    batch: msgspec.Raw = NOTHING


@dataclass(slots=True)
class Received:
    """What a body holds.

    :param shared: the event itself, or the members that belong to the batch (context, sentAt,
        integrations, writeKey); everything else of it is no event's.
    :param misfits: elements of the batch that are no events, as they came; ``fault_of`` tells why.
    :param body: what all this was decoded from; "" where that does not say it.
    :param is_damaged: whether the body is no JSON, and something of it may be missing.
    :param nulls: how many numbers that are none, as NaN, became null.
    :param odd_contexts: how many contexts that are no objects have given way to others.
    """

    events: list[Event]
    shared: Event
    is_batch: bool
    misfits: list[bytes]
    body: bytes = b""
    is_damaged: bool = False
    nulls: int = 0
    odd_contexts: int = 0

    @property
    def is_nothing(self) -> bool:
        """Whether the body is no batch and nothing that could be an event, whatever its route."""
        event = self.shared
        return not self.is_batch and event.type is None and not _says_something(event)


_decode_event = msgspec.json.Decoder(Event).decode
_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_loose_payload = msgspec.json.Decoder(_LoosePayload).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_any = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, reshape: Callable[[bytes], bytes] | None = None) -> Received:
    """Return the events of a body: one object, an object with ``batch``, or a list of objects.

    Text that is not UTF-8, and halves of surrogate pairs, are replaced by U+FFFD, since nothing
    behind the gateway could read them.  Of a body that is no JSON, what is whole is returned; what
    is not is among the misfits.

    :param reshape: makes such a shape of another one; it may raise ``msgspec.DecodeError``.
    :raises RequestError: (400) there is no event in it, or it is not of such a shape.
    """
    body = as_utf8(body)
    try:
        return _decode_tolerantly(body, reshape)
    except (msgspec.DecodeError, MalformedInput) as error:
        fault = "is empty; send JSON" if is_blank(body) else f"is not valid JSON: {error}"
        raise RequestError(400, "invalid_json", f"the body {fault}") from None
    except RecursionError:
        raise RequestError(400, "nested_too_deep", "the JSON is nested too deeply") from None


def _decode_tolerantly(body: bytes, reshape: Callable[[bytes], bytes] | None) -> Received:
    try:
        return _decode_sound(body, reshape)
    except (msgspec.DecodeError, MalformedInput):
        # JavaScript writes half a surrogate pair where a string was cut inside an emoji.
        mended = without_lone_surrogates(body)
        if mended is not body:
            return _decode_tolerantly(mended, reshape)
        saved = save(body, EVENTS)
        if saved is not None:
            received = _decode_saved(saved, reshape)
            if saved.is_withheld or (received.events and not received.is_nothing):
                return received
        with suppress(RecursionError):
            read_json(body)  # says where the fault is in the body itself
        raise


def _decode_sound(body: bytes, reshape: Callable[[bytes], bytes] | None) -> Received:
    text = body
    try:
        if reshape is not None:
            check_depth(body)
            text = reshape(body)
        return _decode(text)
    except RecursionError:
        return _decode_around_depth(without_lone_surrogates(text))


def _decode_saved(saved: Saved, reshape: Callable[[bytes], bytes] | None) -> Received:
    """Decode what is whole of a damaged body."""
    found: list[Received] = []
    lost: list[bytes] = []
    for group in saved.groups:
        lost += [text for text, is_whole in group.items if not is_whole]
        if group.members or any(is_whole for _, is_whole in group.items):
            found.append(_decode_sound(text_of(group, as_list=reshape is not None), reshape))
    received = found[0] if len(found) == 1 else _together(found)
    received.is_batch = received.is_batch or bool(lost)
    received.misfits += lost
    received.nulls = saved.nulls
    received.is_damaged = True
    return received


def _together(several: list[Received]) -> Received:
    """Return what came one after another as one: what some events share, others do not."""
    together = Received([], Event(), is_batch=True, misfits=[])
    shared = together.shared
    for received in several:
        if received.is_batch:
            share(received)
            for event in received.events:
                if event.sent_at is None:
                    event.sent_at = received.shared.sent_at
        shared.write_key = shared.write_key or received.shared.write_key
        together.events += received.events
        together.misfits += received.misfits
        together.odd_contexts += received.odd_contexts
    return together


def share(received: Received) -> None:
    """Give the context and integrations of a batch to each of its events.

    :raises RequestError: (400) they are too large for their number.
    """
    context = bytes(received.shared.context)
    integrations = bytes(received.shared.integrations)
    if (len(context) + len(integrations)) * len(received.events) > MAX_SHARED_BYTES:
        raise RequestError(
            400,
            "batch_context_too_large",
            "the context of the batch is too large to be given to each of its events; "
            "send smaller batches",
        )
    if context:
        received.odd_contexts += _is_odd(context)
        add_to_contexts(received, received.events, context)
    if integrations:
        shared = integrations_of(integrations)
        alone = msgspec.Raw(shared or integrations)
        for event in received.events:
            own = event.integrations
            said = integrations_of(own) if own and shared else b""
            if said:
                event.integrations = merge_objects(shared, msgspec.Raw(said))
            elif shared or not own:
                event.integrations = alone


def integrations_of(text: bytes | msgspec.Raw) -> bytes:
    """Return an ``integrations`` as the object that it means, b"" where nobody can tell.

    Some write the object as text, or one no for all.  What is nested too deep may say no.

    :param text: its JSON.
    """
    if bytes(text)[:1] == b"{":
        return bytes(text)
    try:
        given = _decode_any(text)
        held = given.strip() if isinstance(given, str) else ""
        if held[:1] == "{":
            check_depth(held.encode())
            return bytes(_decode_raw(held))
        is_no = given is False or (given == 0 and isinstance(given, int | float))
        is_no = is_no or held.casefold() in _NOES
    except RecursionError:
        is_no = True
    except msgspec.DecodeError:
        is_no = b"false" in bytes(text).lower()  # as other languages write it, or cut off
    return b'{"All":false}' if is_no else b""


def add_to_contexts(received: Received, events: Iterable[Event], context: bytes) -> None:
    """Give the members of a context to events of a request that have none of these names."""
    last, merged = None, NOTHING
    for event in events:
        own = event.context
        if own is not last:  # many have the very same one
            last, merged = own, merge_objects(context, own)
        event.context = merged
        if merged is not own:  # else it is still there to be counted
            received.odd_contexts += _is_odd(bytes(own))


def _is_odd(context: bytes) -> bool:
    """Whether a context holds something, and is no object."""
    return context[:1] not in (b"", b"{", b"n") and context not in (b"[]", b'""')


def fault_of(misfit: bytes) -> str:
    """Return why an element of a batch is no event, as a word."""
    try:
        read_json(misfit)
    except RecursionError:
        return "nested_too_deep"
    except msgspec.DecodeError:
        return "malformed"
    return "malformed" if misfit[:1] == b"{" else "not_an_object"


def decode_event(text: bytes) -> Event:
    """Return the event that one JSON object is, odd members included.

    :raises msgspec.DecodeError: it is no JSON object.
    :raises RecursionError: it is nested too deep.
    """
    check_depth(text)
    return _decode_shallow(text)


def _decode_shallow(text: bytes | msgspec.Raw) -> Event:
    """Return the event that one JSON object is, which is known not to be nested too deep."""
    try:
        return _decode_event(text)
    except msgspec.ValidationError:
        return _event_of(_decode_members(text))


def encode(event: Event) -> bytes:
    """Return an event as JSON, without its write key and what the gateway noted on it."""
    event.write_key = None
    event.client_ip = None
    event.skew_ms = 0
    event.family = None
    return _encode(event)


def merge_objects(base: bytes, over: msgspec.Raw) -> msgspec.Raw:
    """Return the members of two JSON objects as one; those of ``over`` win.

    What is no object counts as an empty one, unless both are: then ``over`` stays as it is.
    """
    merged: dict[str, msgspec.Raw] = {}
    for part in (base, bytes(over)):
        try:
            merged |= _decode_members(part or b"{}")
        except msgspec.ValidationError:
            continue
    return msgspec.Raw(_encode(merged)) if merged else over


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


def _decode(body: bytes) -> Received:
    try:
        if body.lstrip()[:1] == b"[":
            return _decode_loosely(body, is_list=True)
        payload, text = _payload_of(body)
    except msgspec.ValidationError:
        return _decode_loosely(body, is_list=False)
    batch = payload.batch
    if batch is None:
        received = Received([payload], payload, is_batch=False, misfits=[], body=body)
        if payload.type is not None or not received.is_nothing:
            return received
    else:
        check_count(len(batch))
        received = Received(batch, payload, is_batch=True, misfits=[], body=body)
        if batch and payload.type is None and not _has_more(text, batch):
            return received
    whole = with_one_batch(body)
    return received if whole is body else _decode(whole)


def _has_more(text: bytes, batch: list[Event]) -> bool:
    """Return whether a body may hold more events than those of the batch that was decoded."""
    first, last = batch[0], batch[-1]
    return has_list_beside(
        text,
        b"batch",
        (first.context, first.properties, first.traits),
        (last.context, last.properties, last.traits),
    )


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
    around = _event_of(others)
    is_event = _is_event(around) and any(getattr(around, name) for name in _HAPPENED)
    if not lists or (found == ["batch"] and not is_event):
        return body
    lists |= strays
    if is_event:
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
        return _is_event(decode_event(parts(text)[0]))
    except (msgspec.ValidationError, RecursionError):
        return False


def _is_event(event: Event) -> bool:
    is_somebodys = event.message_id or event.user_id or event.anonymous_id
    return bool(is_somebodys) and kind_of(event) in TYPES


def kind_of(event: Event) -> str | None:
    """Return the type of an event as it is written here; SDKs of one's own write "Track"."""
    text = plain_text(event.type)
    return None if text is None else text.strip().lower()


def _says_something(event: Event) -> bool:
    """Return whether an event has members that a batch has not."""
    return any(getattr(event, name) not in (None, NOTHING) for name in _EVENTS_OWN)


def _payload_of(body: bytes) -> tuple[_Payload, bytes]:
    """Decode a body, its repeated contexts once: they are half of what SDKs send.

    Whatever is odd about the folded body, the body itself says what it is; only what is no JSON
    stays none.

    :returns: what it is, and the text in which its values lie.
    """
    folded = fold(body, b"context")
    if folded is not None:
        check_depth(folded.text)  # what it leaves out lies as deep in an event as what is like it
        payload = _decode_payload(folded.text)
        if folded.unfold(payload.batch or (), "context", payload.context):
            return payload, folded.text
    check_depth(body)
    return _decode_payload(body), body


def _decode_loosely(body: bytes, *, is_list: bool) -> Received:
    """Decode event by event.  Raises DecodeError for what is not JSON at all."""
    check_depth(body)
    if is_list:
        shared, items = Event(), _decode_list(body)
    else:
        try:
            batch = _decode_loose_payload(body).batch
            shared = _event_of(_decode_members(body))
        except msgspec.ValidationError:
            _decode_raw(body)  # it begins with something else, but may be no JSON at all
            raise RequestError(
                400, "invalid_body", "the body must be a JSON object or a list of objects"
            ) from None
        received = Received([shared], shared, is_batch=False, misfits=[], body=body)
        is_absent = bytes(batch) in (b"", b"null")
        if is_absent and not received.is_nothing:
            return received
        whole = with_one_batch(body)
        if whole is not body:
            return _decode(whole)
        if is_absent:
            return received
        try:
            items = _decode_list(batch)
        except msgspec.ValidationError:
            raise RequestError(400, "invalid_batch", "batch must be a list of events") from None
    check_count(len(items))
    received = Received([], shared, is_batch=True, misfits=[], body=body)
    for item in items:
        try:
            received.events.append(_decode_shallow(item))
        except msgspec.ValidationError:
            received.misfits.append(bytes(item))
    return received


def _decode_around_depth(body: bytes) -> Received:
    """Decode a batch with events that are nested too deep, which cost no others.

    :raises RecursionError: it is something else that is nested too deep.
    """
    if body.lstrip()[:1] == b"{":
        body = with_one_batch(body)
    shared, items = Event(), parts(body)
    if body.lstrip()[:1] == b"{":
        names = [_decode_any(name, type=str) for name in items[::2]]
        members = dict(zip(names, map(msgspec.Raw, items[1::2]), strict=True))
        batch = bytes(members.get("batch", b""))
        if batch[:1] != b"[":
            raise RecursionError
        members["batch"] = msgspec.Raw(b"[]")
        shared, items = _event_of(members), parts(batch)
    check_count(len(items))
    received = Received([], shared, is_batch=True, misfits=[])
    texts = []
    for item in items:
        try:
            received.events.append(decode_event(item))
            texts.append(item)
        except (msgspec.ValidationError, RecursionError):
            received.misfits.append(item)
    received.body = b"[%b]" % b",".join(texts)
    return received


def _event_of(members: dict[str, msgspec.Raw]) -> Event:
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
_HAPPENED = ("event", "name", "properties", "traits", "group_id", "previous_id")
_EVENTS_OWN = tuple(name for _, name, _ in MEMBERS if name not in _SHARED)
