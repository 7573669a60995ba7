"""The language of mappings: plain values that say what a record is made of.

A ``Mapping`` reads the *inputs* of an event (attributes that hold text or raw JSON) and writes
*records*.  A record is an object of layers; what a later layer says about a key wins, and a key is
never written twice.  An expression gives one JSON value or none; a member without a value is left
out.

    Mapping
      inputs   names of the attributes that are read
      require  (expression, reason): without a value the event is rejected
      records  Record
                 when  conditions under which it is written
                 each  an array: one record for each object in it
                 body  Object
                         layers  Fields (key -> expression or Object) | Spread (an object's members)

An expression is a ``Value`` (a path and a conversion), a ``Const``, a ``Join`` of texts, a
``Lookup`` of a member whose name is itself computed, or the ``First`` of several that has a value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ITEM",
    "Boolean",
    "Condition",
    "Const",
    "Conversion",
    "Derivation",
    "Derived",
    "Expression",
    "Fields",
    "First",
    "Has",
    "Ip",
    "IsObject",
    "Join",
    "Json",
    "Layer",
    "Lookup",
    "Mapping",
    "NotEmpty",
    "Number",
    "Object",
    "Path",
    "Record",
    "Spread",
    "String",
    "Time",
    "UniqueId",
    "Value",
]

ITEM = "@item"
"""The root of paths into the item of ``Record.each``."""


@dataclass(frozen=True, slots=True)
class Path:
    """A place in the input.

    :param root: an input's name, or ``ITEM``.
    :param keys: the members to follow from there.
    """

    root: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Json:
    """The value as it is.

    :param null: whether null is a value.
    :param falsy: whether null, false, 0 and "" are values.
    """

    null: bool = True
    falsy: bool = True


@dataclass(frozen=True, slots=True)
class String:
    """A string; numbers and booleans become their text, a list of one item that item.

    :param empty: whether "" is a value.
    :param none_of: lower-case words that are no value, compared without case and outer spaces.
    :param one_of: when not empty, the only texts that are values.
    """

    empty: bool = False
    none_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A number with all its digits; numeric strings count, true and false are 1 and 0."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false; the strings "true" and "false" and the numbers 1 and 0 count."""


@dataclass(frozen=True, slots=True)
class Time:
    """Epoch milliseconds; the time of receipt when there is no readable time before it.

    In ``Record.each`` the n-th item, from 1, comes n milliseconds earlier.
    """


@dataclass(frozen=True, slots=True)
class UniqueId:
    """1 to 36 characters of [A-Za-z0-9-]: the value itself, its UUID at the end, or its digest.

    :param none_of: lower-case words that are no id.
    """

    none_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ip:
    """An IPv4 or IPv6 address."""


class Derivation:
    """Strings computed from a string by a Python function, remembered for the next time.

    :param function: text to a tuple of ``outputs`` strings; None for one that has no value.
    :param outputs: how many strings it gives.
    :param remembered: how many inputs are kept; the memory is emptied when it is full.
    """

    __slots__ = ("function", "outputs", "remembered")

    def __init__(
        self,
        function: Callable[[str], Sequence[str | None]],
        *,
        outputs: int,
        remembered: int = 4096,
    ) -> None:
        self.function = function
        self.outputs = outputs
        self.remembered = remembered


@dataclass(frozen=True, slots=True)
class Derived:
    """One output of a derivation of a non-empty string."""

    derivation: Derivation
    output: int


Conversion: TypeAlias = Json | String | Number | Boolean | Time | UniqueId | Ip | Derived


@dataclass(frozen=True, slots=True)
class Value:
    """The value at a path, converted.

    :param label: under which a value that could not be converted is counted.
    """

    path: Path
    convert: Conversion
    label: str = ""


@dataclass(frozen=True, slots=True)
class Const:
    """The same JSON value every time."""

    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class First:
    """The first of several expressions that has a value."""

    of: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Join:
    """A string of several: literal texts and string values.

    :param every: without a value for one part there is none for the whole; else it counts as "".
    """

    parts: tuple["str | Value", ...]
    every: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """The member of an object whose key is the text of an expression."""

    path: Path
    key: "Expression"
    convert: Json = Json()


Expression: TypeAlias = Value | Const | First | Join | Lookup


@dataclass(frozen=True, slots=True)
class Fields:
    """Members by key."""

    members: tuple[tuple[str, "Expression | Object"], ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """All members of the object at a path, but for some keys.  At most one in an object."""

    path: Path
    omit: frozenset[str] = frozenset()


Layer: TypeAlias = Fields | Spread


@dataclass(frozen=True, slots=True)
class Object:
    """A JSON object; later layers win over earlier ones."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Has:
    """Whether an expression has a value."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class IsObject:
    """Whether there is an object at a path."""

    path: Path


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """Whether there is an object with at least one member at a path."""

    path: Path


Condition: TypeAlias = Has | IsObject | NotEmpty


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or one for each object of an array.

    :param output: index of the buffer it is written to.
    """

    output: int
    body: Object
    when: tuple[Condition, ...] = ()
    each: Path | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is made of one event."""

    inputs: tuple[str, ...]
    records: tuple[Record, ...]
    require: tuple[tuple[Expression, str], ...] = ()
