"""Events as SDKs send them, from bytes to values.

``decoding`` reads the bodies of all families but Mixpanel's own, which ``mixpanel`` reads;
``batches`` finds the one list of events in an envelope, ``sharing`` gives each event what is said
of all, ``recovery`` saves what is whole in a damaged body, ``encodings`` makes UTF-8 of any text,
``depth`` bounds how deep any JSON is nested, and ``originals`` keeps an event as it was sent.
"""

from gateway.events.batches import with_one_batch
from gateway.events.decoding import decode
from gateway.events.event import (
    MEMBERS,
    NOTHING,
    TYPES,
    Event,
    decode_event,
    encode,
    id_text,
    kind_of,
    plain_text,
)
from gateway.events.received import Received, fault_of
from gateway.events.recovery import MAX_EVENTS
from gateway.events.sharing import (
    MAX_SHARED_BYTES,
    add_to_contexts,
    integrations_of,
    merge_objects,
    share,
)

__all__ = [
    "MAX_EVENTS",
    "MAX_SHARED_BYTES",
    "MEMBERS",
    "NOTHING",
    "TYPES",
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
