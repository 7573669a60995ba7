"""The configuration as JSON Schema, for editors and other programs.

What it allows is a little more than what is accepted: it leaves out what depends on several keys,
and what JSON Schema cannot say of a text.
"""

from typing import Any

import msgspec

from gateway.config.kinds import item_of, keys_of, leaf_of, tables_of, tag_of, unit_of
from gateway.config.reference import plain
from gateway.config.schema import Config
from gateway.config.values import UNITS

__all__ = ["json_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""A text that is filled in from the environment can stand for every plain value."""

_MEASURE = {"type": "string", "pattern": r"^\s*[0-9]|\$\{"}
"""A number with a unit."""


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file, in the draft 2020-12."""
    definitions: dict[str, Any] = {}
    _define(Config, definitions)
    whole = definitions.pop(Config.__name__)
    return {
        "$schema": _DRAFT,
        "title": "mixpanel-gateway",
        "description": "The configuration of mixpanel-gateway.",
        **whole,
        "$defs": dict(sorted(definitions.items())),
    }


def _define(table: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Add the schema of a table, and return one that refers to it."""
    name = table.__name__
    if name not in definitions:
        definitions[name] = {}  # so that nothing is defined twice
        definitions[name] = _table(table, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _table(table: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    if tag := tag_of(table):
        properties[tag[0]] = {"anyOf": [{"const": tag[1]}, _VARIABLE], "default": tag[1]}
    for key in keys_of(table).values():
        accepted = _value(key.kind, key.name, definitions)
        if key.is_optional:
            accepted = _any_of(accepted, {"type": "null"})
        found = {"description": plain(key.doc.text).replace("`", ""), **accepted}
        leaf = leaf_of(item_of(key.kind) or key.kind)
        if leaf is not None and leaf.hidden:
            found["writeOnly"] = True  # a secret, or what may hold one: not to be shown
        if key.is_required:
            required.append(key.name)
        elif not tables_of(key.kind):
            found["default"] = _plain(key.default)
        properties[key.name] = found
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {}) | {"additionalProperties": False}


def _value(kind: Any, key: str, definitions: dict[str, Any]) -> dict[str, Any]:
    if tables := tables_of(kind):
        return _any_of(*(_define(table, definitions) for table in tables))
    item = item_of(kind)
    if item is not None:
        inner = _value(item, key, definitions)
        found = {"type": "array", "items": inner}
        return found if tables_of(item) else _any_of(found, _VARIABLE)
    leaf = leaf_of(kind)
    if leaf is not None:
        one = dict(leaf.schema or {"type": "string"})
        found = one if one == {"type": "string"} else _any_of(one, _VARIABLE)
        if not leaf.may_be_list:
            return found
        return _any_of(found, {"type": "array", "items": found, "minItems": 1})
    return _of_msgspec(kind, key)


def _of_msgspec(kind: Any, key: str) -> dict[str, Any]:
    """Return the schema of what msgspec converts by itself, as it generates it."""
    found = msgspec.json.schema(kind)
    if found.get("type") == "string":
        return found
    return _any_of(found, _MEASURE if unit_of(kind, key, UNITS) else _VARIABLE)


def _any_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    flat: list[dict[str, Any]] = []
    for each in schemas:
        flat += each["anyOf"] if set(each) == {"anyOf"} else [each]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else getattr(value, "name", value)
