"""Mapping an event again that was rejected when it was received."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from gateway.config import DestinationConfig, IpPolicy
from gateway.events import decode_event, plain_text
from gateway.mapping.mapper import EXPLANATIONS
from gateway.mapping.preview import Preview
from gateway.model import Entry, Origin, Queue
from gateway.policy import SourcePolicy

__all__ = ["Remap", "Remapped"]

_STAND_INS = {
    frozenset({"element"}): "not_an_object",
    frozenset({"malformed"}): "malformed",
    frozenset({"nested_too_deep"}): "nested_too_deep",
}
"""Reasons by the member of what stands for an element of a batch that is no event, beside the
number of its bytes."""


@dataclass(frozen=True, slots=True)
class Remapped:
    """What becomes of an event now.

    :param entries: one for each record; none when it is rejected or nothing is made of it.
    :param reason: why there are none; a word of its own for each cause.
    :param detail: the same for a person.
    """

    entries: Sequence[Entry] = ()
    reason: str = ""
    detail: str = ""


class Remap:
    """The current mappings of all destinations, for one event at a time.

    The records are those that the event would have become when it was received: the same times,
    ids and address.

    :param policies: as ``policies_of`` gives them.
    """

    def __init__(
        self,
        destinations: Sequence[DestinationConfig],
        policies: Mapping[tuple[str, IpPolicy], SourcePolicy | None] = MappingProxyType({}),
    ) -> None:
        self._policies = policies
        self._destinations = {destination.name: destination for destination in destinations}
        self._previews: dict[tuple[str, str], Preview] = {}

    def __call__(self, destination: str, text: bytes, origin: Origin) -> Remapped:
        """Return what a destination would be sent for an event.

        :param destination: the name of one that is configured.
        :param text: one JSON object, as ``gateway.events.originals`` keeps it.
        """
        try:
            event = decode_event(text)
            members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            return Remapped(reason="malformed", detail=f"it is no JSON object: {error}")
        if (reason := _STAND_INS.get(frozenset(members) - {"bytes"})) is not None:
            return _rejected(reason)
        if not plain_text(event.message_id):
            event.message_id = str(uuid.uuid4())  # the person who edited it has removed it
        event.client_ip = origin.client_ip
        event.skew_ms = origin.skew_ms
        policy = self._policies.get((origin.source, "keep"))
        if policy is not None:
            reason = policy.reason_against(event)
            if reason is not None:
                return Remapped(reason=reason, detail="the options of its source keep it away")
            policy.strip(event, [])
        outcome = self._preview(destination, origin.source).map(event, origin.received_ms)
        if outcome.reason is not None:
            return _rejected(outcome.reason)
        entries = [
            Entry(Queue(destination, endpoint), record + b"\n", 1)
            for endpoint, record in outcome.records
        ]
        return Remapped(entries)

    def _preview(self, destination: str, source: str) -> Preview:
        preview = self._previews.get((destination, source))
        if preview is None:
            preview = Preview(self._destinations[destination], source)
            self._previews[destination, source] = preview
        return preview


def _rejected(reason: str) -> Remapped:
    detail = EXPLANATIONS.get(reason, "the current mapping makes nothing of it")
    return Remapped(reason=reason, detail=detail)
