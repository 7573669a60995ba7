"""Events as SDKs send them, from bytes to values.

``decoding`` reads the bodies of all families but Mixpanel's own, which ``mixpanel`` reads;
``recovery`` saves what is whole in a damaged one, ``encodings`` makes UTF-8 of any text, ``depth``
bounds how deep any JSON is nested, and ``originals`` keeps an event as it was sent.
"""

from gateway.events.decoding import (
    MAX_EVENTS,
    MAX_SHARED_BYTES,
    MEMBERS,
    NOTHING,
    Event,
    Received,
    add_to_contexts,
    decode,
    decode_event,
    encode,
    fault_of,
    id_text,
    integrations_of,
    kind_of,
    merge_objects,
    plain_text,
    share,
    with_one_batch,
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
