"""What a mapping is compiled to: plain lists, of which the core makes arrays."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastmap._code import NodeKind, OpKind, TestKind
from fastmap._convert import Convert
from fastmap.spec import Derivation, Limits

__all__ = [
    "OMITTED",
    "Branch",
    "Node",
    "Op",
    "Part",
    "PathNode",
    "Program",
    "Shape",
    "Test",
]

OMITTED = -2
"""In an operation's ``known`` keys: never copied."""


@dataclass(slots=True)
class PathNode:
    """A node of the tree of paths: what is below it, its slot (or -1), and the slots from there.

    :param is_listed: whether all members of the object there are wanted.
    """

    members: dict[bytes, int] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)
    wanted: bool = False
    is_listed: bool = False
    slot: int = -1
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One expression.  Numbers that do not apply are -1."""

    kind: NodeKind
    slot: int = -1
    convert: Convert = Convert.TO_JSON
    flags: int = 0
    none_of: int = -1
    one_of: int = -1
    derivation: int = -1
    output: int = -1
    children: tuple[int, ...] = ()
    data: bytes = b""
    every: bool = False
    label: int = -1
    test: int = -1
    function: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One condition.  ``ref`` is a node or a slot, ``children`` are tests."""

    kind: TestKind
    ref: int = -1
    children: tuple[int, ...] = ()
    text: bytes = b""
    number: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One step of writing an object.

    A stretch is said before the fields that belong to it: neighbours that read the same inputs and
    nothing else, so that they are written as before as long as these inputs stay the same.

    :param inputs: of a stretch or a field, by number; None when it depends on more than inputs.
    :param fields: how many belong to the stretch.
    """

    kind: OpKind
    key: int = -1
    prefix: bytes = b""
    ref: int = -1
    inputs: tuple[int, ...] | None = None
    fields: int = 0
    known: dict[bytes, int] = field(default_factory=dict)
    is_number: bool = False
    label: int = -1


@dataclass(frozen=True, slots=True)
class Shape:
    """An object: how many different keys its fields have, and its operations."""

    keys: int
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One record: where it goes, what it is, when, and for each item of which slot or node.

    :param is_open: whether it may hold objects that are in no Spread and count: values, or more
        levels of the mapping's own than it may have.
    """

    output: int
    shape: int
    when: int
    each: int
    each_of: int
    limits: Limits | None
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One mapping of a choice: its condition (or -1), what it demands, and its parts."""

    test: int
    require: tuple[tuple[int, str], ...]
    reject: tuple[tuple[int, str], ...]
    parts: tuple[Part, ...]


@dataclass(slots=True)
class Program:
    """Everything that ``Plan`` needs, as plain lists."""

    inputs: list[str] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    item_root: int = -1
    places: list[PathNode] = field(default_factory=list)
    slots: int = 0
    nodes: list[Node] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    stretches: int = 0
    tests: list[Test] = field(default_factory=list)
    skip: list[tuple[int, str]] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    unmatched: str = ""
    words: list[tuple[bytes, ...]] = field(default_factory=list)
    derivations: list[Derivation] = field(default_factory=list)
    functions: list[Callable[[str], str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
