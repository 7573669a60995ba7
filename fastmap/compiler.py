"""From a mapping to the flat program that ``Plan`` runs.

Paths become slots, numbered so that everything below one member is one range.  Objects become
operations in the order of precedence, highest first: whoever writes a key first keeps it.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import chain, groupby
from typing import TypeVar

from fastmap._code import NodeKind, OpKind, TestKind
from fastmap._convert import Convert, Flag
from fastmap.errors import SpecError
from fastmap.program import (
    OMITTED,
    Branch,
    Node,
    Op,
    Part,
    PathNode,
    Program,
    Shape,
    Test,
)
from fastmap.spec import (
    ITEM,
    Boolean,
    Case,
    Choice,
    Compare,
    Condition,
    Const,
    Contains,
    Conversion,
    Converted,
    Derivation,
    Derived,
    Equals,
    Every,
    Exists,
    Expression,
    Fields,
    Filled,
    First,
    Has,
    Id,
    If,
    Ip,
    IsObject,
    Join,
    Json,
    Limits,
    Lookup,
    Mapping,
    Matches,
    MoreThan,
    Not,
    NotEmpty,
    Number,
    Object,
    Path,
    Record,
    Replace,
    Some,
    Spread,
    String,
    Time,
    UniqueId,
    Value,
)

__all__ = ["compile_mapping"]

_T = TypeVar("_T")

_MAX_DEPTH = 15

_SHORT = 3
"""Fields of a stretch that is not worth the check whether its inputs have changed."""


def compile_mapping(mapping: Mapping | Choice) -> Program:
    """Return the program of a mapping, or of a choice of several.

    :raises SpecError: the mapping contradicts itself.
    """
    choice = mapping if isinstance(mapping, Choice) else Choice(cases=((None, mapping),))
    return _Compiler(choice).compile()


def _inputs(case: tuple[Condition | None, Mapping]) -> tuple[str, ...]:
    _, mapping = case
    for name, count in Counter((*mapping.inputs, ITEM)).items():
        if count > 1:
            raise SpecError(f"input {name!r} is named twice")
    return mapping.inputs


def _parts(part: object) -> Iterator[object]:
    """Yield everything that a part of a mapping consists of, and itself."""
    if isinstance(part, tuple):
        for item in part:
            yield from _parts(item)
    elif is_dataclass(part) and not isinstance(part, type):
        yield part
        for each in fields(part):
            yield from _parts(getattr(part, each.name))


def _paths(part: object) -> Iterator[Path]:
    return (each for each in _parts(part) if isinstance(each, Path))


def _levels(part: object) -> int:
    """Return how deep the objects of a record lie in one another that the mapping makes."""
    if not isinstance(part, Object):
        return 0
    below = (
        _levels(member)
        for layer in part.layers
        if isinstance(layer, Fields)
        for _, member in layer.members
    )
    return 1 + max(below, default=0)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class _Compiler:
    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.program = Program(unmatched=choice.unmatched)
        self.root_of: dict[str, int] = {}

    def compile(self) -> Program:
        program = self.program
        program.inputs = list(dict.fromkeys(chain(*map(_inputs, self.choice.cases))))
        self._add_places()
        self._drop_unused_inputs()
        program.skip = [(self._test(test), reason) for test, reason in self.choice.skip]
        program.branches = [self._branch(test, case) for test, case in self.choice.cases]
        return program

    def _branch(self, condition: Condition | None, mapping: Mapping) -> Branch:
        return Branch(
            test=-1 if condition is None else self._test(condition),
            require=tuple((self._node(one), reason) for one, reason in mapping.require),
            reject=tuple((self._test(one), reason) for one, reason in mapping.reject),
            parts=tuple(self._part(record) for record in mapping.records),
        )

    def _add_places(self) -> None:
        program = self.program
        for name in (*program.inputs, ITEM):
            self.root_of[name] = self._new_place()
        program.roots = [self.root_of[name] for name in program.inputs]
        program.item_root = self.root_of[ITEM]
        for path in _paths(self.choice):
            self._want(path)
        for root in self.root_of.values():
            self._number(root)

    def _drop_unused_inputs(self) -> None:
        program = self.program
        used = [
            (name, root)
            for name, root in zip(program.inputs, program.roots, strict=True)
            if program.places[root].last > program.places[root].first
        ]
        program.inputs = [name for name, _ in used]
        program.roots = [root for _, root in used]

    def _new_place(self) -> int:
        self.program.places.append(PathNode())
        return len(self.program.places) - 1

    def _want(self, path: Path) -> None:
        self.program.places[self._place(path)].wanted = True

    def _place(self, path: Path) -> int:
        if path.root not in self.root_of:
            raise SpecError(f"path starts at {path.root!r}, which is none of the inputs")
        index = self.root_of[path.root]
        for key in path.keys:
            place = self.program.places[index]
            if isinstance(key, int):
                if key not in place.items:
                    place.items[key] = self._new_place()
                index = place.items[key]
            else:
                if key.encode() not in place.members:
                    place.members[key.encode()] = self._new_place()
                index = place.members[key.encode()]
        return index

    def _number(self, index: int) -> None:
        place = self.program.places[index]
        place.first = self.program.slots
        if place.wanted:
            place.slot = self.program.slots
            self.program.slots += 1
        for below in chain(place.members.values(), place.items.values()):
            self._number(below)
        place.last = self.program.slots

    def _slot(self, path: Path) -> int:
        return self.program.places[self._place(path)].slot

    def _listed(self, path: Path) -> int:
        """Return the slot of an object whose members are wanted."""
        self.program.places[self._place(path)].is_listed = True
        return self._slot(path)

    def _part(self, record: Record) -> Part:
        if record.output < 0:
            raise SpecError(f"Record.output counts from 0 (got {record.output})")
        match record.when:
            case ():
                when = -1
            case (only,):
                when = self._test(only)
            case several:
                when = self._test(Every(several))
        return Part(
            output=record.output,
            shape=self._shape(record.body),
            when=when,
            each=self._listed(record.each) if isinstance(record.each, Path) else -1,
            each_of=-1 if isinstance(record.each, Path | None) else self._node(record.each),
            limits=_checked(record.limits),
            is_open=any(
                isinstance(getattr(part, "convert", None), Json) for part in _parts(record.body)
            )
            or (record.limits is not None and 0 < record.limits.depth < _levels(record.body)),
        )

    def _test(self, condition: Condition) -> int:
        test = self._test_of(condition)
        self.program.tests.append(test)
        return len(self.program.tests) - 1

    def _test_of(self, condition: Condition) -> Test:  # noqa: C901 - one case a kind
        match condition:
            case Has(of):
                return Test(kind=TestKind.HAS, ref=self._node(of))
            case IsObject(path):
                return Test(kind=TestKind.IS_OBJECT, ref=self._slot(path))
            case NotEmpty(path):
                return Test(kind=TestKind.NOT_EMPTY, ref=self._slot(path))
            case MoreThan(path, members):
                return Test(kind=TestKind.MORE_THAN, ref=self._listed(path), number=members)
            case Exists(of):
                return Test(kind=TestKind.EXISTS, ref=self._node(of))
            case Filled(of):
                return Test(kind=TestKind.FILLED, ref=self._node(of))
            case Equals(of, value):
                return _equals(self._node(of), value)
            case Compare(of, operator, number):
                return Test(kind=_COMPARISONS[operator], ref=self._node(of), number=number)
            case Contains(of, text):
                return Test(kind=TestKind.CONTAINS, ref=self._node(of), text=text.encode())
            case Matches(of, pattern):
                return Test(kind=TestKind.MATCHES, ref=self._node(of), text=_pattern(pattern))
            case Not(of):
                return Test(kind=TestKind.NOT, children=(self._test(of),))
            case Every(several):
                children = tuple(self._test(one) for one in several)
                return Test(kind=TestKind.EVERY, children=children)
            case Some(several):
                children = tuple(self._test(one) for one in several)
                return Test(kind=TestKind.SOME, children=children)

    def _shape(self, body: Object) -> int:
        number_of: dict[str, int] = {}
        for layer in body.layers:
            if isinstance(layer, Fields):
                for key, _ in layer.members:
                    number_of.setdefault(key, len(number_of))
        ops: list[Op] = []
        for layer in reversed(body.layers):
            if isinstance(layer, Spread):
                if any(op.kind is OpKind.SPREAD for op in ops):
                    raise SpecError("an object can have only one Spread")
                known = {key.encode(): number for key, number in number_of.items()}
                known |= {key.encode(): OMITTED for key in layer.omit}
                ops.append(
                    Op(
                        kind=OpKind.SPREAD,
                        ref=self._listed(layer.path),
                        known=known,
                        is_number=layer.convert is not None,
                        label=self._label(layer.label),
                    )
                )
            else:
                ops.extend(self._member(key, number_of[key], value) for key, value in layer.members)
        self.program.shapes.append(Shape(len(number_of), tuple(self._with_stretches(ops))))
        return len(self.program.shapes) - 1

    def _member(self, key: str, number: int, value: Expression | Object) -> Op:
        prefix = b"," + _json(key) + b":"
        if isinstance(value, Object):
            return Op(kind=OpKind.OBJECT, key=number, prefix=prefix, ref=self._shape(value))
        return Op(
            kind=OpKind.FIELD,
            key=number,
            prefix=prefix,
            ref=self._node(value),
            inputs=self._inputs_of(value),
        )

    def _inputs_of(self, expression: Expression) -> tuple[int, ...] | None:
        """Return the inputs that decide a value, None when something else does, too."""
        roots = set()
        for part in _parts(expression):
            if isinstance(part, Path):
                roots.add(part.root)
            elif isinstance(part, Time | UniqueId):  # by the time of receipt, or the item's number
                return None
        if ITEM in roots:
            return None
        return tuple(sorted(map(self.program.inputs.index, roots)))

    def _with_stretches(self, ops: list[Op]) -> Iterator[Op]:
        """Yield operations with their stretches, which are what comes behind a spread.

        In front of one they would have to remember, too, which keys the spread must leave out.
        """
        spread = max((i for i, op in enumerate(ops) if op.kind is OpKind.SPREAD), default=-1)
        yield from ops[: spread + 1]
        times = Counter(op.key for op in ops)

        def may_belong(numbered: tuple[int, Op]) -> tuple[bool, int]:
            i, op = numbered  # the difference is the same for keys in sequence
            return op.inputs is not None and times[op.key] == 1, op.key - i

        for (may, _), several in groupby(enumerate(ops[spread + 1 :]), may_belong):
            neighbours = [op for _, op in several]
            for fields_ in _stretches(neighbours) if may else [neighbours]:
                if may and len(fields_) > 1:
                    yield self._stretch(fields_)
                yield from fields_

    def _stretch(self, members: list[Op]) -> Op:
        self.program.stretches += 1
        return Op(
            kind=OpKind.STRETCH,
            key=members[0].key,
            ref=self.program.stretches - 1,
            inputs=tuple(sorted(set(chain.from_iterable(op.inputs or () for op in members)))),
            fields=len(members),
        )

    def _node(self, expression: Expression) -> int:
        node = self._node_of(expression)
        self.program.nodes.append(node)
        return len(self.program.nodes) - 1

    def _node_of(self, expression: Expression) -> Node:
        match expression:
            case Value():
                return self._value(expression)
            case Const(value):
                return Node(kind=NodeKind.CONST, data=_json(value))
            case First(of):
                return Node(kind=NodeKind.FIRST, children=tuple(self._node(one) for one in of))
            case Join(parts, every):
                return Node(
                    kind=NodeKind.JOIN,
                    children=tuple(self._join_part(part) for part in parts),
                    every=every,
                )
            case Lookup(path, key, convert):
                return Node(
                    kind=NodeKind.LOOKUP,
                    slot=self._listed(path),
                    children=(self._node(key),),
                    flags=_flags(convert),
                )
            case Converted():
                return self._converted(expression)
            case If(condition, then, otherwise):
                branches = (then, otherwise)
                return Node(
                    kind=NodeKind.IF_ELSE,
                    test=self._test(condition),
                    children=tuple(-1 if one is None else self._node(one) for one in branches),
                )
            case Case(of, to):
                function = str.lower if to == "lower" else str.upper
                return self._text(of, function)
            case Replace(of):
                return self._text(of, _replacement(expression))

    def _join_part(self, part: str | Value) -> int:
        if isinstance(part, Value):
            if not isinstance(part.convert, String | Id) or part.convert == Id(several=True):
                raise SpecError("the values of a Join must be strings")
            return self._node(part)
        inside = _json(part)[1:-1]
        self.program.nodes.append(Node(kind=NodeKind.CONST, data=inside))
        return len(self.program.nodes) - 1

    def _text(self, of: Expression, function: Callable[[str], str]) -> Node:
        self.program.functions.append(function)
        number = len(self.program.functions) - 1  # before those inside of it
        return Node(kind=NodeKind.TEXT_FUNCTION, children=(self._node(of),), function=number)

    def _value(self, value: Value) -> Node:
        return self._conversion(value, kind=NodeKind.VALUE, slot=self._slot(value.path))

    def _converted(self, value: Converted) -> Node:
        return self._conversion(value, kind=NodeKind.CONVERTED, children=(self._node(value.of),))

    def _conversion(
        self,
        value: Value | Converted,
        *,
        kind: NodeKind,
        slot: int = -1,
        children: tuple[int, ...] = (),
    ) -> Node:
        convert = value.convert
        derived = convert if isinstance(convert, Derived) else None
        return Node(
            kind=kind,
            slot=slot,
            children=children,
            convert=_CONVERSIONS[type(convert)],
            flags=_flags(convert),
            none_of=self._words(getattr(convert, "none_of", ())),
            one_of=self._words(getattr(convert, "one_of", ())),
            derivation=-1 if derived is None else self._derivation(derived.derivation),
            output=-1 if derived is None else derived.output,
            label=self._label(value.label),
        )

    def _words(self, words: tuple[str, ...]) -> int:
        if not words:
            return -1
        encoded = tuple(word.encode() for word in words)
        return _index(self.program.words, encoded)

    def _derivation(self, derivation: Derivation) -> int:
        return _index(self.program.derivations, derivation)

    def _label(self, label: str) -> int:
        return _index(self.program.labels, label) if label else -1


def _checked(limits: Limits | None) -> Limits | None:
    if limits is not None and not 0 <= limits.depth <= _MAX_DEPTH:
        raise SpecError(f"Limits.depth is at most {_MAX_DEPTH} (got {limits.depth})")
    return limits


def _stretches(members: list[Op]) -> list[list[Op]]:
    """Split neighbours where what they read changes, but keep short stretches together."""
    stretches: list[list[Op]] = []
    was_short = False
    for _, several in groupby(members, lambda op: op.inputs):
        fields_ = list(several)
        is_short = len(fields_) <= _SHORT
        if is_short and was_short:
            stretches[-1] += fields_
        else:
            stretches.append(fields_)
        was_short = is_short
    return stretches


def _index(items: list[_T], item: _T) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def _equals(node: int, value: str | float | bool) -> Test:
    match value:
        case bool():
            return Test(kind=TestKind.EQUALS_BOOLEAN, ref=node, number=value)
        case str():
            return Test(kind=TestKind.EQUALS_TEXT, ref=node, text=value.encode())
        case _:
            return Test(kind=TestKind.EQUALS_NUMBER, ref=node, number=value)


_COMPARISONS = {
    "<": TestKind.LESS,
    "<=": TestKind.AT_MOST,
    ">": TestKind.GREATER,
    ">=": TestKind.AT_LEAST,
}

_ANY, _ONE = b"\xfe", b"\xff"  # bytes that no UTF-8 text holds


def _pattern(pattern: str) -> bytes:
    """Return a pattern with its wildcards as bytes of their own."""
    encoded = bytearray()
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            if not encoded.endswith(_ANY):
                encoded += _ANY
        elif character == "?":
            encoded += _ONE
        else:
            taken = next(characters, "\\") if character == "\\" else character
            encoded += taken.encode()
    return bytes(encoded)


def _replacement(spec: Replace) -> Callable[[str], str]:
    if not spec.pattern:
        raise SpecError("the pattern of a Replace must not be empty")
    pattern = re.compile(re.escape(spec.pattern), re.IGNORECASE if spec.ignore_case else 0)
    count = 0 if spec.every else 1
    return lambda text: pattern.sub(lambda _: spec.replacement, text, count=count)


def _flags(convert: Conversion) -> int:
    match convert:
        case Json(null, falsy):
            return (0 if null else Flag.SKIP_NULL) | (0 if falsy else Flag.SKIP_FALSY)
        case String(empty=True):
            return Flag.KEEP_EMPTY
        case Id(several=several):
            return Flag.AS_ID | (Flag.SEVERAL if several else 0)
        case Derived(derivation) if derivation.takes_json:
            return Flag.TAKES_JSON
        case _:
            return 0


_CONVERSIONS: dict[type, Convert] = {
    Json: Convert.TO_JSON,
    String: Convert.TO_STRING,
    Number: Convert.TO_NUMBER,
    Boolean: Convert.TO_BOOLEAN,
    Time: Convert.TO_TIME,
    UniqueId: Convert.TO_UNIQUE_ID,
    Ip: Convert.TO_IP,
    Derived: Convert.TO_DERIVED,
    Id: Convert.TO_STRING,
}
