"""What the events of a batch share, given to each of them."""

from collections.abc import Iterable

import msgspec

from gateway.errors import RequestError
from gateway.events.depth import check_depth
from gateway.events.event import NOTHING, Event
from gateway.events.received import Received

__all__ = ["MAX_SHARED_BYTES", "add_to_contexts", "integrations_of", "merge_objects", "share"]

MAX_SHARED_BYTES = 32 * 1024 * 1024
"""What a batch's context and integrations may grow to when every event of it gets a copy."""

_NOES = frozenset({"false", "no", "n", "off", "0", "disabled"})
"""Texts that can only be meant as a no."""

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_any = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


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
