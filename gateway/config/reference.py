"""What can be set, for people: each key with its default, what is accepted, and its meaning."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway.config.kinds import (
    Key,
    described,
    item_of,
    keys_of,
    leaf_of,
    tables_of,
    tag_of,
    unit_of,
)
from gateway.config.load import VARIABLES
from gateway.config.reader import KeyPath
from gateway.config.schema import Config
from gateway.config.values import UNITS, Secret

__all__ = ["KeyEntry", "entries"]

_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_MORE = re.compile(r" \(\[more\]\([^)]+\)\)")


class KeyEntry(NamedTuple):
    """A key of the configuration.

    :param path: as in ``sources[].name``.
    :param table: the path of what it stands in; "" at the top.
    :param accepted: what may stand there.
    :param default: as Markdown; "" where it has to be given.
    :param variable: of the environment, where there is no file; "" for none.
    :param text: what it means, as Markdown with links as from a page in ``docs``.
    """

    path: str
    table: str
    accepted: str
    default: str
    variable: str
    text: str

    @property
    def plain_text(self) -> str:
        """What it means, without links."""
        return plain(self.text)


def plain(text: str) -> str:
    """Return Markdown without its links."""
    return _LINK.sub(r"\1", _MORE.sub("", text))


def entries() -> list[KeyEntry]:
    """Return all keys, in the order of the schema; of tables only what is in them."""
    return list(_of_table(Config, "", ()))


def _of_table(table: Any, path: str, place: KeyPath) -> Iterator[KeyEntry]:
    for key in keys_of(table).values():
        own, at = f"{path}.{key.name}" if path else key.name, (*place, key.name)
        inner = tables_of(item_of(key.kind) or key.kind)
        if not inner or key.is_optional:
            yield KeyEntry(own, path, _accepted(key), _default(key), _variable(at), key.doc.text)
        is_list = item_of(key.kind) is not None
        own, at = (f"{own}[]", (*at, 0)) if is_list else (own, at)
        for each in inner:
            yield from _tag(inner, own, at) if each is inner[0] else ()
            yield from _of_table(each, own, at)


def _tag(tables: tuple[Any, ...], path: str, place: KeyPath) -> Iterator[KeyEntry]:
    tags = [tag for tag in map(tag_of, tables) if tag]
    if tags:
        name, default = tags[0]
        accepted = ", ".join(value for _, value in tags)
        text = "how it is kept" + ("; there is no other way in this version" * (len(tags) == 1))
        own = f"{path}.{name}"
        yield KeyEntry(own, path, accepted, f"`{default}`", _variable((*place, name)), text)


def _variable(place: KeyPath) -> str:
    return VARIABLES.get(place, "")


def _accepted(key: Key) -> str:
    item = item_of(key.kind)
    if tables_of(item or key.kind):
        names = ", ".join(keys_of(tables_of(item or key.kind)[0]))
        return f"a table with {names}" if item is None else "a list of tables"
    kind = key.kind if item is None else item
    leaf = leaf_of(kind)
    accepted = leaf.expected if leaf else described(kind, unit_of(kind, key.name, UNITS))
    return accepted if item is None else f"a list; each {accepted}"


def _default(key: Key) -> str:
    if key.doc.default or key.is_required:
        return key.doc.default
    value = key.default
    match value:
        case None | () | "":
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            unit = unit_of(key.kind, key.name, UNITS)
            return f"`{unit.show(value) if unit else format(value, 'g' if value < 1e6 else 'd')}`"
        case Secret():
            raise TypeError(f"{key.name} has a secret for a default")
        case _:
            return f"`{getattr(value, 'name', value)}`"
