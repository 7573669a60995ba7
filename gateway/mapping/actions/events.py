"""Events: trackEvent and trackPurchase."""

from functools import cache

from fastmap import spec
from gateway.mapping.actions.common import (
    EVENT_LIMITS,
    IMPORT,
    INPUTS,
    Settings,
    address,
    distinct_id,
    id_of,
    insert_id,
    origin,
    prefixed,
    source_name,
)
from gateway.mapping.actions.fields import ActionFields
from gateway.mapping.browsers import browser_of
from gateway.mapping.directives import NOTHING, SourceError, SourceReader
from gateway.mapping.objects import Members
from gateway.mapping.paths import item_path
from gateway.mapping.profile import FieldRule, Source, load_fields

__all__ = ["track_event", "track_purchase"]

_SIMPLE: dict[str, spec.Conversion] = {
    "string": spec.String(),
    "text": spec.String(empty=True),
    "number": spec.Number(),
    "boolean": spec.Boolean(),
    "time": spec.Time(),
}


@cache
def _browsers(profile: str) -> spec.Derivation:
    return spec.Derivation(browser_of(profile), outputs=2)


def track_event(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map to one event; the event's own properties win over the mapped ones."""
    name = fields.value("event", spec.String())
    own = fields.object("event_properties").layer(frozenset(load_fields().reserved["event"]))
    properties = spec.Object((spec.Fields(_members(fields, settings)), own))
    body = spec.Object((spec.Fields((("event", name), ("properties", properties))),))
    return spec.Mapping(
        inputs=INPUTS,
        require=((name, "missing_event_name"),),
        records=(spec.Record(IMPORT, body, limits=EVENT_LIMITS),),
    )


def track_purchase(fields: ActionFields, settings: Settings) -> spec.Mapping:
    """Map to the order's event and one "Product Purchased" for each product in it."""
    order = track_event(fields, settings)
    products = _products(fields)
    if products is None:
        return order
    array, product = products
    reserved = load_fields().reserved
    own = frozenset(reserved["event"] + reserved["product"])
    properties = spec.Object(
        (
            spec.Fields(_members(fields, settings)),
            fields.object("event_properties").layer(own),
            spec.Fields(product),
        )
    )
    body = spec.Object(
        (spec.Fields((("event", spec.Const("Product Purchased")), ("properties", properties))),)
    )
    wanted = fields.value("generatePurchaseEventPerProduct", spec.Boolean())
    when = () if wanted == spec.Const(True) else (spec.Equals(wanted, True),)
    return spec.Mapping(
        inputs=order.inputs,
        require=order.require,
        records=(*order.records, spec.Record(IMPORT, body, when, each=array, limits=EVENT_LIMITS)),
    )


def _members(fields: ActionFields, settings: Settings) -> Members:
    """Return the properties that are mapped, in the order of the tables."""
    members: dict[str, spec.Expression | spec.Object] = {}
    for name, rule in load_fields().event.items():
        if name.partition(".")[0] in fields:
            members.update(_typed(fields, name, rule, settings))
    library = fields.value("library_name", spec.String())
    members["mp_lib"] = prefixed(fields, "library_name", settings.constants.library_prefix, library)
    members["$source"] = origin(fields, settings)
    found = ((name, value) for name, value in members.items() if value != NOTHING)
    return (*found, *source_name(settings))


def _typed(fields: ActionFields, name: str, rule: FieldRule, settings: Settings) -> Members:
    """Return the members that a field becomes."""
    match rule.type:
        case "browser":
            browsers = _browsers(settings.constants.browsers)
            return tuple(
                (to, fields.value(name, spec.Derived(browsers, output)))
                for output, to in enumerate(rule.to)
            )
        case "distinct_id":
            found = distinct_id(fields, settings) if settings.simplified else id_of(fields, name)
            # "id" says who it is, distinct_id also that it is nobody.
            values = (found, spec.First((found, spec.Const(""))))
            return tuple(zip(rule.to, values, strict=True))
        case "ip":
            value: spec.Expression = spec.First((*address(fields), spec.Const(0)))
        case "unique_id":
            value = insert_id(fields)
        case "id":
            value = id_of(fields, name)
        case "ids":
            value = fields.value(name, spec.Id(several=True))
        case simple if "." in name:
            field, _, member = name.partition(".")
            value = fields.object(field).member(member, _SIMPLE[simple], name)
        case simple:
            value = fields.value(name, _SIMPLE[simple])
    return tuple((to, value) for to in rule.to)


def _products(fields: ActionFields) -> tuple[spec.Path, Members] | None:
    """Return where the products are and what is sent of each; None when there are none."""
    try:
        return _expansion(fields, fields.source("products"))
    except SourceError as error:
        fields.report(error.place, error.problem)
        return None


def _expansion(fields: ActionFields, source: Source) -> tuple[spec.Path, Members] | None:
    place = ("products", "@arrayPath")
    match source:
        case None | "":
            return None
        case {"@arrayPath": [array, *shapes], **others} if not others and len(shapes) <= 1:
            path = SourceReader().plain_path(array, (*place, 0))
        case _:
            raise SourceError(place[:1], 'expected {"@arrayPath": [path, {field: source, ...}]}')
    if path is None:
        raise SourceError((*place, 0), "expected a path")
    return path, _product(fields, shapes[0] if shapes else list(load_fields().product))


def _product(fields: ActionFields, shape: object) -> Members:
    """Return the properties of a product: paths in their sources start at the product."""
    place = ("products", "@arrayPath", 1)
    rules = load_fields().product
    if isinstance(shape, list):  # names that stay as they are
        shape = {name: {"@path": name} for name in shape if isinstance(name, str)}
    if not isinstance(shape, dict):
        raise SourceError(
            place, "expected a table with a source for each field, or a list of names"
        )
    fields.check_names(place, shape, rules, "field")
    items = SourceReader(item_path)
    return tuple(
        (to, items.value(shape[name], _SIMPLE[rule.type], f"products.{name}", (*place, name)))
        for name, rule in rules.items()
        if name in shape
        for to in rule.to
    )
