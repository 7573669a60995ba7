"""Subscriptions: the presets of a destination's profile and those of its configuration."""

from dataclasses import dataclass

from fastmap import spec
from gateway.config import DestinationConfig, SubscriptionConfig
from gateway.mapping.actions import Settings, build
from gateway.mapping.fql import parse
from gateway.mapping.profile import Profile, Source, load_profile

__all__ = ["Subscription", "defaults_of", "subscriptions_of", "wanted"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which events it is for, and what is made of them."""

    condition: spec.Condition
    mapping: spec.Mapping


def subscriptions_of(destination: DestinationConfig, source: str) -> list[Subscription]:
    """Return the subscriptions for the events of a source, in the order in which they run.

    :raises ValueError: the configuration was not checked, and one of them is wrong.
    """
    profile = load_profile(destination.profile)
    settings = _settings_of(destination)
    return [
        Subscription(
            parse(one.subscribe),
            build(one.action, defaults_of(profile, one), one.mapping, settings),
        )
        for one in wanted(destination, source)
    ]


def wanted(destination: DestinationConfig, source: str) -> list[SubscriptionConfig]:
    """Return what is configured for the events of a source, presets included.

    A configured subscription takes the place of the preset that has its name, and runs last
    otherwise.
    """
    found: dict[object, SubscriptionConfig] = {}
    if destination.presets:
        for name, preset in load_profile(destination.profile).presets.items():
            found[name] = SubscriptionConfig(
                name=name, subscribe=preset.subscribe, action=preset.action
            )
    for i, configured in enumerate(destination.subscriptions):
        if not configured.sources or source in configured.sources:
            found[configured.name or i] = configured
    return [one for one in found.values() if one.enabled]


def defaults_of(profile: Profile, subscription: SubscriptionConfig) -> dict[str, Source]:
    """Return every field of a subscription's action with its source where the mapping has none.

    A subscription that takes the place of a preset, with its action, has that preset's sources.
    """
    defaults = profile.fields_of(subscription.action)
    preset = profile.presets.get(subscription.name)
    if preset is not None and preset.action == subscription.action:
        defaults |= preset.fields
    return defaults


def _settings_of(destination: DestinationConfig) -> Settings:
    return Settings(
        token=destination.settings.projectToken,
        source_name=destination.settings.sourceName,
        group_key=destination.settings.groupKey,
        constants=load_profile(destination.profile).constants,
        simplified=destination.identity == "simplified",
        identify_event=destination.identify_event,
    )
