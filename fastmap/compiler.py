"""From a mapping to the flat program that ``Plan`` runs.

Paths become slots, numbered so that everything below one member is one range.  Objects become
operations in the order of precedence, highest first: whoever writes a key first keeps it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import IntEnum
from typing import TypeVar

from fastmap.errors import SpecError
from fastmap.spec import (
    ITEM,
    Boolean,
    Const,
    Conversion,
    Derivation,
    Derived,
    Expression,
    Fields,
    First,
    Has,
    Ip,
    IsObject,
    Join,
    Json,
    Lookup,
    Mapping,
    NotEmpty,
    Number,
    Object,
    Path,
    Record,
    Spread,
    String,
    Time,
    UniqueId,
    Value,
)

__all__ = [
    "OMITTED",
    "Condition",
    "Convert",
    "Flag",
    "Node",
    "NodeKind",
    "Op",
    "OpKind",
    "Part",
    "Place",
    "Program",
    "Shape",
    "compile_mapping",
]

_T = TypeVar("_T")

OMITTED = -2
"""In an operation's ``known`` keys: never copied."""


class NodeKind(IntEnum):
    """What an expression node does; the same numbers as in ``_plan.pyx``."""

    VALUE = 0
    CONST = 1
    FIRST = 2
    JOIN = 3
    LOOKUP = 4


class Convert(IntEnum):
    """Conversions; the same numbers as in ``_convert.pxd``."""

    JSON = 0
    STRING = 1
    NUMBER = 2
    BOOLEAN = 3
    TIME = 4
    UNIQUE_ID = 5
    IP = 6
    DERIVED = 7


class Flag(IntEnum):
    """Options of conversions; the same numbers as in ``_convert.pxd``."""

    KEEP_EMPTY = 1
    SKIP_NULL = 2
    SKIP_FALSY = 4


class OpKind(IntEnum):
    """What an operation writes; the same numbers as in ``_plan.pyx``."""

    FIELD = 0
    OBJECT = 1
    SPREAD = 2


class Condition(IntEnum):
    """Kinds of conditions; the same numbers as in ``_plan.pyx``."""

    HAS = 0
    IS_OBJECT = 1
    NOT_EMPTY = 2


