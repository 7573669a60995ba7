"""What every event gets before it is mapped: type, id, context, time and address.

The rules are those of Segment-compatible ingestion: a batch's context and integrations belong to
each of its events, and times are corrected by the client's clock error, ``receivedAt - sentAt``.
"""

import uuid

import msgspec

from fastmap import parse_time
from gateway.errors import RequestError
from gateway.events import NOTHING, Event, Received, merge_objects, plain_text

__all__ = ["MAX_SHARED_BYTES", "MAX_SKEW_MS", "prepare", "skew_of"]

MAX_SHARED_BYTES = 32 * 1024 * 1024
"""What a batch's context and integrations may grow to when every event of it gets a copy."""

MAX_SKEW_MS = 24 * 60 * 60 * 1000
"""A larger difference comes from a batch that waited on the device, not from its clock."""

_SKEW_STEP_MS = 10_000
"""Corrections are rounded to this, so that an event sent twice keeps its time: Mixpanel drops a
repeated event only when its time is the same, and the network's delay differs each time."""


_READABLE = (str, int, float)


def skew_of(sent_at: object, received_ms: int) -> int | None:
    """Return what to add to a client's times, in milliseconds; 0 when it cannot be told.

    None for a time that is so far from the receipt that it says nothing about the client's clock.
    """
    if not isinstance(sent_at, _READABLE):
        return 0
    sent_ms = parse_time(sent_at)
    if sent_ms is None:
        return 0
    if abs(received_ms - sent_ms) > MAX_SKEW_MS:
        return None
    return round((received_ms - sent_ms) / _SKEW_STEP_MS) * _SKEW_STEP_MS


def prepare(
    received: Received,
    *,
    received_ms: int,
    default_type: str | None,
    client_ip: str | None,
    user_agent: str | None = None,
    is_retry: bool,
) -> int:
    """Complete the events in place; return how many were sent too long ago to be corrected.

    :param received_ms: time of receipt, epoch milliseconds.
    :param default_type: the type of events that have none.
    :param client_ip: the user's address where the request tells it.
    :param user_agent: the user's browser where the request tells it; for events that name none.
    :param is_retry: whether the client may have sent these bytes before; their sentAt may then be
        that of the first time and says nothing about its clock.
    :raises RequestError: (400) what the events of a batch share is too large for their number.
    """
    if received.is_batch:
        _share(received)
    if user_agent is not None:
        _add_browser(received, user_agent)
    batch_skew = 0 if is_retry else skew_of(received.shared.sent_at, received_ms)
    uncorrected = 0
    for event in received.events:
        if event.type is None:
            event.type = default_type
        given = event.message_id
        if (type(given) is not str or not given) and not plain_text(given):
            event.message_id = str(uuid.uuid4())
        if event.type == "identify":
            _bring_out_traits(event)
        event.client_ip = client_ip
        skew = batch_skew
        if event.original_timestamp is not None or event.sent_at is not None:
            skew = _event_skew(event, batch_skew, received_ms, is_retry=is_retry)
        if skew is None:
            uncorrected += 1
            skew = 0
        if event.skew_ms != skew:  # nearly never, and asking costs less than setting
            event.skew_ms = skew
    return uncorrected


def _share(received: Received) -> None:
    """Give the context and integrations of a batch to each of its events."""
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
        for event in received.events:
            event.context = merge_objects(context, event.context)
    if integrations:
        for event in received.events:
            event.integrations = merge_objects(integrations, event.integrations)


def _add_browser(received: Received, user_agent: str) -> None:
    """Name the browser in the context of events that name none."""
    browser = msgspec.json.encode({"userAgent": user_agent})
    for event in received.events:
        if b'"userAgent"' not in bytes(event.context):
            event.context = merge_objects(browser, event.context)


class _Context(msgspec.Struct):
    traits: msgspec.Raw = NOTHING


_decode_context = msgspec.json.Decoder(_Context).decode


def _bring_out_traits(event: Event) -> None:
    """Find the traits where RudderStack's SDKs put them: in the context."""
    if event.traits or not event.context:
        return
    try:
        event.traits = _decode_context(event.context).traits
    except msgspec.DecodeError:
        pass  # they are not there


def _event_skew(
    event: Event, batch_skew: int | None, received_ms: int, *, is_retry: bool
) -> int | None:
    if event.original_timestamp is not None:
        # The client corrected the time itself where both are there.
        if _is_time(event.timestamp):
            return 0
        event.timestamp = event.original_timestamp
    if event.sent_at is None or is_retry:
        return batch_skew
    return skew_of(event.sent_at, received_ms)


def _is_time(value: object) -> bool:
    text = plain_text(value)
    return text is not None and parse_time(text) is not None
