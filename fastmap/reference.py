"""What a mapping means, said slowly: the same language over decoded JSON, in plain Python.

``run`` gives the records that a compiled plan gives, and for each value where it came from or why it
is not there.  It shares nothing with the compiled core but the specification, so that tests can hold
one against the other.  It recurses with the depth of the input and is hundreds of times slower.
"""

import json
import operator
import re
from collections import Counter
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, TypeAlias, assert_never

from fastmap import spec
from fastmap.errors import MalformedInput
from fastmap.reference_values import (
    ABSENT,
    JsonValue,
    Moment,
    Nothing,
    Numeral,
    convert,
    decode,
    is_blank,
    is_falsy,
    number_in,
    text_of,
)

__all__ = ["JsonValue", "Note", "Numeral", "Result", "run"]

MAX_ITEMS = 1000
"""Records that one array can become."""

Source: TypeAlias = spec.Expression | spec.Spread | spec.Condition
Keys: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one value.

    :param record: index in ``Result.records``; None for what was read before any was begun.
    :param keys: the members of the record that lead to it.
    :param source: the part of the mapping that gave it.
    :param value: what was written, or would have been.
    :param lost: why it was not written; empty when it was.
    """

    record: int | None
    keys: Keys
    source: Source
    value: JsonValue
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What is made of one event.

    :param records: the index of the output and the record, in the order of writing.
    :param reason: why nothing was made of the event; None when the mapping ran to its end.
    :param rejected: whether the reason is that of a rejection; else the event was skipped.
    :param dropped: how many values could not be converted, by label.
    :param notes: in the order in which things happened.
    """

    records: tuple[tuple[int, dict[str, JsonValue]], ...]
    reason: str | None
    rejected: bool
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
    names = {name for _, case in choice.cases for name in case.inputs}
    roots = {name: _input(name, getattr(event, name)) for name in sorted(names)}
    return _Run(roots, Moment(received_ms, skew_ms)).choose(choice)


def _input(name: str, given: Any) -> JsonValue | Nothing:
    if isinstance(given, bool | None):
        return ABSENT if given is None else given
    if isinstance(given, int | float):
        return Numeral(str(given)) if isfinite(given) else ABSENT
    try:
        if isinstance(given, str):
            given.encode()
            return given
        text = bytes(memoryview(given))
        return decode(text) if text.strip(b" \t\r\n") else ABSENT
    except UnicodeEncodeError:
        raise MalformedInput(f"{name} holds half a surrogate pair") from None
    except MalformedInput as error:
        raise MalformedInput(f"{name}: {error}") from None
    except TypeError:
        return ABSENT


class _Stop(Exception):  # noqa: N818 - not an error
    """The event is rejected or skipped."""