@dataclass(slots=True)
class Place:
    """A node of the tree of paths: its members, its slot (or -1), and the slots at and below it."""

    members: dict[bytes, int] = field(default_factory=dict)
    wanted: bool = False
    slot: int = -1
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One expression.  Numbers that do not apply are -1."""

    kind: NodeKind
    slot: int = -1
    convert: Convert = Convert.JSON
    flags: int = 0
    none_of: int = -1
    one_of: int = -1
    derivation: int = -1
    output: int = -1
    children: tuple[int, ...] = ()
    data: bytes = b""
    every: bool = False
    label: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One step of writing an object."""

    kind: OpKind
    key: int = -1
    prefix: bytes = b""
    ref: int
    known: dict[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """An object: how many different keys its fields have, and its operations."""

    keys: int
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One record: where it goes, what it is, when, and for each item of which slot."""

    output: int
    shape: int
    when: tuple[tuple[Condition, int], ...]
    each: int


@dataclass(slots=True)
class Program:
    """Everything that ``Plan`` needs, as plain lists."""

    inputs: list[str] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    item_root: int = -1
    places: list[Place] = field(default_factory=list)
    slots: int = 0
    nodes: list[Node] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    require: list[tuple[int, str]] = field(default_factory=list)
    words: list[tuple[bytes, ...]] = field(default_factory=list)
    derivations: list[Derivation] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def compile_mapping(mapping: Mapping) -> Program:
    """Return the program of a mapping.

    :raises SpecError: the mapping contradicts itself.
    """
    return _Compiler(mapping).compile()


def _paths(part: object) -> Iterator[Path]:
    if isinstance(part, Path):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from _paths(item)
    elif is_dataclass(part) and not isinstance(part, type):
        for each in fields(part):
            yield from _paths(getattr(part, each.name))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class _Compiler:
    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.program = Program()
        self.root_of: dict[str, int] = {}

    def compile(self) -> Program:
        program = self.program
        program.inputs = list(self.mapping.inputs)
        self._add_places()
        program.require = [
            (self._node(expression), reason) for expression, reason in self.mapping.require
        ]
        program.parts = [self._part(record) for record in self.mapping.records]
        return program

    def _add_places(self) -> None:
        program = self.program
        for name in (*self.mapping.inputs, ITEM):
            if name in self.root_of:
                raise SpecError(f"input {name!r} is named twice")
            self.root_of[name] = self._new_place()
        program.roots = [self.root_of[name] for name in self.mapping.inputs]
        program.item_root = self.root_of[ITEM]
        for path in _paths(self.mapping):
            self._want(path)
        for root in self.root_of.values():
            self._number(root)

    def _new_place(self) -> int:
        self.program.places.append(Place())
        return len(self.program.places) - 1

    def _want(self, path: Path) -> None:
        self.program.places[self._place(path)].wanted = True

    def _place(self, path: Path) -> int:
        if path.root not in self.root_of:
            raise SpecError(f"path starts at {path.root!r}, which is none of the inputs")
        index = self.root_of[path.root]
        for key in path.keys:
            members = self.program.places[index].members
            if key.encode() not in members:
                members[key.encode()] = self._new_place()
            index = members[key.encode()]
        return index

    def _number(self, index: int) -> None:
        place = self.program.places[index]
        place.first = self.program.slots
        if place.wanted:
            place.slot = self.program.slots
            self.program.slots += 1
        for member in place.members.values():
            self._number(member)
        place.last = self.program.slots

    def _slot(self, path: Path) -> int:
        return self.program.places[self._place(path)].slot

    def _part(self, record: Record) -> Part:
        when = []
        for condition in record.when:
            match condition:
                case Has(expression):
                    when.append((Condition.HAS, self._node(expression)))
                case IsObject(path):
                    when.append((Condition.IS_OBJECT, self._slot(path)))
                case NotEmpty(path):
                    when.append((Condition.NOT_EMPTY, self._slot(path)))
        return Part(
            output=record.output,
            shape=self._shape(record.body),
            when=tuple(when),
            each=-1 if record.each is None else self._slot(record.each),
        )

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
                ops.append(Op(kind=OpKind.SPREAD, ref=self._slot(layer.path), known=known))
            else:
                ops.extend(self._member(key, number_of[key], value) for key, value in layer.members)
        self.program.shapes.append(Shape(len(number_of), tuple(ops)))
        return len(self.program.shapes) - 1

    def _member(self, key: str, number: int, value: Expression | Object) -> Op:
        prefix = _json(key) + b":"
        if isinstance(value, Object):
            return Op(kind=OpKind.OBJECT, key=number, prefix=prefix, ref=self._shape(value))
        return Op(kind=OpKind.FIELD, key=number, prefix=prefix, ref=self._node(value))

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
                    slot=self._slot(path),
                    children=(self._node(key),),
                    flags=_flags(convert),
                )

    def _join_part(self, part: str | Value) -> int:
        if isinstance(part, Value):
            if not isinstance(part.convert, String):
                raise SpecError("the values of a Join must be strings")
            return self._node(part)
        inside = _json(part)[1:-1]
        self.program.nodes.append(Node(kind=NodeKind.CONST, data=inside))
        return len(self.program.nodes) - 1

    def _value(self, value: Value) -> Node:
        convert = value.convert
        derived = convert if isinstance(convert, Derived) else None
        return Node(
            kind=NodeKind.VALUE,
            slot=self._slot(value.path),
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


def _index(items: list[_T], item: _T) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def _flags(convert: Conversion) -> int:
    match convert:
        case Json(null, falsy):
            return (0 if null else Flag.SKIP_NULL) | (0 if falsy else Flag.SKIP_FALSY)
        case String(empty=True):
            return Flag.KEEP_EMPTY
        case _:
            return 0


_CONVERSIONS: dict[type, Convert] = {
    Json: Convert.JSON,
    String: Convert.STRING,
    Number: Convert.NUMBER,
    Boolean: Convert.BOOLEAN,
    Time: Convert.TIME,
    UniqueId: Convert.UNIQUE_ID,
    Ip: Convert.IP,
    Derived: Convert.DERIVED,
}
