"""The plans of a destination: for each type of event one compiled plan with all that applies to it.

A plan chooses among the subscriptions that can match its type; all that match are run, as Segment
does.  What ``type`` decides is decided here, the rest is compiled.
"""

from collections.abc import Mapping, Sequence

import fastmap
from fastmap import spec
from gateway.config import DestinationConfig
from gateway.events import TYPES, Event
from gateway.mapping.fql import simplify, types_named
from gateway.mapping.integrations import NAMES, keeper
from gateway.mapping.subscriptions import Subscription, subscriptions_of

__all__ = [
    "EMPTY",
    "MALFORMED",
    "SIMPLIFIED",
    "SKIPPED",
    "UNKNOWN_TYPE",
    "UNMATCHED",
    "Plans",
    "choices",
    "compile_plans",
]

_OBJECTS = frozenset({"context", "properties", "traits", "integrations"})
"""Members of an event that are objects; what comes in their place is counted, as lost mostly."""

UNMATCHED = "no_subscription"
EMPTY = "empty"
MALFORMED = "malformed"
SIMPLIFIED = "simplified_identity"
UNKNOWN_TYPE = "unknown_type"
SKIPPED = frozenset({"integrations", SIMPLIFIED, UNMATCHED, EMPTY})
"""Reasons for which nothing is made of an event although nothing is wrong with it."""

_NO_TIMES: Mapping[str, int] = {}


class Plans:
    """What a destination does with each type of event.

    :param by_type: the plans of the types that subscriptions name; None where none can match.
    :param other: the plan of all other types.
    """

    def __init__(
        self, by_type: Mapping[str, fastmap.Plan | None], other: fastmap.Plan | None
    ) -> None:
        self.by_type = by_type
        self.other = other
        reasons = fastmap.Reasons(unmatched=UNMATCHED, empty=EMPTY, malformed=MALFORMED)
        self._dispatch = fastmap.Dispatch(
            by_type, other, kind="type", skew="skew_ms", reasons=reasons
        )

    def run(
        self, events: Sequence[Event], buffers: Sequence[fastmap.Buffer], received_ms: int
    ) -> list[tuple[Event, str]]:
        """Write the records of events; returns those that became none, and the reason of each.

        :param buffers: one for each endpoint; an error empties them.
        :param received_ms: time of receipt, epoch milliseconds.
        """
        try:
            left = self._dispatch.run(events, buffers, received_ms)
        except BaseException:
            for buffer in buffers:
                buffer.clear()
            raise
        if not left:
            return left
        return [(event, self._explained(event, reason)) for event, reason in left]

    def _explained(self, event: Event, reason: str) -> str:
        """Return why nothing is made of an event: nobody may have decided so."""
        kind: object = event.type
        is_known = isinstance(kind, str) and (kind in TYPES or kind in self.by_type)
        return reason if is_known or reason != UNMATCHED else UNKNOWN_TYPE

    def times_replaced(self) -> Mapping[str, int]:
        """Return how many events of the last run got the time of their receipt, by reason."""
        dispatch = self._dispatch
        if not dispatch.unreadable_times and not dispatch.impossible_times:
            return _NO_TIMES
        return {
            "unreadable": dispatch.unreadable_times,
            "impossible": dispatch.impossible_times,
        }

    def dropped_fields(self) -> dict[str, int]:
        """Return how many values could not be converted, by field."""
        totals: dict[str, int] = {}
        for plan in (*self.by_type.values(), self.other):
            for field, count in plan.dropped().items() if plan else ():
                totals[field] = totals.get(field, 0) + count
        return totals


def compile_plans(destination: DestinationConfig, source: str = "") -> Plans:
    """Compile what a destination does with the events of a source.

    :param source: its name; only subscriptions that are limited to some sources depend on it.
    :raises ValueError: the configuration was not checked, and a subscription is wrong.
    """
    plans = {
        kind: None if choice is None else fastmap.compile(choice, _OBJECTS)
        for kind, choice in choices(destination, source).items()
    }
    other = plans.pop(None)
    return Plans({kind: plan for kind, plan in plans.items() if kind is not None}, other)


def choices(
    destination: DestinationConfig, source: str = ""
) -> dict[str | None, spec.Choice | None]:
    """Return what is compiled: for each type that is named, and for all others (None).

    :raises ValueError: as ``compile_plans``.
    """
    subscriptions = subscriptions_of(destination, source)
    kinds = set().union(*(types_named(one.condition) for one in subscriptions))
    kept_away = _kept_away(destination.name)
    return {kind: _choice(subscriptions, kind, kept_away) for kind in (*sorted(kinds), None)}


def _choice(
    subscriptions: Sequence[Subscription], kind: str | None, kept_away: spec.Condition
) -> spec.Choice | None:
    """Return the choice among the subscriptions that can match a type; None when there are none."""
    cases: list[tuple[spec.Condition | None, spec.Mapping]] = []
    for subscription in subscriptions:
        condition = simplify(subscription.condition, kind)
        if condition is not False:
            cases.append((None if condition is True else condition, subscription.mapping))
    if not cases:
        return None
    skip = [(kept_away, "integrations"), *_ignored(cases)]
    return spec.Choice(tuple(cases), skip=tuple(skip), unmatched=UNMATCHED)


def _ignored(
    cases: Sequence[tuple[spec.Condition | None, spec.Mapping]],
) -> list[tuple[spec.Condition, str]]:
    """Return the reason for events of which only actions without records are made.

    Those are aliases, which a project with simplified identity takes no notice of.
    """
    every = spec.Every(())
    active = [condition or every for condition, mapping in cases if mapping.records]
    if len(active) == len(cases):
        return []
    matched = spec.Some(tuple(condition or every for condition, _ in cases))
    only = spec.Every((matched, spec.Not(spec.Some(tuple(active)))))
    return [(only, SIMPLIFIED)]


def _kept_away(name: str) -> spec.Condition:
    """Whether an event's ``integrations`` keeps it from the destination.

    Some libraries for servers put them into the context.
    """
    says = spec.Derived(spec.Derivation(keeper((*NAMES, name)), outputs=1, takes_json=True), 0)
    places = (spec.Path("integrations"), spec.Path("context", ("integrations",)))
    return spec.Some(tuple(spec.Has(spec.Value(place, says)) for place in places))
