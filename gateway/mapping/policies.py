"""The policies of sources, which have to know what the mappings make of an event."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import get_args

from fastmap import spec
from gateway.config import Config, DestinationConfig, IpPolicy
from gateway.mapping.actions.common import forbidden
from gateway.mapping.plans import choices
from gateway.policy import SourcePolicy, policy_of

__all__ = ["address_places", "policies_of"]


def policies_of(config: Config) -> dict[tuple[str, IpPolicy], SourcePolicy | None]:
    """Return what is done with the events of each source, by what a request asks for.

    None stands for nothing: they are taken as they come.
    """
    addresses = address_places(config.destinations)
    nobody = frozenset(forbidden())
    return {
        (source.name, asked): policy_of(source, asked, addresses=addresses, nobody=nobody)
        for source in config.sources
        for asked in get_args(IpPolicy)
    }


def address_places(destinations: Sequence[DestinationConfig]) -> frozenset[str]:
    """Return the places in events that are sent as addresses by some destination.

    They are written as in ``context.ip``; indices of lists are left out.
    """
    return frozenset(
        _place(path)
        for destination in destinations
        for source in ("", *(name for one in destination.subscriptions for name in one.sources))
        for node in _within(tuple(choices(destination, source).values()))
        if isinstance(node, spec.Value | spec.Converted) and isinstance(node.convert, spec.Ip)
        for path in _within(node)
        if isinstance(path, spec.Path)
    )


def _place(path: spec.Path) -> str:
    return ".".join((path.root, *(key for key in path.keys if isinstance(key, str))))


def _within(node: object) -> Iterator[object]:
    """Give a part of a specification and all parts of it."""
    yield node
    if isinstance(node, tuple):
        for part in node:
            yield from _within(part)
    elif is_dataclass(node) and not isinstance(node, type):
        for field in fields(node):
            yield from _within(getattr(node, field.name))
