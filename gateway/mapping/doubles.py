"""Finding subscriptions that make two events with the same name and id of one.

Mixpanel takes two events with the same name, time, user and ``$insert_id`` for one that was sent
twice, and keeps one of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fastmap import spec
from gateway.config import Config, DestinationConfig
from gateway.mapping.fql import EVENT, TYPE, named, parse, simplify, types_named
from gateway.mapping.overlap import may_hold
from gateway.mapping.profile import Source, load_profile
from gateway.mapping.subscriptions import defaults_of, wanted

__all__ = ["doubles_in", "is_double", "mapping_warnings"]

_ACTIONS = ("trackEvent", "trackPurchase")


def mapping_warnings(config: Config) -> list[str]:
    """Return what is allowed in the mappings of a configuration, and hardly meant."""
    return [
        f"destinations[{i}]: {found}"
        for i, destination in enumerate(config.destinations)
        for found in doubles_in(destination)
    ]


@dataclass(frozen=True, slots=True)
class _Sender:
    """A subscription that sends events.

    :param fields: its sources of the name and the id.
    """

    title: str
    condition: spec.Condition
    fields: Mapping[str, Source]

    def name_of(self, event: str | None) -> tuple[str, Any]:
        """Return something that is equal for two senders that give an event the same name."""
        source = self.fields.get("event")
        if isinstance(source, dict):
            source = source.get("@path", source.get("@literal", source))
        if source in ("$.event", "event") and event is not None:
            return ("text", event)
        return ("text" if isinstance(source, str) and source[:2] != "$." else "source", source)


def doubles_in(destination: DestinationConfig) -> Iterator[str]:
    """Give a message for each two subscriptions that may make the same event of one."""
    sources = ("", *(source for one in destination.subscriptions for source in one.sources))
    pairs = {
        (one.title, other.title): (one, other)
        for source in sources
        for one, other in combinations(_senders(destination, source), 2)
        if one.fields.get("insert_id") == other.fields.get("insert_id")
    }
    for one, other in pairs.values():
        if (met := _meeting(one, other)) is not None:
            yield (
                f"{one.title} and {other.title} may make two events with one name and $insert_id "
                f"of {met}, of which Mixpanel keeps one: give one an event name or an insert_id "
                f"of its own, or the name of the other to take its place"
            )


def _senders(destination: DestinationConfig, source: str) -> list[_Sender]:
    profile = load_profile(destination.profile)
    senders = []
    for configured in wanted(destination, source):
        if configured.action not in _ACTIONS:
            continue
        fields = defaults_of(profile, configured) | configured.mapping
        title = (
            f'"{configured.name}"' if configured.name else f"the one for {configured.subscribe!r}"
        )
        senders.append(_Sender(title, parse(configured.subscribe), fields))
    return senders


def _meeting(one: _Sender, other: _Sender) -> str | None:
    """Return for which events both may run and give the same name, None for none."""
    both = spec.Every((one.condition, other.condition))
    kinds, events = sorted(types_named(both)), sorted(named(EVENT, both))
    for kind in (*kinds, None):
        of_kind = simplify(both, kind)
        for event in (*events, None):
            left = of_kind if isinstance(of_kind, bool) else simplify(of_kind, event, EVENT)
            texts = {TYPE: kind, EVENT: event}
            known = {field: text for field, text in texts.items() if text is not None}
            if one.name_of(event) == other.name_of(event) and may_hold(left, known):
                what = f"type {kind!r}" if kind else "any other type"
                return what + (f" and event {event!r}" if event else "")
    return None


def is_double(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether Mixpanel takes two events, as they are sent to /import, for one."""
    keys = ("time", "distinct_id", "$insert_id")
    return one["event"] == other["event"] and all(
        one["properties"].get(key) == other["properties"].get(key) for key in keys
    )
