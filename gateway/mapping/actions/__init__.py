"""Actions: what Mixpanel records an event becomes.

Each function takes the fields of an action and returns the mapping that ``fastmap`` runs.  The
types and names of the fields are data (``fields.toml``); the shapes of the records are here.
"""

from collections.abc import Callable, Mapping

from fastmap import spec
from gateway.mapping.actions.common import Settings
from gateway.mapping.actions.events import track_event, track_purchase
from gateway.mapping.actions.fields import ActionFields, MappingError
from gateway.mapping.actions.groups import group_identify_user
from gateway.mapping.actions.users import alias, identify_user, increment_properties
from gateway.mapping.profile import Source

__all__ = ["ACTIONS", "MappingError", "Settings", "build"]

ACTIONS: dict[str, Callable[[ActionFields, Settings], spec.Mapping]] = {
    "trackEvent": track_event,
    "trackPurchase": track_purchase,
    "identifyUser": identify_user,
    "groupIdentifyUser": group_identify_user,
    "alias": alias,
    "incrementProperties": increment_properties,
}
"""Actions by the names that configurations use."""


def build(
    action: str,
    defaults: Mapping[str, Source],
    given: Mapping[str, Source],
    settings: Settings,
) -> spec.Mapping:
    """Return the mapping of an action.

    :param defaults: a source for each field that the action has.
    :param given: the sources that replace some of them.
    :raises MappingError: with every mistake in what is given.
    """
    fields = ActionFields(defaults, given)
    fields.check(action)
    mapping = ACTIONS[action](fields, settings)
    if fields.problems:
        raise MappingError(fields.problems)
    return mapping
