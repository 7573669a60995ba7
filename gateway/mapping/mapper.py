"""Mapping the events of one request for all destinations of its source."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import fastmap
from gateway.config import DestinationConfig
from gateway.events import Event, encode
from gateway.mapping.actions import ENDPOINTS
from gateway.mapping.plans import SKIPPED, UNMATCHED, Plans, compile_plans
from gateway.spool.base import DeadLetter, Entry, Queue
from gateway.telemetry import Telemetry

__all__ = ["EXPLANATIONS", "Mapped", "Mapper"]

EXPLANATIONS = {
    "missing_event_name": "a track event needs a non-empty event name",
    "missing_id": "an event that identifies someone needs a userId or an anonymousId",
    "missing_group_id": "a group event needs a groupId",
    "missing_previous_id": "an alias event needs a previousId",
    "too_many_increments": "at most 20 properties can be incremented by one event",
    "too_many_items": "products: at most 1000 items, and 32 MiB of records from one request",
    "malformed": "the event could not be read",
    "not_an_object": "an element of the batch is no JSON object",
}
"""What the reasons of rejections mean."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What is to be made durable for one request."""

    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]

    @property
    def size(self) -> int:
        """Bytes of it."""
        size = sum(len(entry.lines) for entry in self.entries)
        return size + sum(len(letter.payload) for letter in self.dead)


class _Destination:
    """One destination's plans and the buffers its records are written into."""

    __slots__ = ("_limited", "_plans", "buffers", "name", "queues", "rejections")

    def __init__(self, config: DestinationConfig) -> None:
        self.name = config.name
        self._plans = compile_plans(config)
        limits = {source for each in config.subscriptions for source in each.sources}
        self._limited = {source: compile_plans(config, source) for source in limits}
        self.queues = [Queue(config.name, endpoint) for endpoint in ENDPOINTS]
        self.buffers = [fastmap.Buffer() for _ in ENDPOINTS]
        self.rejections = Queue(config.name, "")

    def plans_for(self, source: str) -> Plans:
        """Return what is done with the events of a source."""
        return self._limited.get(source, self._plans)

    def dropped_fields(self) -> Counter[str]:
        """Return how many values could not be converted, by field."""
        totals: Counter[str] = Counter()
        for plans in (self._plans, *self._limited.values()):
            totals.update(plans.dropped_fields())
        return totals

    def take(self) -> list[Entry]:
        """Return what was written since the last call."""
        entries = []
        for queue, buffer in zip(self.queues, self.buffers, strict=True):
            records = buffer.records
            if records:
                entries.append(Entry(queue, buffer.take(), records))
        return entries


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
        source: str = "",
    ) -> Mapped:
        """Return the records of events for some destinations.

        :param events: each with a message id.
        :param received_ms: time of receipt, epoch milliseconds.
        :param misfits: JSON texts that stood where events should.
        :param source: name of the source they come from.
        """
        entries: list[Entry] = []
        dead: list[DeadLetter] = []
        rejected: list[tuple[_Destination, Event, str]] = []
        for name in destinations:
            destination = self._destinations[name]
            dead.extend(
                _letter(destination, "not_an_object", b'{"element":%b}' % misfit)
                for misfit in misfits
            )
            plans = destination.plans_for(source)
            self._map_for(destination, plans, events, received_ms, rejected)
            entries.extend(destination.take())
        # Encoding an event strips its secrets, so it comes after all destinations have read it.
        dead.extend(
            _letter(destination, reason, encode(event)) for destination, event, reason in rejected
        )
        return Mapped(entries, dead)

    def _map_for(
        self,
        destination: _Destination,
        plans: Plans,
        events: Sequence[Event],
        received_ms: int,
        rejected: list[tuple[_Destination, Event, str]],
    ) -> None:
        select, buffers = plans.select, destination.buffers
        skipped: Counter[str] = Counter()
        for buffer in buffers:
            buffer.clear()  # of what an error may have left there
        for event in events:
            plan = select(event.type)
            if plan is None:
                skipped[UNMATCHED] += 1
                continue
            try:
                outcome = plan.run(event, buffers, received_ms, event.skew_ms)
            except fastmap.MalformedInput:
                outcome = "malformed"
            if isinstance(outcome, int):
                if outcome == 0:
                    skipped["empty"] += 1
            elif outcome in SKIPPED:
                skipped[outcome] += 1
            else:
                rejected.append((destination, event, outcome))
        for reason, count in skipped.items():
            self._telemetry.events_skipped.labels(destination.name, reason).inc(count)

    def dropped_fields(self) -> dict[tuple[str, str], int]:
        """Return how many values could not be converted, by destination and field."""
        return {
            (name, field): count
            for name, destination in self._destinations.items()
            for field, count in destination.dropped_fields().items()
        }


def _letter(destination: _Destination, reason: str, payload: bytes) -> DeadLetter:
    return DeadLetter(
        queue=destination.rejections,
        kind="event",
        reason=reason,
        detail=EXPLANATIONS[reason],
        payload=payload,
    )
