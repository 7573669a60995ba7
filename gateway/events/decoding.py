"""From the bytes of a body to its events.

The whole body decodes in one call; only when some event does not fit the types is each decoded by
itself, member by member, so that one odd event costs no other.  Nor does one that is damaged: see
``gateway.events.recovery``.
"""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from fastmap import MalformedInput, fold, has_list_beside, parts, without_lone_surrogates
from gateway.errors import RequestError
from gateway.events.batches import with_one_batch
from gateway.events.depth import check_depth, read_json
from gateway.events.encodings import as_utf8, is_blank
from gateway.events.event import NOTHING, Event, decode_event, decode_shallow_event, event_of
from gateway.events.received import Received
from gateway.events.recovery import EVENTS, Saved, check_count, save, text_of
from gateway.events.sharing import share

__all__ = ["decode"]


class _Payload(Event):
    """A body: one event, or a batch and what its events share."""

    batch: list[Event] | None = None


class _LoosePayload(msgspec.Struct, rename="camel"):
    """The same, with nothing said about the events."""

    batch: msgspec.Raw = NOTHING


_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_loose_payload = msgspec.json.Decoder(_LoosePayload).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_any = msgspec.json.decode


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
        try:
            return _decode_sound(body, reshape)
        except (msgspec.DecodeError, MalformedInput):
            return _decode_damaged(body, reshape)
    except (msgspec.DecodeError, MalformedInput) as error:
        fault = "is empty; send JSON" if is_blank(body) else f"is not valid JSON: {error}"
        raise RequestError(400, "invalid_json", f"the body {fault}") from None
    except RecursionError:
        raise RequestError(400, "nested_too_deep", "the JSON is nested too deeply") from None


def _decode_damaged(body: bytes, reshape: Callable[[bytes], bytes] | None) -> Received:
    """Decode what is no JSON, as far as something in it is.

    :raises msgspec.DecodeError, MalformedInput: nothing is.
    """
    # JavaScript writes half a surrogate pair where a string was cut inside an emoji.
    mended = without_lone_surrogates(body)
    if mended is not body:
        with suppress(msgspec.DecodeError, MalformedInput):
            return _decode_sound(mended, reshape)
    saved = save(mended, EVENTS)
    if saved is not None:
        received = _decode_saved(saved, reshape)
        if saved.is_withheld or (received.events and not received.is_nothing):
            return received
    with suppress(RecursionError):
        read_json(mended)  # says where the fault is in the body itself
    return _decode_sound(mended, reshape)


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
        # What is no object would have each of the others decoded by itself.
        lost += [text for text, is_whole in group.items if not is_whole or text[:1] != b"{"]
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
            shared = event_of(_decode_members(body))
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
            received.events.append(decode_shallow_event(item))
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
        shared, items = event_of(members), parts(batch)
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
