"""What every event gets before it is mapped: type, id, context, time and address.

The rules are those of Segment-compatible ingestion: a batch's context and integrations belong to
each of its events, and times are corrected by the error of the client's clock.
"""

import uuid

import msgspec

from fastmap import parse_time
from gateway.events import (
    NOTHING,
    TYPES,
    Event,
    Received,
    add_to_contexts,
    kind_of,
    plain_text,
    share,
)
from gateway.mapping.clocks import Clocks, Corrections, is_possible, sent_far_off

__all__ = ["prepare"]


def prepare(
    received: Received,
    *,
    received_ms: int,
    default_type: str | None,
    client_ip: str | None,
    user_agent: str | None = None,
    is_retry: bool,
    sender: str = "",
    clocks: Clocks | None = None,
) -> int:
    """Complete the events in place; return how many were sent too long ago to be corrected.

    :param received_ms: time of receipt, epoch milliseconds.
    :param default_type: the type of events that have none.
    :param client_ip: the user's address where the request tells it.
    :param user_agent: the user's browser where the request tells it; for events that name none.
    :param is_retry: whether the request says that it was sent before.
    :param sender: what sends it, by its headers; "" where they do not tell.
    :param clocks: those of the clients of its source; none are known where it is missing.
    :raises RequestError: (400) what the events of a batch share is too large for their number.
    """
    if received.is_batch:
        share(received)
    if user_agent is not None:
        _add_browser(received, user_agent)
    for event in received.events:
        kind = event.type
        if kind != "track" and not (event.name and kind in _NAMED):
            _find_what_it_is(event, default_type)
        given = event.message_id
        if (type(given) is not str or not given) and not plain_text(given):
            event.message_id = str(uuid.uuid4())
        event.client_ip = client_ip
    return _correct_times(
        received, received_ms, clocks or Clocks(), sender=sender, is_retry=is_retry
    )


_NAMED = ("page", "screen")
"""Types of which nothing has to be found where the event has a name."""


def _find_what_it_is(event: Event, default_type: str | None) -> None:
    """Complete what is no ordinary track event, as most are."""
    kind = event.type
    if type(kind) is not str or kind not in TYPES:
        event.type = _known_type(event, default_type)
    if event.type != "track":
        _bring_out(event)


def _known_type(event: Event, default: str | None) -> str | None:
    """Return the type that an event means; its own where it means none."""
    if event.type is None:
        return default
    kind = kind_of(event)
    return kind if kind in TYPES else event.type


def _add_browser(received: Received, user_agent: str) -> None:
    """Name the browser in the context of events that name none."""
    browser = msgspec.json.encode({"userAgent": user_agent})
    nameless = (e for e in received.events if b'"userAgent"' not in bytes(e.context))
    add_to_contexts(received, nameless, browser)


class _Context(msgspec.Struct):
    traits: msgspec.Raw = NOTHING


class _Properties(msgspec.Struct):
    name: str | None = None


_decode_context = msgspec.json.Decoder(_Context).decode
_decode_properties = msgspec.json.Decoder(_Properties).decode


def _bring_out(event: Event) -> None:
    """Find what the SDKs of other families than Segment's put elsewhere."""
    if event.type == "identify":
        event.family = "rudder" if _is_rudders(event) else None
        _bring_out_traits(event)
    elif event.type in ("page", "screen") and not event.name:
        _bring_out_name(event)


def _is_rudders(event: Event) -> bool:
    """Whether an event has a member that only RudderStack's SDKs send."""
    return event.channel is not None or event.original_timestamp is not None


def _bring_out_traits(event: Event) -> None:
    """Find the traits in the context, where RudderStack's SDKs put them."""
    traits = bytes(event.traits)
    if (traits[:1] == b"{" and traits.strip(b"{} \t\r\n")) or not event.context:
        return
    try:
        found = _decode_context(event.context).traits
    except msgspec.DecodeError:
        return  # they are not there
    if bytes(found)[:1] == b"{":
        event.traits, event.family = found, "rudder"
    elif not event.traits:
        event.traits = found


def _bring_out_name(event: Event) -> None:
    """Find the name of a screen in ``event``, where RudderStack's mobile SDKs put it.

    They repeat it in the properties, as that of a page; Segment's mean something else by that.
    """
    if event.type == "screen" and event.event:
        event.name = event.event
    elif _is_rudders(event) and event.properties:
        try:
            event.name = _decode_properties(event.properties).name
        except msgspec.DecodeError:
            pass  # it is no text


def _correct_times(
    received: Received, received_ms: int, clocks: Clocks, *, sender: str, is_retry: bool
) -> int:
    """Find the errors of the clients' clocks; return for how many events they are not known."""
    sent_at = received.shared.sent_at
    batch_sent_ms = None if sent_at is None else sent_far_off(sent_at, received_ms)
    uncorrected = 0
    corrections: Corrections | None = None
    # Most events of a request have one context, and are corrected by the same.
    last_context: msgspec.Raw | None = None
    last_ms = 0
    last_skew: int | None = None
    known: dict[str, int | None] = {}  # many events say that they were sent at the same time
    for event in received.events:
        sent_ms = batch_sent_ms
        if event.original_timestamp is not None or event.sent_at is not None:
            sent_ms = _event_sent_ms(event, batch_sent_ms, received_ms, known)
        skew: int | None = 0
        if sent_ms is not None:
            if event.context is last_context and sent_ms == last_ms:
                skew = last_skew
            else:
                if corrections is None:
                    corrections = clocks.of_request(received_ms, sender=sender, is_retry=is_retry)
                last_skew, is_common = corrections.of(event, sent_ms)
                last_context = event.context if is_common else None
                skew, last_ms = last_skew, sent_ms
        if skew is None:
            uncorrected += 1
            skew = 0
        if event.skew_ms != skew:  # nearly never, and asking costs less than setting
            event.skew_ms = skew
    return uncorrected


def _event_sent_ms(
    event: Event, batch_sent_ms: int | None, received_ms: int, known: dict[str, int | None]
) -> int | None:
    """Return when an event was sent, as ``sent_far_off``; None where its time is right already.

    :param known: that of each ``sentAt`` that was a text.
    """
    if event.original_timestamp is not None:
        # The client corrected the time itself where both are there.
        if _is_better(event.timestamp, event.original_timestamp):
            return None
        event.timestamp = event.original_timestamp
    sent_at = event.sent_at
    if sent_at is None:
        return batch_sent_ms
    if not isinstance(sent_at, str):
        return sent_far_off(sent_at, received_ms)
    if sent_at not in known:
        known[sent_at] = sent_far_off(sent_at, received_ms)
    return known[sent_at]


def _is_better(time: object, original: object) -> bool:
    time_ms = _time_ms(time)
    return time_ms is not None and (is_possible(time_ms) or not is_possible(_time_ms(original)))


def _time_ms(value: object) -> int | None:
    text = plain_text(value)
    return None if text is None else parse_time(text)
