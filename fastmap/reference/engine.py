"""Running a mapping over decoded inputs, noting what becomes of each value."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fastmap import spec
from fastmap.limits import excess_of
from fastmap.reference.conditions import changed_text, is_true_of
from fastmap.reference.conversions import Moment, convert
from fastmap.reference.values import ABSENT, JsonValue, Nothing, Numeral, is_blank, read_input

__all__ = ["Note", "Result", "Source", "run"]

_MAX_ITEMS = 1000  # records that one array can become

Source: TypeAlias = spec.Expression | spec.Spread
"""The part of a mapping that gives a value."""

Keys: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one value.

    :param record: index in ``Result.records``; None for what was read outside of records.
    :param keys: the members of the record that lead to it.
    :param source: what gave it, the innermost of alternatives.
    :param whole: the expression with all alternatives, or the Spread.
    :param value: what was written, or what was not.
    :param lost: why it was not written; empty when it was.
    """

    record: int | None
    keys: Keys
    source: Source
    whole: Source
    value: JsonValue
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What is made of one event.

    :param records: the index of the output and the record, in the order of writing.
    :param reason: why nothing is made of the event; None when its mappings ran to their end.
    :param is_rejected: whether that is the reason of a rejection; else the event was skipped.
    :param dropped: how many values could not be converted, by label.
    :param notes: in the order in which things happened, also before a rejection.
    """

    records: tuple[tuple[int, dict[str, JsonValue]], ...]
    reason: str | None
    is_rejected: bool
    dropped: dict[str, int]
    notes: tuple[Note, ...]


def run(
    mapping: spec.Mapping | spec.Choice, event: object, received_ms: int, skew_ms: int = 0
) -> Result:
    """Return what a mapping makes of an event.

    :param event: an object with an attribute for each input: None, a str, a number, or raw JSON.
    :param received_ms: time of receipt, epoch milliseconds.
    :param skew_ms: added to times of the input.
    :raises MalformedInput: an input is not JSON or not Unicode text.
    """
    choice = mapping if isinstance(mapping, spec.Choice) else spec.Choice(((None, mapping),))
    names = dict.fromkeys(name for _, case in choice.cases for name in case.inputs)
    roots = {name: read_input(name, getattr(event, name)) for name in names}
    return _Run(roots, Moment(received_ms, skew_ms)).choose(choice)


def _objects_of(value: JsonValue | Nothing) -> Sequence[JsonValue | Nothing]:
    """Return the items of an array that are objects, ``Nothing`` in place of the others."""
    items = value if isinstance(value, list) else [value]
    if isinstance(value, dict) and value and all(re.fullmatch("[0-9]+", key) for key in value):
        items = list(value.values())
    return [item if isinstance(item, dict) else ABSENT for item in items]


class _Rejected(Exception):
    """Carries the reason."""


class _Run:
    """One event on its way through a mapping."""

    def __init__(self, roots: dict[str, JsonValue | Nothing], moment: Moment) -> None:
        self.roots = roots
        self.moment = moment
        self.records: list[tuple[int, dict[str, JsonValue]]] = []
        self.dropped: Counter[str] = Counter()
        self.counted: set[str] = set()  # labels, for this event or this item of an array
        self.notes: list[Note] = []
        self.record: int | None = None
        self.keys: Keys = ()
        self.is_trial = False  # whether a value is read only to note that it is overridden
        self.is_asking = False  # or only for a condition: what is lost there is missing nowhere

    def choose(self, choice: spec.Choice) -> Result:
        """Run every case that applies."""
        for condition, reason in choice.skip:
            if self.holds(condition):
                return self.result(reason)
        is_matched = False
        for case, mapping in choice.cases:
            if case is None or self.holds(case):
                is_matched = True
                try:
                    self.map(mapping)
                except _Rejected as rejected:
                    return self.result(str(rejected), is_rejected=True)
        return self.result(None if is_matched else choice.unmatched)

    def result(self, reason: str | None, *, is_rejected: bool = False) -> Result:
        """Return what was made; nothing where there is a reason."""
        records = tuple(self.records) if reason is None else ()
        return Result(records, reason, is_rejected, dict(self.dropped), tuple(self.notes))

    def map(self, mapping: spec.Mapping) -> None:
        """Write the records of one mapping.

        :raises _Rejected: the event lacks something, or has something that it must not have.
        """
        for expression, reason in mapping.require:
            if not self.has(expression):
                raise _Rejected(reason)
        for condition, reason in mapping.reject:
            if self.holds(condition):
                raise _Rejected(reason)
        for record in mapping.records:
            if not all(self.holds(condition) for condition in record.when):
                continue
            if record.each is None:
                self.write(record)
            elif isinstance(record.each, spec.Path):
                self.write_each(record, _objects_of(self.at(record.each)))
            else:
                found = self.evaluate(record.each)
                items = [] if isinstance(found, Nothing) else found
                self.write_each(record, items if isinstance(items, list) else [items])

    def write_each(self, record: spec.Record, items: Sequence[JsonValue | Nothing]) -> None:
        """Write a record for each item that is something."""
        of_event = self.moment, self.counted
        for number, item in enumerate(items):
            if isinstance(item, Nothing):
                continue
            if number >= _MAX_ITEMS:
                raise _Rejected("too_many_items")
            self.roots[spec.ITEM] = item
            self.moment, self.counted = replace(self.moment, item=number), set()
            self.write(record)
            self.moment, self.counted = of_event
            self.roots[spec.ITEM] = ABSENT

    def write(self, record: spec.Record) -> None:
        """Write one record, whose size is not looked at: that is a matter of the text.

        :raises _Rejected: it exceeds its limits.
        """
        self.record = len(self.records)
        made = self.object_of(record.body)
        excess = record.limits and record.limits.depth and excess_of(made, record.limits)
        if excess:
            raise _Rejected(excess)
        self.records.append((record.output, made))
        self.record = None

    def object_of(self, body: spec.Object) -> dict[str, JsonValue]:
        """Return what the layers make, later ones first: who writes a key first keeps it."""
        written: dict[str, JsonValue] = {}
        outside = self.keys
        for layer in reversed(body.layers):
            if isinstance(layer, spec.Spread):
                self.spread(layer, written)
                continue
            for key, member in layer.members:
                self.keys = (*outside, key)
                self.member(key, member, written)
                self.keys = outside
        return written

    def member(
        self, key: str, member: spec.Expression | spec.Object, written: dict[str, JsonValue]
    ) -> None:
        """Write one member of an object, unless a later layer has."""
        if isinstance(member, spec.Object):
            if key not in written:
                written[key] = self.object_of(member)
            return
        self.is_trial = key in written
        value, source = self.find(member)
        self.is_trial = False
        self.put(key, value, source, member, written)

    def spread(self, spread: spec.Spread, written: dict[str, JsonValue]) -> None:
        """Write the members of another object."""
        members = self.at(spread.path)
        if not isinstance(members, dict):
            self.lose(members, "not an object", spread)
            return
        outside = self.keys
        for key, value in members.items():
            self.keys = (*outside, key)
            if key in spread.omit:
                self.note(spread, spread, value, "omitted")
            elif spread.convert is None or key in written:
                self.put(key, value, spread, spread, written)
            else:
                number = self.converted(value, spread.convert, spread)
                self.put(key, number, spread, spread, written)
            self.keys = outside

    def put(
        self,
        key: str,
        value: JsonValue | Nothing,
        source: Source,
        whole: Source,
        written: dict[str, JsonValue],
    ) -> None:
        """Write a value, if there is one, under a key that is free."""
        if isinstance(value, Nothing):
            return
        self.note(source, whole, value, "overridden" if key in written else "")
        written.setdefault(key, value)

    def note(self, source: Source, whole: Source, value: JsonValue, lost: str) -> None:
        """Remember what became of a value."""
        self.notes.append(Note(self.record, self.keys, source, whole, value, lost))

    def lose(self, value: JsonValue | Nothing, why: str, source: Source) -> None:
        """Note that a value is not written, unless there was nothing to lose."""
        if not (self.is_trial or is_blank(value) or isinstance(value, Nothing)):
            self.note(source, source, value, why)

    def at(self, path: spec.Path) -> JsonValue | Nothing:
        """Return what is found at a path."""
        value = self.roots.get(path.root, ABSENT)
        for key in path.keys:
            if isinstance(value, dict) and isinstance(key, str):
                value = value.get(key, ABSENT)
            elif isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
                value = value[key]
            else:
                return ABSENT
        return value

    def evaluate(self, expression: spec.Expression) -> JsonValue | Nothing:
        """Return the value of an expression."""
        return self.find(expression)[0]

    def asked(self, expression: spec.Expression) -> JsonValue | Nothing:
        """Return the value of an expression for a condition, counting nothing."""
        was_asking, self.is_asking = self.is_asking, True
        value = self.evaluate(expression)
        self.is_asking = was_asking
        return value

    def has(self, expression: spec.Expression) -> bool:
        """Whether an expression has a value."""
        return not isinstance(self.asked(expression), Nothing)

    def find(self, expression: spec.Expression) -> tuple[JsonValue | Nothing, spec.Expression]:
        """Return the value of an expression, and which of its alternatives gave it."""
        match expression:
            case spec.First(alternatives):
                for one in alternatives:
                    value, source = self.find(one)
                    if not isinstance(value, Nothing):
                        return value, source
                return ABSENT, expression
            case spec.If(condition, then, otherwise):
                chosen = then if self.holds(condition) else otherwise
                return (ABSENT, expression) if chosen is None else self.find(chosen)
            case _:
                return self.value_of(expression), expression

    def value_of(
        self,
        expression: spec.Value
        | spec.Converted
        | spec.Const
        | spec.Join
        | spec.Lookup
        | spec.Case
        | spec.Replace,
    ) -> JsonValue | Nothing:
        """Return the value of an expression that has no alternatives."""
        match expression:
            case spec.Value(path, to):
                return self.converted(self.at(path), to, expression)
            case spec.Converted(of, to):
                return self.converted(self.evaluate(of), to, expression)
            case spec.Const(bool() | str() | None as value):
                return value
            case spec.Const(number):
                return Numeral(json.dumps(number))
            case spec.Join():
                return self.joined(expression)
            case spec.Lookup():
                return self.looked_up(expression)
            case spec.Case(of) | spec.Replace(of):
                text = self.evaluate(of)
                return changed_text(text, expression) if isinstance(text, str) else text

    def converted(
        self,
        value: JsonValue | Nothing,
        to: spec.Conversion,
        source: spec.Value | spec.Converted | spec.Spread,
    ) -> JsonValue | Nothing:
        """Return what a conversion makes of a value; count a value that it makes nothing of."""
        found = ABSENT if isinstance(value, Nothing) else convert(value, to, self.moment)
        if isinstance(found, Nothing):
            self.lose(value, found.why, source)
            is_lost = not isinstance(to, spec.Json) and not is_blank(value)
            if isinstance(to, spec.Derived) and isinstance(value, str):
                is_lost = is_lost and to.derivation.takes_json
            if is_lost:
                self.count(source)
            if isinstance(to, spec.Time):
                return Numeral(str(self.moment.received_ms - (self.moment.item + 1)))
        return found

    def count(self, source: spec.Value | spec.Converted | spec.Spread) -> None:
        """Count a value that could not be converted, unless its label was counted already.

        The members of a Spread are values of their own and are all counted.
        """
        if self.is_trial or self.is_asking or not source.label:
            return
        if isinstance(source, spec.Spread):
            self.dropped[source.label] += 1
        elif source.label not in self.counted:
            self.counted.add(source.label)
            self.dropped[source.label] += 1

    def joined(self, join: spec.Join) -> JsonValue | Nothing:
        """Return literal texts and string values as one string."""
        texts = []
        for part in join.parts:
            found = part if isinstance(part, str) else self.evaluate(part)
            if isinstance(found, Nothing) and join.every:
                return ABSENT
            texts.append(found if isinstance(found, str) else "")
        return "".join(texts)

    def looked_up(self, lookup: spec.Lookup) -> JsonValue | Nothing:
        """Return the member of an object that another value names."""
        members = self.at(lookup.path)
        key = self.evaluate(lookup.key) if isinstance(members, dict) else ABSENT
        if not isinstance(members, dict) or not isinstance(key, str) or key not in members:
            return ABSENT
        return convert(members[key], lookup.convert, self.moment)

    def holds(self, condition: spec.Condition) -> bool:
        """Whether a condition holds."""
        match condition:
            case spec.Not(one):
                return not self.holds(one)
            case spec.Every(several):
                return all(self.holds(one) for one in several)
            case spec.Some(several):
                return any(self.holds(one) for one in several)
            case spec.Has(expression):
                return self.has(expression)
            case spec.IsObject(path):
                return isinstance(self.at(path), dict)
            case spec.NotEmpty(path):
                return self.has_more_than(path, 0)
            case spec.MoreThan(path, members):
                return self.has_more_than(path, members)
            case _:
                value = self.asked(condition.of)
                return not isinstance(value, Nothing) and is_true_of(value, condition)

    def has_more_than(self, path: spec.Path, members: int) -> bool:
        """Whether there is an object with more than some number of members."""
        value = self.at(path)
        return isinstance(value, dict) and len(value) > members
