"""Users: identifyUser, alias and incrementProperties."""

from fastmap import spec
from gateway.mapping.actions.common import (
    ENGAGE,
    IMPORT,
    INPUTS,
    IS_RUDDER,
    TIME,
    TRACK,
    UPDATE_LIMITS,
    Settings,
    address,
    created,
    distinct_id,
    id_of,
    insert_id,
    source_name,
    trait,
)
from gateway.mapping.actions.fields import ActionFields
from gateway.mapping.directives import NOTHING
from gateway.mapping.objects import Members, ObjectSource, PathObject, TableObject
from gateway.mapping.profile import load_fields

__all__ = ["MAX_INCREMENTS", "alias", "identify_user", "increment_properties"]

MAX_INCREMENTS = 20
"""Properties that one event may increment, as in the original."""


def identify_user(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map to an event that links the ids where both are known, and the traits to a profile."""
    user, anonymous = id_of(fields, "user_id"), id_of(fields, "anonymous_id")
    both = (spec.Has(user), spec.Has(anonymous))
    if settings.simplified:
        link = spec.Record(IMPORT, _identified(fields, settings), when=both)
    else:
        members: Members = (
            ("$identified_id", user),
            ("$anon_id", anonymous),
            ("token", spec.Const(settings.token)),
            *source_name(settings),
        )
        link = spec.Record(TRACK, _event("$identify", members), when=both)
    profile = _profile(fields, settings, "$set", _properties(fields))
    return spec.Mapping(
        inputs=INPUTS,
        require=((spec.First((user, anonymous)), "missing_id"),),
        records=(
            link,
            spec.Record(
                ENGAGE,
                profile,
                when=(fields.object("traits").is_filled(),),
                limits=UPDATE_LIMITS,
            ),
        ),
    )


def alias(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map to ``$create_alias``; to nothing where Mixpanel would ignore that."""
    if settings.simplified:
        return spec.Mapping(INPUTS, records=())
    previous, new = id_of(fields, "distinct_id"), id_of(fields, "alias")
    members: Members = (
        ("distinct_id", previous),
        ("alias", new),
        ("token", spec.Const(settings.token)),
        *source_name(settings),
    )
    return spec.Mapping(
        inputs=INPUTS,
        require=((previous, "missing_previous_id"), (new, "missing_id")),
        records=(spec.Record(TRACK, _event("$create_alias", members)),),
    )


def increment_properties(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map numbers to what a profile's properties are incremented by."""
    increment = fields.object("increment")
    if isinstance(increment, TableObject) and len(increment.table) > MAX_INCREMENTS:
        fields.report(("increment",), f"expected at most {MAX_INCREMENTS} members")
    amounts = spec.Object((increment.layer(frozenset(), spec.Number(), "increment"),))
    profile = _profile(fields, settings, "$add", amounts)
    return spec.Mapping(
        inputs=INPUTS,
        require=((distinct_id(fields, settings), "missing_id"),),
        reject=((increment.has_more_than(MAX_INCREMENTS), "too_many_increments"),),
        records=(spec.Record(ENGAGE, profile, (increment.is_filled(),), limits=UPDATE_LIMITS),),
    )


def _event(name: str, properties: Members) -> spec.Object:
    body = spec.Object((spec.Fields(properties),))
    return spec.Object((spec.Fields((("event", spec.Const(name)), ("properties", body))),))


def _identified(fields: ActionFields, settings: Settings) -> spec.Object:
    """Return an ordinary event with both ids: by such a one Mixpanel links them."""
    return _event(
        settings.identify_event,
        (
            ("time", TIME),
            ("ip", spec.First((*address(fields), spec.Const(0)))),
            ("distinct_id", distinct_id(fields, settings)),
            ("$device_id", id_of(fields, "anonymous_id")),
            ("$user_id", id_of(fields, "user_id")),
            ("$insert_id", insert_id(fields)),
            ("$source", spec.Const(settings.constants.source)),
            *source_name(settings),
        ),
    )


def _profile(
    fields: ActionFields, settings: Settings, operation: str, properties: spec.Object
) -> spec.Object:
    return spec.Object(
        (
            spec.Fields(
                (
                    ("$token", spec.Const(settings.token)),
                    ("$distinct_id", distinct_id(fields, settings)),
                    ("$ip", spec.First(address(fields))),
                    (operation, properties),
                )
            ),
        )
    )


def _properties(fields: ActionFields) -> spec.Object:
    """Return the traits, some of them under the names that Mixpanel has for them."""
    traits = fields.object("traits")
    others = load_fields().rudder if isinstance(traits, PathObject) else {}
    named = {name: other for other, name in others.items() if name}

    def either(name: str) -> spec.Expression:
        """Return a trait by the name that it has elsewhere, or else by RudderStack's."""
        own = trait(fields, name)
        if name not in named:
            return own
        return spec.First((own, spec.If(IS_RUDDER, trait(fields, named[name]))))

    in_rudder = spec.If(IS_RUDDER, trait(fields, named["createdAt"])) if named else NOTHING
    first, last = (named.get(name, "") for name in ("firstName", "lastName"))
    return spec.Object(
        (
            traits.layer(frozenset((*load_fields().reserved["user"], *others))),
            spec.Fields(
                (
                    *((name, spec.If(IS_RUDDER, None, trait(fields, name))) for name in others),
                    ("$created", spec.First((*created(fields).of, in_rudder))),
                    ("$email", trait(fields, "email")),
                    ("$first_name", either("firstName")),
                    ("$last_name", either("lastName")),
                    (
                        "$name",
                        spec.First(
                            (
                                trait(fields, "name", null=False),
                                _full_name(traits, "firstName", "lastName"),
                                spec.If(IS_RUDDER, _full_name(traits, first, last)),
                            )
                        ),
                    ),
                    ("$username", trait(fields, "username")),
                    ("$phone", trait(fields, "phone")),
                )
            ),
        )
    )


def _full_name(traits: ObjectSource, *names: str) -> spec.Expression:
    """Return the first and last name as one; nothing where a directive makes either."""
    first, last = (traits.member(key, spec.String()) for key in names)
    if isinstance(first, spec.Value) and isinstance(last, spec.Value):
        return spec.Join((first, " ", last), every=True)
    return NOTHING
