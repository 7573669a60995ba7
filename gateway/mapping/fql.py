"""Subscriptions' expressions: which events an action is for, in Segment's filter language (FQL).

    either     = both ("or" both)*
    both       = not ("and" not)*
    not        = ("not" | "!") not | "(" either ")" | call | comparison
    call       = ("contains" | "match") "(" path "," text ")"
    comparison = path ("=" | "!=") (text | number | "true" | "false" | "null")
               | path ("<" | "<=" | ">" | ">=") number

Values compare by type: a quoted text equals only a string, a number only a number.  Null and what
is missing are the same, and ``!=`` is exactly the opposite of ``=``: a member that is missing is
``!= "x"``.  Words are read in any case, members in the case that is written.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastmap import spec
from gateway.mapping.paths import PathError, event_path, read_steps, unquoted

__all__ = ["EVENT", "TYPE", "FqlError", "decided", "named", "parse", "simplify", "types_named"]

MAX_DEPTH = 50
"""Parentheses and negations inside one another."""

TYPE = spec.Value(spec.Path("type"), spec.Json())
EVENT = spec.Value(spec.Path("event"), spec.Json())
_STARTED = {
    '"': "the closing quote",
    "'": "the closing quote",
    ".": "a name after the dot",
    "[": '[0] or ["name"]',
}
"""What would have to go on after a character, where it does not."""

_JOINTS = '"and", "or" or the end'
_LITERALS = "a quoted text, a number, true, false or null"

_LITERAL = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<mark>!=|<=|>=|[=<>!(),])""",
    re.DOTALL,
)


class FqlError(ValueError):
    """An expression that cannot be read.

    :param position: the character at which it goes wrong, from 1.
    :param expected: what would be right there.
    :param found: what stands there instead.
    """

    def __init__(self, position: int, expected: str, found: str) -> None:
        super().__init__(f"character {position}: expected {expected} (found {found})")
        self.position = position
        self.expected = expected


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, number, mark, path or end
    text: str
    position: int
    steps: tuple[str | int, ...] = ()

    @property
    def word(self) -> str:
        """The word in lower case, where the token is one."""
        return self.text.lower() if self.kind == "path" and len(self.steps) == 1 else ""


def parse(text: str) -> spec.Condition:
    """Return the condition that an expression stands for.

    :raises FqlError: with the position of the mistake.
    """
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    end = _skip_space(text, 0)
    while end < len(text):
        start = end
        steps, end = read_steps(text, start, in_expression=True)
        found = _LITERAL.match(text, start)
        # What reads as a number may go on as a name, as in 740107d2.
        if found is not None and (found.lastgroup != "number" or found.end() >= end):
            tokens.append(_Token(found.lastgroup or "", found[0], start))
            end = found.end()
        elif steps:
            tokens.append(_Token("path", text[start:end], start, steps))
        else:
            expected = _STARTED.get(text[start], "a field, a value or a sign")
            raise FqlError(start + 1, expected, _shown(text[start:]))
        end = _skip_space(text, end)
    tokens.append(_Token("end", "", end))
    return tokens


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _shown(text: str) -> str:
    return "'" + (text if len(text) <= 20 else text[:17] + "...") + "'" if text else "the end"


