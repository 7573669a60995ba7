"""The language of mappings: plain values that say what a record is made of.

A ``Mapping`` reads the *inputs* of an event (attributes that hold text or raw JSON) and writes
*records*.  A record is an object of layers; what a later layer says about a key wins, and a key is
never written twice.  An expression gives one JSON value or none; a member without a value is left
out.

    Choice
      skip   (condition, reason): where it holds, nothing is written
      cases  (condition, Mapping): every mapping whose condition holds is run
               Mapping
                 inputs   names of the attributes that are read
                 require  (expression, reason): without a value the event is rejected
                 reject   (condition, reason): where it holds, the event is rejected
                 records  Record
                            when  conditions under which it is written
                            each  an array: one record for each object in it, or for each value
                            limits  what its receiver takes
                            body  Object
                                    layers  Fields (key -> expression or Object)
                                            | Spread (an object's members)

An expression is a ``Value`` (a path and a conversion), a ``Const``, a ``Join`` of texts, a
``Lookup`` of a member whose name is itself computed, an ``If``, a text changed by ``Case`` or
``Replace``, a ``Converted`` result of another, or the ``First`` of several that has a value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "ITEM",
    "Boolean",
    "Case",
    "Choice",
    "Compare",
    "Condition",
    "Const",
    "Contains",
    "Conversion",
    "Converted",
    "Derivation",
    "Derived",
    "Equals",
    "Every",
    "Exists",
    "Expression",
    "Fields",
    "Filled",
    "First",
    "Has",
    "Id",
    "If",
    "Ip",
    "IsObject",
    "Join",
    "Json",
    "Layer",
    "Limits",
    "Lookup",
    "Mapping",
    "Matches",
    "MoreThan",
    "Not",
    "NotEmpty",
    "Number",
    "Object",
    "Path",
    "Record",
    "Replace",
    "Some",
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
    :param keys: the members to follow from there; a number is an index of an array.
    """

    root: str
    keys: tuple[str | int, ...] = ()


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
class Id:
    """Who or what something is, as a string; a number becomes its shortest digits.

    So 55520.0 and 5.552E4 are 55520.  True, false and objects are no ids; a list of one item is
    that item.

    :param none_of: as in ``String``.
    :param several: whether a list may be several ids: the list of those in it.
    """

    none_of: tuple[str, ...] = ()
    several: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number with all its digits; true and false are 1 and 0.

    Strings count that are one number for a person: ".5", "+5", "1,234.50".
    """


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
    :param takes_json: whether the function takes the JSON of any value, and not only strings.  Only
        what the JSON means may matter to it, not how it is written.
    """

    __slots__ = ("function", "outputs", "remembered", "takes_json")

    def __init__(
        self,
        function: Callable[[str], Sequence[str | None]],
        *,
        outputs: int,
        remembered: int = 4096,
        takes_json: bool = False,
    ) -> None:
        self.function = function
        self.outputs = outputs
        self.remembered = remembered
        self.takes_json = takes_json


@dataclass(frozen=True, slots=True)
class Derived:
    """One output of a derivation of a value that is not null, "", {} or []."""

    derivation: Derivation
    output: int


Conversion: TypeAlias = Json | String | Id | Number | Boolean | Time | UniqueId | Ip | Derived


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


@dataclass(frozen=True, slots=True)
class Converted:
    """The value of an expression, converted once more.

    :param label: as in ``Value``.
    """

    of: "Expression"
    convert: Conversion
    label: str = ""


@dataclass(frozen=True, slots=True)
class If:
    """One of two expressions; without the one that is chosen there is no value."""

    condition: "Condition"
    then: "Expression | None" = None
    otherwise: "Expression | None" = None


@dataclass(frozen=True, slots=True)
class Case:
    """A text in lower or upper case; what is no text stays as it is."""

    of: "Expression"
    to: Literal["lower", "upper"]


@dataclass(frozen=True, slots=True)
class Replace:
    """A text with occurrences of another replaced; what is no text stays as it is.

    :param pattern: searched for as it stands, not as a regular expression; not empty.
    :param every: whether all occurrences are replaced, or only the first.
    """

    of: "Expression"
    pattern: str
    replacement: str = ""
    ignore_case: bool = False
    every: bool = True


Expression: TypeAlias = Value | Const | First | Join | Lookup | Converted | If | Case | Replace


@dataclass(frozen=True, slots=True)
class Fields:
    """Members by key."""

    members: tuple[tuple[str, "Expression | Object"], ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """All members of the object at a path, but for some keys.  At most one in an object.

    :param convert: what their values become; those that cannot be converted are left out.
    :param label: as in ``Value``.
    """

    path: Path
    omit: frozenset[str] = frozenset()
    convert: Number | None = None
    label: str = ""


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


@dataclass(frozen=True, slots=True)
class MoreThan:
    """Whether the object at a path has more than some number of members."""

    path: Path
    members: int


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether an expression has a value other than null."""

    of: Expression


@dataclass(frozen=True, slots=True)
class Filled:
    """Whether an expression has a value other than null, "", 0 and false."""

    of: Expression


@dataclass(frozen=True, slots=True)
class Equals:
    """Whether a value is this one, and of this type: a string, a number, or true or false."""

    of: Expression
    value: str | float | bool


@dataclass(frozen=True, slots=True)
class Compare:
    """How a number, or a string that is one, stands to another; false for everything else."""

    of: Expression
    operator: Literal["<", "<=", ">", ">="]
    value: float


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a string holds a text, or a list a string that equals it."""

    of: Expression
    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    """Whether the whole of a string matches a pattern.

    :param pattern: ``*`` stands for any characters, ``?`` for one; a backslash takes the meaning
        from what follows it.
    """

    of: Expression
    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """Whether a condition does not hold."""

    of: "Condition"


@dataclass(frozen=True, slots=True)
class Every:
    """Whether all of several conditions hold."""

    of: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Whether at least one of several conditions holds."""

    of: tuple["Condition", ...]


Condition: TypeAlias = (
    Has
    | IsObject
    | NotEmpty
    | MoreThan
    | Exists
    | Filled
    | Equals
    | Compare
    | Contains
    | Matches
    | Not
    | Every
    | Some
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver takes; a record with more rejects its event, as it would be refused.

    :param size: the bytes of a record are fewer than this.
    :param members: how many an object in the record may have; the record itself may have more.
    :param depth: how deep objects may lie in one another, the record being the first; lists are no
        level.  0: neither members nor depth matter.
    """

    size: int
    members: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or several.

    :param output: index of the buffer it is written to.
    :param each: a path to an array: one record for each object in it.  An object alone is an array
        of one, unless all its keys are numbers: so PHP writes an array with gaps.  Or an
        expression: one record for each item of the list that it gives, or for its one value.
    """

    output: int
    body: Object
    when: tuple[Condition, ...] = ()
    each: "Path | Expression | None" = None
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is made of one event."""

    inputs: tuple[str, ...]
    records: tuple[Record, ...]
    require: tuple[tuple[Expression, str], ...] = ()
    reject: tuple[tuple[Condition, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Several mappings of one event, each under a condition.

    Rejections are the event's: when one mapping rejects it, none writes anything.

    :param cases: a condition, or None where there is none, and a mapping.
    :param skip: reasons for which nothing is written, the first that holds counting.
    :param unmatched: the reason when no case applies.
    """

    cases: tuple[tuple[Condition | None, Mapping], ...]
    skip: tuple[tuple[Condition, str], ...] = ()
    unmatched: str = "unmatched"
