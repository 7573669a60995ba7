"""What a body turned out to hold."""

from dataclasses import dataclass

import msgspec

from gateway.events.depth import read_json
from gateway.events.event import Event, says_something

__all__ = ["Received", "fault_of"]


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
        return not self.is_batch and event.type is None and not says_something(event)


def fault_of(misfit: bytes) -> str:
    """Return why an element of a batch is no event, as a word."""
    try:
        read_json(misfit)
    except RecursionError:
        return "nested_too_deep"
    except msgspec.DecodeError:
        return "malformed"
    return "malformed" if misfit[:1] == b"{" else "not_an_object"
