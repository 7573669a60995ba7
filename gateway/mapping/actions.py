"""Actions: what Mixpanel records an event becomes.

Each function takes the sources of an action's fields and returns the mapping that ``fastmap`` runs.
The types and names of the fields are data (``fields.toml``); the shapes of the records are here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastmap import spec
from gateway.mapping.browsers import browser_of
from gateway.mapping.profile import Constants, FieldRule, Source, load_fields
from gateway.mapping.sources import INPUTS, path_of, paths_of, value_of

__all__ = ["ACTIONS", "ENDPOINTS", "Settings"]

ENDPOINTS = ("import", "track", "engage", "groups")
"""Mixpanel's endpoints, in the order of the outputs of every mapping."""

_IMPORT, _TRACK, _ENGAGE, _GROUPS = range(len(ENDPOINTS))
_CLIENT_IP = spec.Value(spec.Path("client_ip"), spec.Ip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What records take from a destination's settings and profile."""

    token: str
    source_name: str
    group_key: str
    constants: Constants


Sources = Mapping[str, Source]
Members = tuple[tuple[str, spec.Expression | spec.Object], ...]


def _ids() -> spec.String:
    return spec.String(none_of=tuple(load_fields().reserved["ids"]))


def _typed(rule: FieldRule, source: Source, label: str, browsers: spec.Derivation) -> Members:
    """Return the members that a field becomes."""
    match rule.type:
        case "browser":
            return tuple(
                (name, value_of(source, spec.Derived(browsers, output), label))
                for output, name in enumerate(rule.to)
            )
        case "ip":
            found = value_of(source, spec.Ip(), label)
            value: spec.Expression = spec.First((found, _CLIENT_IP, spec.Const(0)))
        case "unique_id":
            none_of = tuple(load_fields().reserved["ids"])
            value = value_of(source, spec.UniqueId(none_of), label)
        case "id":
            value = value_of(source, _ids(), label)
        case simple:
            value = value_of(source, _SIMPLE[simple], label)
    return tuple((name, value) for name in rule.to)


_SIMPLE: dict[str, spec.Conversion] = {
    "string": spec.String(),
    "text": spec.String(empty=True),
    "number": spec.Number(),
    "boolean": spec.Boolean(),
    "time": spec.Time(),
}


def _flat(sources: Sources) -> dict[str, Source]:
    """Name the members of object fields ``field.member``."""
    flat: dict[str, Source] = {}
    for name, source in sources.items():
        if isinstance(source, dict) and not any(key.startswith("@") for key in source):
            flat |= {f"{name}.{member}": inner for member, inner in source.items()}
        else:
            flat[name] = source
    return flat


def _event_members(sources: Sources, settings: Settings) -> Members:
    constants = settings.constants
    browsers = spec.Derivation(browser_of(constants.browsers), outputs=2)
    flat = _flat(sources)
    members: list[tuple[str, spec.Expression | spec.Object]] = []
    for name, rule in load_fields().event.items():
        if name in flat:
            members.extend(_typed(rule, flat[name], name, browsers))
    named = dict(members)
    if "distinct_id" in named:
        known = named["distinct_id"]
        assert not isinstance(known, spec.Object)  # noqa: S101 - fields are expressions
        named["distinct_id"] = spec.First((known, spec.Const("")))
    if "library_name" in flat:
        library = spec.Value(paths_of(flat["library_name"])[0], spec.String(), "library_name")
        named["mp_lib"] = spec.Join((constants.library_prefix, library), every=True)
    # The original reads one value of the context: events that Iterable sends are its own.
    iterable = spec.Value(path_of("$.context.integration.name"), spec.String(one_of=("Iterable",)))
    named["$source"] = spec.First((iterable, spec.Const(constants.source)))
    return (*named.items(), *_source_name(settings))


def _source_name(settings: Settings) -> Members:
    if not settings.source_name.strip():
        return ()
    return ((settings.constants.source_name_property, spec.Const(settings.source_name)),)


def track_event(sources: Sources, settings: Settings) -> spec.Mapping:
    """Map to one event; the event's own properties win over the mapped ones."""
    name = value_of(sources["event"], spec.String(), "event")
    properties = spec.Object(
        (
            spec.Fields(_event_members(sources, settings)),
            *_own_properties(sources, load_fields().reserved["event"]),
        )
    )
    body = spec.Object((spec.Fields((("event", name), ("properties", properties))),))
    return spec.Mapping(
        inputs=INPUTS,
        require=((name, "missing_event_name"),),
        records=(spec.Record(_IMPORT, body),),
    )


def _own_properties(sources: Sources, omit: list[str]) -> tuple[spec.Spread, ...]:
    paths = paths_of(sources.get("event_properties", ""))
    return tuple(spec.Spread(path, frozenset(omit)) for path in paths[:1])


def track_purchase(sources: Sources, settings: Settings) -> spec.Mapping:
    """Map to the order's event and one "Product Purchased" for each product in it."""
    fields = load_fields()
    order = track_event(sources, settings)
    directive = sources["products"]
    assert isinstance(directive, dict)  # noqa: S101 - the tables say so
    array, names = directive["@arrayPath"]
    product: Members = tuple(
        (name, spec.Value(spec.Path(spec.ITEM, (key,)), _SIMPLE[rule.type], f"products.{key}"))
        for key, rule in fields.product.items()
        if key in names
        for name in rule.to
    )
    properties = spec.Object(
        (
            spec.Fields(_event_members(sources, settings)),
            *_own_properties(sources, fields.reserved["event"] + fields.reserved["product"]),
            spec.Fields(product),
        )
    )
    body = spec.Object(
        (spec.Fields((("event", spec.Const("Product Purchased")), ("properties", properties))),)
    )
    return spec.Mapping(
        inputs=order.inputs,
        require=order.require,
        records=(*order.records, spec.Record(_IMPORT, body, each=path_of(array))),
    )


def identify_user(sources: Sources, settings: Settings) -> spec.Mapping:
    """Map to ``$identify`` where both ids are known, and the traits to profile properties."""
    user = value_of(sources["user_id"], _ids(), "user_id")
    anonymous = value_of(sources["anonymous_id"], _ids(), "anonymous_id")
    traits = paths_of(sources["traits"])[0]
    token = ("token", spec.Const(settings.token))
    link = spec.Object(
        (
            spec.Fields(
                (
                    ("$identified_id", user),
                    ("$anon_id", anonymous),
                    token,
                    *_source_name(settings),
                )
            ),
        )
    )
    profile = spec.Object(
        (
            spec.Fields(
                (
                    ("$token", spec.Const(settings.token)),
                    ("$distinct_id", spec.First((user, anonymous))),
                    ("$ip", spec.First((value_of(sources["ip"], spec.Ip(), "ip"), _CLIENT_IP))),
                    ("$set", _user_traits(traits)),
                )
            ),
        )
    )
    event = spec.Object((spec.Fields((("event", spec.Const("$identify")), ("properties", link))),))
    return spec.Mapping(
        inputs=INPUTS,
        require=((spec.First((user, anonymous)), "missing_id"),),
        records=(
            spec.Record(_TRACK, event, when=(spec.Has(user), spec.Has(anonymous))),
            spec.Record(_ENGAGE, profile, when=(spec.NotEmpty(traits),)),
        ),
    )


def _trait(traits: spec.Path, key: str, *, null: bool = True) -> spec.Value:
    return spec.Value(spec.Path(traits.root, (*traits.keys, key)), spec.Json(null=null))


def _user_traits(traits: spec.Path) -> spec.Object:
    def text(key: str) -> spec.Value:
        return spec.Value(spec.Path(traits.root, (*traits.keys, key)), spec.String())

    full_name = spec.Join((text("firstName"), " ", text("lastName")), every=True)
    return spec.Object(
        (
            spec.Spread(traits, frozenset(load_fields().reserved["user"])),
            spec.Fields(
                (
                    ("$created", _created(traits)),
                    ("$email", _trait(traits, "email")),
                    ("$first_name", _trait(traits, "firstName")),
                    ("$last_name", _trait(traits, "lastName")),
                    ("$name", spec.First((_trait(traits, "name", null=False), full_name))),
                    ("$username", _trait(traits, "username")),
                    ("$phone", _trait(traits, "phone")),
                )
            ),
        )
    )


def _created(traits: spec.Path) -> spec.Expression:
    return spec.First(
        (
            _trait(traits, "created", null=False),
            _trait(traits, "createdAt", null=False),
            _trait(traits, "created_at"),
        )
    )


def group_identify_user(sources: Sources, settings: Settings) -> spec.Mapping:
    """Map the traits of a group to properties of its profile."""
    fields = load_fields()
    created = settings.constants.group_created
    traits = paths_of(sources["traits"])[0]
    group_id = value_of(sources["group_id"], spec.String(), "group_id")
    default_key = spec.Const(settings.group_key or "$group_id")
    key = spec.First(
        (value_of(sources.get("group_key", ""), spec.String(), "group_key"), default_key)
    )
    mapped: Members = (("$name", _trait(traits, "name")),)
    if created:
        mapped = (*mapped, ("$created", _created(traits)))
    omit = fields.reserved["group"] + (fields.reserved["group_created"] if created else [])
    body = spec.Object(
        (
            spec.Fields(
                (
                    ("$token", spec.Const(settings.token)),
                    ("$group_key", key),
                    # A trait named like the group key is the id, unless it is empty.
                    (
                        "$group_id",
                        spec.First((spec.Lookup(traits, key, spec.Json(falsy=False)), group_id)),
                    ),
                    (
                        "$set",
                        spec.Object((spec.Spread(traits, frozenset(omit)), spec.Fields(mapped))),
                    ),
                )
            ),
        )
    )
    return spec.Mapping(
        inputs=INPUTS,
        require=((group_id, "missing_group_id"),),
        records=(spec.Record(_GROUPS, body, when=(spec.IsObject(traits),)),),
    )


ACTIONS: dict[str, Callable[[Sources, Settings], spec.Mapping]] = {
    "trackEvent": track_event,
    "trackPurchase": track_purchase,
    "identifyUser": identify_user,
    "groupIdentifyUser": group_identify_user,
}
"""Actions by the names that configurations use."""
