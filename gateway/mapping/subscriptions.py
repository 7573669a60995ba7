"""Subscriptions: which events an action is for, as in ``type = "track" and event != "X"``."""

import re
from dataclasses import dataclass

__all__ = ["Subscription", "parse"]

_CONDITION = re.compile(r'\s*(type|event)\s*(!=|=)\s*"((?:[^"\\]|\\.)*)"\s*')


@dataclass(frozen=True, slots=True)
class Subscription:
    """A conjunction of comparisons.

    :param type: the only type that matches.
    :param event: the only event name that matches, or None.
    :param not_events: event names that do not match.
    """

    type: str
    event: str | None = None
    not_events: frozenset[str] = frozenset()

    def matches(self, event: str | None) -> bool:
        """Whether an event of the right type with this name is meant; names compare exactly."""
        if self.event is not None:
            return event == self.event
        return event not in self.not_events


def parse(expression: str) -> Subscription:
    """Return the subscription an expression stands for.

    :raises ValueError: the message gives the position of the mistake.
    """
    kind: str | None = None
    event: str | None = None
    not_events: set[str] = set()
    position = 0
    while True:
        found = _CONDITION.match(expression, position)
        if found is None:
            raise ValueError(
                f"character {position + 1}: expected type or event, = or !=, and a quoted text"
            )
        name, operator, text = found[1], found[2], re.sub(r"\\(.)", r"\1", found[3])
        if name == "type" and operator == "=" and kind is None:
            kind = text
        elif name == "event" and operator == "=" and event is None:
            event = text
        elif name == "event" and operator == "!=":
            not_events.add(text)
        else:
            raise ValueError(f"character {position + 1}: {name} {operator} cannot be used here")
        position = found.end()
        if position == len(expression):
            break
        if not expression.startswith("and ", position):
            raise ValueError(f'character {position + 1}: expected "and" or the end')
        position += len("and ")
    if kind is None:
        raise ValueError('expected a type, as in type = "track"')
    return Subscription(kind, event, frozenset(not_events))
