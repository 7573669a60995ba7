"""Objects as sources: one place in the event, or a table with a source for each member.

Actions read both the same way: all members at once, one by its name, or one whose name is itself
found in the event.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from fastmap import spec
from gateway.mapping.directives import SourceError, SourcePath, SourceReader, is_blank, is_directive
from gateway.mapping.profile import Source

__all__ = ["Members", "ObjectSource", "PathObject", "TableObject", "object_of"]

ReadValue: TypeAlias = Callable[[Source, spec.Conversion, str, SourcePath], spec.Expression]
Members: TypeAlias = tuple[tuple[str, spec.Expression | spec.Object], ...]


@dataclass(frozen=True, slots=True)
class PathObject:
    """An object that an event has somewhere."""

    path: spec.Path

    def member(self, key: str, convert: spec.Conversion, label: str = "") -> spec.Expression:
        """Return the value of one member."""
        return spec.Value(spec.Path(self.path.root, (*self.path.keys, key)), convert, label)

    def member_called(self, key: spec.Expression) -> spec.Expression:
        """Return the member whose name is the value of an expression, unless it is falsy."""
        return spec.Lookup(self.path, key, spec.Json(falsy=False))

    def layer(
        self, omit: frozenset[str], convert: spec.Number | None = None, label: str = ""
    ) -> spec.Layer:
        """Return all members but some."""
        return spec.Spread(self.path, omit, convert, label)

    def exists(self) -> spec.Condition:
        """Whether there is an object, even an empty one."""
        return spec.IsObject(self.path)

    def is_filled(self) -> spec.Condition:
        """Whether it has any members."""
        return spec.NotEmpty(self.path)

    def has_more_than(self, members: int) -> spec.Condition:
        """Whether it has more than some number of members."""
        return spec.MoreThan(self.path, members)


@dataclass(frozen=True, slots=True)
class TableObject:
    """An object that a mapping puts together."""

    table: Mapping[str, Source]
    place: SourcePath
    value: ReadValue

    def member(self, key: str, convert: spec.Conversion, label: str = "") -> spec.Expression:
        """Return the value of one member."""
        return self.value(self.table.get(key), convert, label, (*self.place, key))

    def member_called(self, key: spec.Expression) -> spec.Expression:
        """Return the member whose name is the value of an expression, unless it is falsy."""
        found = ((name, self.member(name, spec.Json(falsy=False))) for name in self._leaves())
        return spec.First(tuple(spec.If(spec.Equals(key, name), one) for name, one in found))

    def layer(
        self, omit: frozenset[str], convert: spec.Number | None = None, label: str = ""
    ) -> spec.Layer:
        """Return all members but some."""
        return spec.Fields(
            tuple(
                (key, self._any(key, source, convert or spec.Json(), label))
                for key, source in self.table.items()
                if key not in omit
            )
        )

    def exists(self) -> spec.Condition:
        """Whether there is an object, even an empty one."""
        return spec.Every(())

    def is_filled(self) -> spec.Condition:
        """Whether it has any members."""
        if len(self.table) > sum(1 for _ in self._leaves()):
            return spec.Every(())
        return spec.Some(tuple(spec.Has(self.member(key, spec.Json())) for key in self._leaves()))

    def has_more_than(self, members: int) -> spec.Condition:
        """Whether it has more than some number of members."""
        return spec.Every(()) if len(self.table) > members else spec.Some(())

    def _leaves(self) -> Iterator[str]:
        """Return the names of the members that are no tables themselves."""
        for key, source in self.table.items():
            if not isinstance(source, dict) or is_directive(source):
                yield key

    def _any(
        self, key: str, source: Source, convert: spec.Conversion, label: str
    ) -> spec.Expression | spec.Object:
        if isinstance(source, dict) and not is_directive(source) and isinstance(convert, spec.Json):
            inner = TableObject(source, (*self.place, key), self.value)
            return spec.Object((inner.layer(frozenset()),))
        return self.member(key, convert, label)


ObjectSource: TypeAlias = PathObject | TableObject


def object_of(
    source: Source, place: SourcePath, sources: SourceReader, value: ReadValue | None = None
) -> ObjectSource:
    """Return how a source for an object is read.

    :param value: reads the sources of a table's members.
    :raises SourceError: it can be no object.
    """
    path = sources.plain_path(source, place)
    if path is not None:
        return PathObject(path)
    if is_blank(source):
        return TableObject({}, place, value or sources.value)
    if isinstance(source, dict) and not is_directive(source):
        return TableObject(source, place, value or sources.value)
    raise SourceError(place, "expected a path or a table with a source for each member")
