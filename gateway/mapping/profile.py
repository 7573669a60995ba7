"""Reading the tables: profiles, fields and browser rules lie in TOML files beside this module."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec

from gateway.config import Action

__all__ = [
    "Constants",
    "FieldRule",
    "FieldRules",
    "Preset",
    "Profile",
    "Source",
    "load_fields",
    "load_profile",
    "load_table",
]

Source: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""Where a field is found: a path, several, a constant, a directive, or an object of sources."""


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a profile writes beside the fields; explained in ``profiles/syft.toml``."""

    source: str
    library_prefix: str
    source_name_property: str
    browsers: str
    group_created: bool


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events match, what is made of them, and where a field is found elsewhere."""

    subscribe: str
    action: Action
    fields: dict[str, Source] = {}


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of an action, each with its source."""

    fields: dict[str, Source]
    rows: str = ""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A complete mapping."""

    constants: Constants
    presets: dict[str, Preset]
    actions: dict[str, Table]
    rows: dict[str, dict[str, Source]]

    def fields_of(self, action: str) -> dict[str, Source]:
        """Return every field of an action with the source it has where nothing else is said."""
        table = self.actions[action]
        return self.rows.get(table.rows, {}) | table.fields


class FieldRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field's type and the properties it is written to."""

    type: str
    to: list[str]


class FieldRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``fields.toml``."""

    event: dict[str, FieldRule]
    product: dict[str, FieldRule]
    required: dict[str, list[list[str]]]
    rudder: dict[str, str]
    reserved: dict[str, list[str]]


def load_table(name: str) -> dict[str, Any]:
    """Return one of the TOML files of this package."""
    return tomllib.loads((files(__package__) / name).read_text("utf-8"))


@cache
def load_fields() -> FieldRules:
    """Return what becomes of each field."""
    return msgspec.convert(load_table("fields.toml"), FieldRules)


@cache
def load_profile(name: str) -> Profile:
    """Return a profile with what it extends filled in."""
    return msgspec.convert(_with_base(load_table(f"profiles/{name}.toml")), Profile)


def _with_base(table: dict[str, Any]) -> dict[str, Any]:
    base = table.pop("extends", None)
    return _merge(load_table(f"profiles/{base}.toml"), table) if base else table


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merge(below, value)
        merged[key] = value
    return merged
