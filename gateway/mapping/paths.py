"""Paths: places in an event, as in ``$.context.app.name`` or ``$.properties["a.b"][0]``.

A member's name stands after a dot or quoted in brackets; a number, in brackets or after a dot, is
the index of a list, so that ``$.properties.products.0.sku`` is the first product's.
"""

import re
from typing import TypeAlias

from fastmap import spec

__all__ = ["ROOTS", "PathError", "event_path", "item_path", "read_steps", "unquoted"]

_TEXTS = {
    "type": "type",
    "event": "event",
    "name": "name",
    "category": "category",
    "channel": "channel",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "groupId": "group_id",
    "previousId": "previous_id",
    "messageId": "message_id",
    "group_key": "group_key",
    "timestamp": "timestamp",
    "originalTimestamp": "original_timestamp",
    "sentAt": "sent_at",
}
_OBJECTS = {
    "context": "context",
    "properties": "properties",
    "traits": "traits",
    "integrations": "integrations",
}
ROOTS = _TEXTS | _OBJECTS
"""What a path can start at: members of an event, and the inputs of ``fastmap`` that hold them."""

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_BRACKETS = rf"\[\s*(?:(?P<index>\d{{1,6}})|(?P<quoted>{_QUOTED}))\s*\]"
_WORD = r"[\w$-]+"
_ANYTHING = r"[^.\[\]]+"
_FIRST = {word: re.compile(rf"(?P<name>{word})") for word in (_WORD, _ANYTHING)}
_NEXT = {
    word: re.compile(rf"\.(?P<name>{word})|{_BRACKETS}", re.DOTALL) for word in (_WORD, _ANYTHING)
}

Steps: TypeAlias = tuple[str | int, ...]


class PathError(ValueError):
    """A path that cannot be read, or that leads to nothing an event can have.

    :param expected: what would be right.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected} (found {found})")
        self.expected = expected


def unquoted(text: str) -> str:
    """Return the text inside quotes; a backslash takes the meaning from what follows it."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def read_steps(text: str, start: int = 0, *, in_expression: bool = False) -> tuple[Steps, int]:
    """Return the steps of the path that starts at a position, and where it ends.

    :param in_expression: other text follows, so that names end where a word does.
    """
    word = _WORD if in_expression else _ANYTHING
    steps: list[str | int] = []
    found = _FIRST[word].match(text, start)
    while found is not None:
        steps.append(_step(found))
        start = found.end()
        found = _NEXT[word].match(text, start)
    return tuple(steps), start


def _step(found: re.Match[str]) -> str | int:
    parts = found.groupdict()
    if parts.get("quoted"):
        return unquoted(parts["quoted"])
    if parts.get("index"):
        return int(parts["index"])
    name = parts["name"]
    is_index = found[0].startswith(".") and name.isascii() and name.isdecimal() and len(name) <= 6
    return int(name) if is_index else name


def _all_steps(text: str) -> Steps:
    start = 2 if text.startswith("$.") else 0
    steps, end = read_steps(text, start)
    if end < len(text) or not steps:
        raise PathError(f'.name, [0] or ["name"] at character {end + 1}', repr(text))
    return steps


def event_path(text: str | Steps) -> spec.Path:
    """Return the place in an event that a path means, with or without ``$.`` before it.

    :raises PathError: it is malformed, or starts at nothing that a mapping can read.
    """
    root, *keys = _all_steps(text) if isinstance(text, str) else text
    if not isinstance(root, str) or root not in ROOTS:
        raise PathError(f"a path that starts with one of {', '.join(ROOTS)}", repr(root))
    if keys and root in _TEXTS:
        raise PathError(f"{root} without members, since it is a text", repr(keys[0]))
    return spec.Path(ROOTS[root], tuple(keys))


def item_path(text: str) -> spec.Path:
    """Return the place in an item of ``@arrayPath`` that a path means.

    :raises PathError: it is malformed.
    """
    return spec.Path(spec.ITEM, _all_steps(text))
