"""Groups: groupIdentifyUser."""

from fastmap import spec
from gateway.mapping.actions.common import GROUPS, INPUTS, UPDATE_LIMITS, Settings, created, trait
from gateway.mapping.actions.fields import ActionFields
from gateway.mapping.objects import Members
from gateway.mapping.profile import load_fields

__all__ = ["group_identify_user"]

_IDS = spec.Id(several=True)


def group_identify_user(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map the traits of a group to properties of its profile, or of each of several groups."""
    reserved = load_fields().reserved
    traits = fields.object("traits")
    default_key = spec.Const(settings.group_key or "$group_id")
    key = spec.First((fields.value("group_key", spec.String()), default_key))
    # A trait named like the group key is the id, unless it is empty or can be none.
    trait_id = spec.Converted(traits.member_called(key), _IDS, "group_id")
    ids = spec.First((trait_id, fields.value("group_id", _IDS)))
    omit = reserved["group"]
    mapped: Members = (("$name", trait(fields, "name")),)
    if settings.constants.group_created:
        omit = omit + reserved["group_created"]
        mapped = (*mapped, ("$created", created(fields)))
    properties = spec.Object((traits.layer(frozenset(omit)), spec.Fields(mapped)))
    members: Members = (
        ("$token", spec.Const(settings.token)),
        ("$group_key", key),
        ("$group_id", spec.Value(spec.Path(spec.ITEM), spec.Id())),
        ("$set", properties),
    )
    return spec.Mapping(
        inputs=INPUTS,
        require=((ids, "missing_group_id"),),
        records=(
            spec.Record(
                GROUPS, spec.Object((spec.Fields(members),)), (traits.exists(),), ids, UPDATE_LIMITS
            ),
        ),
    )
