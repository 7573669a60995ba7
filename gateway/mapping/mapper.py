"""Mapping the events of one request for all destinations of its source."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

import fastmap
from gateway.config import DestinationConfig
from gateway.events import Event, encode, fault_of
from gateway.events.depth import MAX_DEPTH
from gateway.mapping.plans import MALFORMED, SKIPPED, UNKNOWN_TYPE, Plans, compile_plans
from gateway.model import ENDPOINTS, DeadLetter, Entry, Origin, Queue
from gateway.telemetry import Telemetry

__all__ = ["EXPLANATIONS", "MAX_MISFIT_BYTES", "Mapped", "Mapper", "stand_in"]

MAX_MISFIT_BYTES = 64 * 1024
"""What is kept of a part of a body that is no JSON."""

EXPLANATIONS = {
    "missing_event_name": "a track event needs a non-empty event name",
    "missing_id": "an event that identifies someone needs a userId or an anonymousId",
    "missing_group_id": "a group event needs a groupId",
    "missing_previous_id": "an alias event needs a previousId",
    "too_many_increments": "at most 20 properties can be incremented by one event",
    "too_many_items": "products: at most 1000 items, and 32 MiB of records from one request",
    "too_large": "Mixpanel takes no record of 1 MB or more",
    "too_many_members": "Mixpanel takes at most 254 properties of an event or an object in it",
    "too_deep": "Mixpanel takes objects in the properties of an event three levels deep at most",
    MALFORMED: "a part of the body that could not be read as an event",
    UNKNOWN_TYPE: "the type is none of track, identify, page, screen, group and alias",
    "not_an_object": "an element of the batch is no JSON object",
    "nested_too_deep": f"an event of the batch is nested deeper than {MAX_DEPTH} levels",
}
"""What the reasons of rejections mean."""


class Mapped(NamedTuple):
    """What is to be made durable for one request."""

    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]


class _Destination:
    """One destination's plans and the buffers its records are written into."""

    __slots__ = ("_limited", "_outputs", "_plans", "buffers", "name", "odd_contexts", "rejections")

    def __init__(self, config: DestinationConfig) -> None:
        self.name = config.name
        self._plans = compile_plans(config)
        limits = {source for each in config.subscriptions for source in each.sources}
        self._limited = {source: compile_plans(config, source) for source in limits}
        self.buffers = [fastmap.Buffer() for _ in ENDPOINTS]
        queues = (Queue(config.name, endpoint) for endpoint in ENDPOINTS)
        self._outputs = tuple(zip(queues, self.buffers, strict=True))
        self.rejections = Queue(config.name, "")
        self.odd_contexts = 0

    def plans_for(self, source: str) -> Plans:
        """Return what is done with the events of a source."""
        return self._limited.get(source, self._plans)

    def dropped_fields(self) -> Counter[str]:
        """Return how many values could not be converted, by field."""
        totals: Counter[str] = Counter()
        for plans in (self._plans, *self._limited.values()):
            totals.update(plans.dropped_fields())
        if self.odd_contexts:
            totals["context"] += self.odd_contexts
        return totals

    def take(self) -> list[Entry]:
        """Return what was written since the last call."""
        return [
            Entry(queue, buffer.take(), records)
            for queue, buffer in self._outputs
            if (records := buffer.records)
        ]


class Mapper:
    """The mappings of all destinations.

    :param destinations: in the order of the configuration.
    """

    def __init__(self, destinations: Sequence[DestinationConfig], telemetry: Telemetry) -> None:
        self._destinations = {config.name: _Destination(config) for config in destinations}
        self._telemetry = telemetry

    def map(
        self,
        destinations: Sequence[str],
        events: Sequence[Event],
        *,
        received_ms: int,
        misfits: Sequence[bytes] = (),
        odd_contexts: int = 0,
        source: str = "",
        client_ip: str | None = None,
        original: Callable[[Event], bytes] = encode,
    ) -> Mapped:
        """Return the records of events for some destinations.

        :param events: each with a message id.
        :param received_ms: time of receipt, epoch milliseconds.
        :param misfits: what stood where events should; see ``gateway.events.Received``.
        :param odd_contexts: likewise; they count as dropped.
        :param source: name of the source they come from.
        :param client_ip: the user's address where the request tells it.
        :param original: returns the text of an event, to be kept when it is rejected.
        """
        entries: list[Entry] = []
        dead: list[DeadLetter] = []
        rejected: list[tuple[_Destination, Event, str]] = []
        replaced: dict[str, int] = {}
        strays = list(map(stand_in, misfits)) if misfits else ()
        origin = (
            Origin(source=source, received_ms=received_ms, client_ip=client_ip) if strays else None
        )
        for name in destinations:
            destination = self._destinations[name]
            destination.odd_contexts += odd_contexts
            for reason, text in strays:
                dead.append(_letter(destination, reason, text, origin))
            plans = destination.plans_for(source)
            left = plans.run(events, destination.buffers, received_ms)
            if times := plans.times_replaced():
                # The same for all destinations, but for those that take fewer events.
                replaced = {reason: max(times[reason], replaced.get(reason, 0)) for reason in times}
            if left:
                self._count_skipped(destination, left)
                rejected.extend((destination, *one) for one in left if one[1] not in SKIPPED)
            entries.extend(destination.take())
        for reason, count in replaced.items():
            if count:
                self._telemetry.times_replaced.labels(source, reason).inc(count)
        # What an event came with is noted first: encoding strips it.
        if not rejected:
            return Mapped(entries, dead)
        origins = [
            Origin(
                source=source,
                received_ms=received_ms,
                skew_ms=event.skew_ms,
                client_ip=event.client_ip,
            )
            for _, event, _ in rejected
        ]
        texts: dict[int, bytes] = {}  # by event: that of several destinations is one
        for (destination, event, reason), origin in zip(rejected, origins, strict=True):
            if id(event) not in texts:
                texts[id(event)] = original(event)
            dead.append(_letter(destination, reason, texts[id(event)], origin))
        return Mapped(entries, dead)

    def _count_skipped(self, destination: _Destination, left: list[tuple[Event, str]]) -> None:
        counts: dict[str, int] = {}
        for _, reason in left:
            if reason in SKIPPED:
                counts[reason] = counts.get(reason, 0) + 1
        for reason, count in counts.items():
            self._telemetry.events_skipped.labels(destination.name, reason).inc(count)

    def dropped_fields(self) -> dict[tuple[str, str], int]:
        """Return how many values could not be converted, by destination and field."""
        return {
            (name, field): count
            for name, destination in self._destinations.items()
            for field, count in destination.dropped_fields().items()
        }


def stand_in(misfit: bytes) -> tuple[str, bytes]:
    """Return the reason against an element of a batch that is no event, and an object for it.

    :param misfit: see ``gateway.events.Received``.
    """
    reason = fault_of(misfit)
    if reason == "not_an_object":
        return reason, b'{"element":%b}' % misfit
    # As a text it is sure to be JSON, and no deeper than whoever looks at it can go.
    told: dict[str, object] = {reason: misfit.decode(errors="replace")}
    if reason == MALFORMED and len(misfit) > MAX_MISFIT_BYTES:
        told = {reason: misfit[:MAX_MISFIT_BYTES].decode(errors="replace"), "bytes": len(misfit)}
    return reason, msgspec.json.encode(told)


def _letter(
    destination: _Destination, reason: str, payload: bytes, origin: Origin | None
) -> DeadLetter:
    return DeadLetter(
        queue=destination.rejections,
        kind="event",
        reason=reason,
        detail=EXPLANATIONS[reason],
        payload=payload,
        origin=origin,
    )
