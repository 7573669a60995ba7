"""What several actions share: settings, ids, and the members that most records have."""

from dataclasses import dataclass

import msgspec

from fastmap import spec
from gateway.mapping.actions.fields import ActionFields
from gateway.mapping.directives import NOTHING
from gateway.mapping.objects import Members, PathObject
from gateway.mapping.paths import ROOTS, event_path
from gateway.mapping.profile import Constants, load_fields
from gateway.model import ENDPOINTS
from gateway.policy import first_address

__all__ = [
    "ENGAGE",
    "EVENT_LIMITS",
    "GROUPS",
    "IMPORT",
    "INPUTS",
    "IS_RUDDER",
    "TIME",
    "TRACK",
    "UPDATE_LIMITS",
    "Settings",
    "address",
    "created",
    "distinct_id",
    "forbidden",
    "id_of",
    "insert_id",
    "origin",
    "prefixed",
    "source_name",
    "trait",
]

IMPORT, TRACK, ENGAGE, GROUPS = range(len(ENDPOINTS))

_CLIENT_IP = spec.Path("client_ip")
_FAMILY = spec.Path("family")
INPUTS = (*ROOTS.values(), _CLIENT_IP.root, _FAMILY.root)
"""The attributes of an event that mappings read."""

EVENT_LIMITS = spec.Limits(1024 * 1024, members=254, depth=5)
"""What Mixpanel takes: "1 MB", fewer than 255 properties, and objects three levels below them."""

UPDATE_LIMITS = spec.Limits(1024 * 1024)

TIME = spec.Value(event_path("$.timestamp"), spec.Time())

_MESSAGE_ID = event_path("$.messageId")

IS_RUDDER = spec.Equals(spec.Value(_FAMILY, spec.Json()), "rudder")
"""Whether traits are named as RudderStack's SDKs name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What records take from a destination's settings and profile."""

    token: str
    source_name: str
    group_key: str
    constants: Constants
    simplified: bool = False
    identify_event: str = ""


def forbidden() -> tuple[str, ...]:
    """Return what Mixpanel accepts as no id."""
    return tuple(load_fields().reserved["ids"])


def id_of(fields: ActionFields, name: str) -> spec.Expression:
    """Return a user's or device's id."""
    return fields.value(name, spec.Id(none_of=forbidden()))


def distinct_id(fields: ActionFields, settings: Settings) -> spec.Expression:
    """Return the id of whoever an event is about: the user, or else the device."""
    user, device = id_of(fields, "user_id"), id_of(fields, "anonymous_id")
    if settings.simplified:
        device = prefixed(fields, "anonymous_id", "$device:", device)
    return spec.First((user, device))


def prefixed(
    fields: ActionFields, name: str, prefix: str, expression: spec.Expression
) -> spec.Expression:
    """Return a field's text with another before it, without a value where it has none."""

    def within(part: spec.Expression | None) -> spec.Expression | None:
        return None if part is None else prefixed(fields, name, prefix, part)

    match expression:
        case spec.Value():
            return spec.Join((prefix, expression), every=True)
        case spec.Const(str(text)):
            return spec.Const(prefix + text)
        case spec.First(several):
            return spec.First(tuple(prefixed(fields, name, prefix, one) for one in several))
        case spec.If(condition, then, otherwise):
            return spec.If(condition, within(then), within(otherwise))
        case spec.Join(parts, every=False):
            return spec.Join((prefix, *parts))
        case _:
            fields.report((name,), "expected a path, a list of paths, @if or a constant")
            return NOTHING


def insert_id(fields: ActionFields) -> spec.Expression:
    """Return the id by which Mixpanel finds duplicates; without a field, the message's."""
    convert = spec.UniqueId(forbidden())
    own = spec.Value(_MESSAGE_ID, convert, "insert_id")
    if "insert_id" not in fields:
        return own
    found = fields.value("insert_id", convert)
    return own if found in (own, NOTHING) else spec.First((found, own))


def _forwarded(text: str) -> tuple[str | None]:
    try:
        return (first_address(msgspec.json.decode(text)),)
    except (msgspec.DecodeError, RecursionError):
        return (None,)


_FORWARDED = spec.Derived(spec.Derivation(_forwarded, outputs=1, takes_json=True), 0)


def address(fields: ActionFields) -> tuple[spec.Expression, ...]:
    """Return the event's address, as it is or with what proxies and ports add, and the client's."""
    plain = fields.value("ip", spec.Ip(), is_last=False)
    return plain, fields.value("ip", _FORWARDED), spec.Value(_CLIENT_IP, spec.Ip())


def source_name(settings: Settings) -> Members:
    """Return the property with the configured name of the source; none when that is blank."""
    if not settings.source_name.strip():
        return ()
    return ((settings.constants.source_name_property, spec.Const(settings.source_name)),)


def origin(fields: ActionFields, settings: Settings) -> spec.Expression:
    """Return ``$source``: events that Iterable sends are its own, as in the original."""
    ours = spec.Const(settings.constants.source)
    context = fields.object("context")
    if not isinstance(context, PathObject):
        return ours
    name = spec.Path(context.path.root, (*context.path.keys, "integration", "name"))
    return spec.First((spec.Value(name, spec.String(one_of=("Iterable",))), ours))


def trait(fields: ActionFields, key: str, *, null: bool = True) -> spec.Expression:
    """Return a trait as it is.

    :param null: whether null is a value.
    """
    return fields.object("traits").member(key, spec.Json(null=null))


def created(fields: ActionFields) -> spec.First:
    """Return ``$created`` from the traits that mean it."""
    return spec.First(
        (
            trait(fields, "created", null=False),
            trait(fields, "createdAt", null=False),
            trait(fields, "created_at"),
        )
    )
