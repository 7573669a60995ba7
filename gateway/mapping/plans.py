"""The plans of one destination: for each kind of event, the compiled mapping that applies."""

from dataclasses import dataclass

import fastmap
from gateway.config import DestinationConfig
from gateway.mapping.actions import ACTIONS, Settings
from gateway.mapping.profile import load_profile
from gateway.mapping.subscriptions import Subscription, parse

__all__ = ["Plans", "compile_plans"]


@dataclass(frozen=True, slots=True)
class Plans:
    """What a destination does with each type of event."""

    by_type: dict[str, tuple[tuple[Subscription, fastmap.Plan], ...]]

    def select(self, kind: str | None, event: str | None) -> fastmap.Plan | None:
        """Return the plan for an event, None when no subscription matches.

        :param kind: the event's type; compared exactly.
        :param event: the event's name.
        """
        if kind is not None:
            for subscription, plan in self.by_type.get(kind, ()):
                if subscription.matches(event):
                    return plan
        return None

    def dropped_fields(self) -> dict[str, int]:
        """Return how many values could not be converted, by field."""
        totals: dict[str, int] = {}
        for plans in self.by_type.values():
            for _, plan in plans:
                for field, count in plan.dropped().items():
                    totals[field] = totals.get(field, 0) + count
        return totals


def compile_plans(destination: DestinationConfig) -> Plans:
    """Compile the mappings of a destination's profile with its settings."""
    profile = load_profile(destination.profile)
    settings = Settings(
        token=destination.settings.projectToken,
        source_name=destination.settings.sourceName,
        group_key=destination.settings.groupKey,
        constants=profile.constants,
    )
    by_type: dict[str, tuple[tuple[Subscription, fastmap.Plan], ...]] = {}
    for preset in profile.presets.values():
        subscription = parse(preset.subscribe)
        mapping = ACTIONS[preset.action](profile.fields_of(preset), settings)
        plan = fastmap.compile(mapping)
        by_type[subscription.type] = (*by_type.get(subscription.type, ()), (subscription, plan))
    return Plans(by_type)