class _Run:
    """One event on its way through a mapping."""

    def __init__(self, roots: dict[str, JsonValue | Nothing], moment: Moment) -> None:
        self.roots = roots
        self.moment = moment
        self.records: list[tuple[int, dict[str, JsonValue]]] = []
        self.dropped: Counter[str] = Counter()
        self.counted: set[str] = set()  # labels, by the event or by the item that is expanded
        self.notes: list[Note] = []
        self.record: int | None = None
        self.keys: Keys = ()
        self.is_trial = False  # whether what is evaluated will not be written

    def choose(self, choice: spec.Choice) -> Result:
        """Run every case that applies."""
        try:
            for condition, reason in choice.skip:
                if self.holds(condition):
                    return self.result(reason, rejected=False)
            cases = [
                mapping
                for condition, mapping in choice.cases
                if condition is None or self.holds(condition)
            ]
            if not cases:
                return self.result(choice.unmatched, rejected=False)
            for mapping in cases:
                self.map(mapping)
        except _Stop as stop:
            return self.result(str(stop), rejected=True)
        return self.result(None, rejected=False)

    def result(self, reason: str | None, *, rejected: bool) -> Result:
        """Return what was made; nothing when there is a reason."""
        records = tuple(self.records) if reason is None else ()
        return Result(records, reason, rejected, dict(self.dropped), tuple(self.notes))

    def map(self, mapping: spec.Mapping) -> None:
        """Write the records of one mapping.  Raises _Stop when it rejects the event."""
        for expression, reason in mapping.require:
            if isinstance(self.evaluate(expression), Nothing):
                raise _Stop(reason)
        for condition, reason in mapping.reject:
            if self.holds(condition):
                raise _Stop(reason)
        for record in mapping.records:
            missing = next((each for each in record.when if not self.holds(each)), None)
            if missing is not None:
                self.note(missing, None, "the record is not written: a condition does not hold")
            elif record.each is None:
                self.write(record)
            else:
                self.write_each(record, self.at(record.each))

    def write_each(self, record: spec.Record, array: JsonValue | Nothing) -> None:
        """Write a record for each object of an array; an object alone is an array of one."""
        items = [array] if isinstance(array, dict) else array if isinstance(array, list) else []
        outside, counted = self.moment, self.counted
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                continue
            if number >= MAX_ITEMS:
                raise _Stop("too_many_items")
            self.moment, self.counted = replace(outside, item=number), set()
            self.roots[spec.ITEM] = item
            self.write(record)
            del self.roots[spec.ITEM]
        self.moment, self.counted = outside, counted

    def write(self, record: spec.Record) -> None:
        """Write one record."""
        self.record = len(self.records)
        self.records.append((record.output, self.object_of(record.body)))
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
        """Write one member, unless a later layer has."""
        if isinstance(member, spec.Object):
            if key not in written:
                written[key] = self.object_of(member)
            return
        self.is_trial = key in written
        value, source = self.find(member)
        self.is_trial = False
        if not isinstance(value, Nothing):
            self.put(key, value, source, written)

    def spread(self, layer: spec.Spread, written: dict[str, JsonValue]) -> None:
        """Write the members of an object."""
        members = self.at(layer.path)
        if not isinstance(members, dict):
            if not is_blank(members):
                self.note(layer, members, "not an object")
            return
        outside = self.keys
        for key, value in members.items():
            self.keys = (*outside, key)
            if key in layer.omit:
                self.note(layer, value, "omitted")
            elif layer.convert is None or key in written:
                self.put(key, value, layer, written)
            else:
                found = self.converted(value, layer.convert, layer)
                if not isinstance(found, Nothing):
                    self.put(key, found, layer, written)
        self.keys = outside

    def put(
        self, key: str, value: JsonValue, source: Source, written: dict[str, JsonValue]
    ) -> None:
        """Write a value under a key that is free."""
        if key in written:
            self.note(source, value, "overridden by a later layer")
            return
        written[key] = value
        self.note(source, value)

    def note(self, source: Source, value: JsonValue, lost: str = "") -> None:
        """Remember what became of a value."""
        self.notes.append(Note(self.record, self.keys, source, value, lost))

    def at(self, path: spec.Path) -> JsonValue | Nothing:
        """Return what is found at a path."""
        value = self.roots.get(path.root, ABSENT)
        for key in path.keys:
            if isinstance(key, str):
                value = value.get(key, ABSENT) if isinstance(value, dict) else ABSENT
            else:
                is_there = isinstance(value, list) and 0 <= key < len(value)
                value = value[key] if is_there else ABSENT
        return value

    def evaluate(self, expression: spec.Expression) -> JsonValue | Nothing:
        """Return the value of an expression."""
        return self.find(expression)[0]

    def find(self, expression: spec.Expression) -> tuple[JsonValue | Nothing, spec.Expression]:
        """Return the value of an expression, and which part of it gave it."""
        match expression:
            case spec.First(of):
                for each in of:
                    value, source = self.find(each)
                    if not isinstance(value, Nothing):
                        return value, source
                return ABSENT, expression
            case spec.If(condition, then, otherwise):
                chosen = then if self.holds(condition) else otherwise
                return (ABSENT, expression) if chosen is None else self.find(chosen)
            case spec.Value(path, to):
                return self.converted(self.at(path), to, expression), expression
            case spec.Converted(of, to):
                return self.converted(self.evaluate(of), to, expression), expression
            case spec.Const(value):
                return _constant(value), expression
            case spec.Join():
                return self.join(expression), expression
            case spec.Lookup():
                return self.lookup(expression), expression
            case spec.Case(of):
                text = self.evaluate(of)
                return (_cased(text, expression) if isinstance(text, str) else text), expression
            case spec.Replace(of):
                text = self.evaluate(of)
                return (_replaced(text, expression) if isinstance(text, str) else text), expression
        assert_never(expression)

    def converted(
        self,
        value: JsonValue | Nothing,
        to: spec.Conversion,
        source: spec.Value | spec.Converted | spec.Spread,
    ) -> JsonValue | Nothing:
        """Return what a conversion makes of a value, counting one that it makes nothing of."""
        if isinstance(value, Nothing) and not isinstance(to, spec.Time):
            return value
        found = Nothing() if isinstance(value, Nothing) else convert(value, to, self.moment)
        if isinstance(found, Nothing) and not is_blank(value):
            self.lose(value, found.why, to, source)
        if isinstance(found, Nothing) and isinstance(to, spec.Time):
            return Numeral(str(self.moment.received_ms - (self.moment.item + 1)))
        return found

    def lose(
        self,
        value: JsonValue | Nothing,
        why: str,
        to: spec.Conversion,
        source: spec.Value | spec.Converted | spec.Spread,
    ) -> None:
        """Note that a value could not be converted, and count it unless that is done."""
        if self.is_trial or isinstance(value, Nothing):
            return
        self.note(source, value, why)
        if source.label and source.label not in self.counted and not isinstance(to, spec.Json):
            self.counted.add(source.label)
            self.dropped[source.label] += 1

    def join(self, join: spec.Join) -> JsonValue | Nothing:
        """Return literal texts and string values as one string."""
        texts = []
        for part in join.parts:
            found = part if isinstance(part, str) else self.evaluate(part)
            if isinstance(found, Nothing) and join.every:
                return ABSENT
            texts.append(found if isinstance(found, str) else "")
        return "".join(texts)

    def lookup(self, lookup: spec.Lookup) -> JsonValue | Nothing:
        """Return the member of an object that another value names."""
        members = self.at(lookup.path)
        if not isinstance(members, dict):
            return ABSENT
        key = self.evaluate(lookup.key)
        text = None if isinstance(key, Nothing) else text_of(key)
        if text is None or text not in members:
            return ABSENT
        return convert(members[text], lookup.convert, self.moment)

    def holds(self, condition: spec.Condition) -> bool:
        """Whether a condition holds."""
        match condition:
            case spec.Not(of):
                return not self.holds(of)
            case spec.Every(all_of):
                return all(self.holds(each) for each in all_of)
            case spec.Some(any_of):
                return any(self.holds(each) for each in any_of)
            case spec.IsObject(path):
                return isinstance(self.at(path), dict)
            case spec.NotEmpty(path):
                return isinstance(self.at(path), dict) and self.at(path) != {}
            case spec.MoreThan(path, members):
                found = self.at(path)
                return isinstance(found, dict) and len(found) > members
            case spec.Has(expression):
                return not isinstance(self.evaluate(expression), Nothing)
        value = self.evaluate(condition.of)
        return not isinstance(value, Nothing) and _is_true_of(value, condition)