class _Parser:
    """Reads tokens from left to right, one function for each rule of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def parse(self) -> spec.Condition:
        condition = self._either()
        if self._token.kind != "end":
            raise self._error(_JOINTS)
        return condition

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _error(self, expected: str) -> FqlError:
        return FqlError(self._token.position + 1, expected, _shown(self._token.text))

    def _take_mark(self, mark: str) -> bool:
        if self._token.kind != "mark" or self._token.text != mark:
            return False
        self._next += 1
        return True

    def _take_word(self, word: str) -> bool:
        if self._token.word != word:
            return False
        self._next += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._take_mark(mark):
            raise self._error(f'"{mark}"')

    def _either(self) -> spec.Condition:
        conditions = [self._both()]
        while self._take_word("or"):
            conditions.append(self._both())
        return conditions[0] if len(conditions) == 1 else spec.Some(tuple(conditions))

    def _both(self) -> spec.Condition:
        conditions = [self._not()]
        while self._take_word("and"):
            conditions.append(self._not())
        return conditions[0] if len(conditions) == 1 else spec.Every(tuple(conditions))

    def _not(self) -> spec.Condition:
        if self._depth >= MAX_DEPTH:
            raise self._error(f"at most {MAX_DEPTH} levels of parentheses and negations")
        self._depth += 1
        if self._take_mark("!") or self._take_word("not"):
            condition: spec.Condition = spec.Not(self._not())
        elif self._take_mark("("):
            condition = self._either()
            if not self._take_mark(")"):
                raise self._error('"and", "or" or ")"')
        elif self._token.word in ("contains", "match"):
            condition = self._call()
        else:
            condition = self._comparison()
        self._depth -= 1
        return condition

    def _path(self, expected: str = "a field") -> spec.Value:
        token = self._token
        if token.kind != "path":
            raise self._error(expected)
        try:
            path = event_path(token.steps)
        except PathError as error:
            raise self._error(error.expected) from None
        self._next += 1
        return spec.Value(path, spec.Json())

    def _text(self) -> str:
        if self._token.kind != "text":
            raise self._error("a quoted text")
        return unquoted(self._take().text)

    def _number(self, expected: str = "a number") -> float:
        if self._token.kind != "number":
            raise self._error(expected)
        number = float(self._token.text)
        if not math.isfinite(number):
            raise self._error("a number below 1e308")
        self._next += 1
        return number

    def _call(self) -> spec.Condition:
        name = self._take().word
        self._expect("(")
        value = self._path()
        self._expect(",")
        text = self._text()
        self._expect(")")
        return spec.Contains(value, text) if name == "contains" else spec.Matches(value, text)

    def _comparison(self) -> spec.Condition:
        value = self._path('a field, "not", "(", "contains" or "match"')
        match self._token.text:
            case "=" | "!=" as sign:
                self._next += 1
                equality = self._equality(value)
                return equality if sign == "=" else _negation(equality)
            case "<" | "<=" | ">" | ">=" as operator:
                self._next += 1
                return spec.Compare(value, operator, self._number())
            case _:
                raise self._error("one of = != < <= > >=")

    def _equality(self, value: spec.Value) -> spec.Condition:
        if self._take_word("null"):
            return spec.Not(spec.Exists(value))
        if self._take_word("true"):
            return spec.Equals(value, True)
        if self._take_word("false"):
            return spec.Equals(value, False)
        if self._token.kind == "text":
            return spec.Equals(value, self._text())
        return spec.Equals(value, self._number(_LITERALS))


def types_named(condition: spec.Condition) -> set[str]:
    """Return the types that a condition compares with."""
    return named(TYPE, condition)


def named(field: spec.Value, condition: spec.Condition) -> set[str]:
    """Return the texts that a condition compares a field with."""
    match condition:
        case spec.Equals(of, str(value)) if of == field:
            return {value}
        case spec.Not(of):
            return named(field, of)
        case spec.Every(conditions) | spec.Some(conditions):
            return set().union(*(named(field, one) for one in conditions))
        case _:
            return set()


def simplify(
    condition: spec.Condition, text: str | None, field: spec.Value = TYPE
) -> spec.Condition | bool:
    """Return what is left of a condition for events of one type, or with one text elsewhere.

    :param text: the type; None for one that the condition does not name.
    :param field: where the text is.
    """

    def decide(one: spec.Condition) -> bool | None:
        match one:
            case spec.Equals(of, str(value)) if of == field:
                return text == value
            case spec.Exists(of) if of == field and text is not None:
                return True
            case _:
                return None

    return decided(condition, decide)


def decided(
    condition: spec.Condition, decide: Callable[[spec.Condition], bool | None]
) -> spec.Condition | bool:
    """Return what is left of a condition.

    :param decide: tells whether a comparison holds, or None where that stays open.
    """
    match condition:
        case spec.Not(of):
            left = decided(of, decide)
            return not left if isinstance(left, bool) else _negation(left)
        case spec.Every(conditions):
            parts = (decided(one, decide) for one in conditions)
            return _joined(parts, spec.Every, neutral=True)
        case spec.Some(conditions):
            parts = (decided(one, decide) for one in conditions)
            return _joined(parts, spec.Some, neutral=False)
        case _:
            known = decide(condition)
            return condition if known is None else known


def _negation(condition: spec.Condition) -> spec.Condition:
    return condition.of if isinstance(condition, spec.Not) else spec.Not(condition)


def _joined(
    conditions: Iterable[spec.Condition | bool],
    join: Callable[[tuple[spec.Condition, ...]], spec.Condition],
    *,
    neutral: bool,
) -> spec.Condition | bool:
    """Return a conjunction (or disjunction) without what is always true (or never)."""
    left: list[spec.Condition] = []
    for condition in conditions:
        if not isinstance(condition, bool):
            left.append(condition)
        elif condition is not neutral:
            return condition
    if not left:
        return neutral
    return left[0] if len(left) == 1 else join(tuple(left))
