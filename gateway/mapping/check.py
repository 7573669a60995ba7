"""Finding every mistake in the subscriptions of a configuration."""

from msgspec import UNSET

from gateway.config import Config, DestinationConfig, SubscriptionConfig
from gateway.config.reader import ConfigReader, KeyPath
from gateway.mapping.actions import MappingError, Settings, build
from gateway.mapping.fql import FqlError, parse
from gateway.mapping.profile import load_profile
from gateway.mapping.subscriptions import defaults_of

__all__ = ["check_subscriptions"]


def check_subscriptions(config: Config, reader: ConfigReader) -> None:
    """Report what is wrong with expressions and mappings, each with its place.

    :param config: values that could not be read are UNSET, and reported already.
    """
    for i, destination in enumerate(config.destinations):
        for j, subscription in enumerate(destination.subscriptions):
            place = ("destinations", i, "subscriptions", j)
            _check_expression(subscription, reader, (*place, "subscribe"))
            _check_mapping(destination, subscription, reader, (*place, "mapping"))


def _check_expression(
    subscription: SubscriptionConfig, reader: ConfigReader, place: KeyPath
) -> None:
    if _unread(subscription.subscribe):
        return
    try:
        parse(subscription.subscribe)
    except FqlError as error:
        hidden = f"character {error.position}: expected {error.expected}"
        reader.report(place, hidden if place in reader.substituted else str(error))


def _check_mapping(
    destination: DestinationConfig,
    subscription: SubscriptionConfig,
    reader: ConfigReader,
    place: KeyPath,
) -> None:
    if _unread(destination.profile, subscription.action, subscription.mapping):
        return
    profile = load_profile(destination.profile)
    # What the settings are makes no difference to what is wrong; some may be unreadable.
    settings = Settings(
        token="",
        source_name="",
        group_key="",
        constants=profile.constants,
        simplified=destination.identity == "simplified",
    )
    defaults = defaults_of(profile, subscription)
    try:
        build(subscription.action, defaults, subscription.mapping, settings)
    except MappingError as error:
        for inner, problem in error.problems.items():
            reader.report((*place, *inner), problem)


def _unread(*values: object) -> bool:
    return any(value is UNSET for value in values)
