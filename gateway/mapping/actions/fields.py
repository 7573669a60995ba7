"""The fields of an action: their sources read as expressions, and every mistake in them."""

import difflib
from collections.abc import Iterable, Mapping

from fastmap import spec
from gateway.mapping.directives import (
    NOTHING,
    SourceError,
    SourcePath,
    SourceReader,
    is_blank,
    is_directive,
)
from gateway.mapping.objects import ObjectSource, TableObject, object_of
from gateway.mapping.profile import Source, load_fields

__all__ = ["ActionFields", "MappingError"]


class MappingError(ValueError):
    """A mapping that cannot be used.

    :param problems: what is wrong, by place.
    """

    def __init__(self, problems: Mapping[SourcePath, str]) -> None:
        super().__init__("; ".join(str(SourceError(*problem)) for problem in problems.items()))
        self.problems = problems


class ActionFields:
    """What a subscription says about the fields of its action.

    A mistake is noted in ``problems``, and its field has no value: so all of them are found.

    :param defaults: a source for each field that the action has.
    :param given: the sources that replace some of them.
    """

    def __init__(self, defaults: Mapping[str, Source], given: Mapping[str, Source]) -> None:
        self._sources = {**defaults, **{key: given[key] for key in given if key in defaults}}
        self._reader = SourceReader()
        self.problems: dict[SourcePath, str] = {}
        self.check_names((), given, defaults, "field")

    def check(self, action: str) -> None:
        """Note the fields that the action cannot do without, and members that it does not know."""
        rules = load_fields()
        for alternatives in rules.required.get(action, ()):
            if all(is_blank(self._sources.get(name)) for name in alternatives):
                self.report(
                    (alternatives[0],), f"missing; {action} needs {' or '.join(alternatives)}"
                )
        for name, source in self._sources.items():
            members = [key.partition(".")[2] for key in rules.event if key.startswith(f"{name}.")]
            if members and isinstance(source, dict) and not is_directive(source):
                self.check_names((name,), source, members, "member")

    def check_names(
        self, place: SourcePath, given: Iterable[str], accepted: Iterable[str], kind: str
    ) -> None:
        """Note what of the names given is not accepted."""
        known = list(accepted)
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f'did you mean "{near[0]}"? ' if near else ""
                self.report((*place, name), f"unknown {kind}; {hint}accepted: {', '.join(known)}")

    def report(self, place: SourcePath, problem: str) -> None:
        """Note a mistake; the first one of a place is kept."""
        self.problems.setdefault(place, problem)

    def __contains__(self, name: str) -> bool:
        """Whether the action has a field of this name."""
        return name in self._sources

    def source(self, name: str) -> Source:
        """Return a field's source."""
        return self._sources.get(name)

    def value(
        self, name: str, convert: spec.Conversion, *, is_last: bool = True
    ) -> spec.Expression:
        """Return the expression of a field.

        :param is_last: whether a value that cannot be converted is lost; else another conversion of
            the same field follows.
        """
        return self._value(self.source(name), convert, name if is_last else "", (name,))

    def _value(
        self, source: Source, convert: spec.Conversion, label: str, place: SourcePath
    ) -> spec.Expression:
        try:
            return self._reader.value(source, convert, label, place)
        except SourceError as error:
            self.report(error.place, error.problem)
            return NOTHING

    def object(self, name: str) -> ObjectSource:
        """Return a field that is an object."""
        place = (name,)
        try:
            return object_of(self.source(name), place, self._reader, self._value)
        except SourceError as error:
            self.report(error.place, error.problem)
            return TableObject({}, place, self._value)