def _constant(value: str | float | bool | None) -> JsonValue:
    if value is None or isinstance(value, bool | str):
        return value
    return Numeral(json.dumps(value))


def _cased(text: str, case: spec.Case) -> str:
    return text.lower() if case.to == "lower" else text.upper()


def _replaced(text: str, how: spec.Replace) -> str:
    flags = re.IGNORECASE if how.ignore_case else re.NOFLAG
    count = 0 if how.every else 1
    return re.sub(re.escape(how.pattern), lambda _: how.replacement, text, count, flags)


def _is_true_of(
    value: JsonValue,
    condition: spec.Exists
    | spec.Filled
    | spec.Equals
    | spec.Compare
    | spec.Contains
    | spec.Matches,
) -> bool:
    match condition:
        case spec.Exists():
            return value is not None
        case spec.Filled():
            return not is_falsy(value)
        case spec.Equals(_, wanted):
            return _equals(value, wanted)
        case spec.Compare(_, operator, limit):
            number = number_in(value)
            return number is not None and _COMPARE[operator](float(number.digits), limit)
        case spec.Contains(_, text):
            if isinstance(value, list):
                return any(each == text for each in value)
            return isinstance(value, str) and text in value
        case spec.Matches(_, pattern):
            return isinstance(value, str) and _matches(value, pattern)


_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _equals(value: JsonValue, wanted: str | float | bool) -> bool:
    if isinstance(wanted, bool | str):
        return type(value) is type(wanted) and value == wanted
    return isinstance(value, Numeral) and float(value.digits) == wanted


def _matches(text: str, pattern: str) -> bool:
    parts = []
    for found in re.finditer(r"\\(.)|(.)", pattern, re.DOTALL):
        literal = re.escape(found[1] or found[2])
        parts.append({"*": ".*", "?": "."}.get(found[2], literal))
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
