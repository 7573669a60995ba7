"""What operators are told of the mistakes of clients: one line each, now and then.

Clients decide how often something happens, hostile ones also how many kinds of it there are.  So
each cause is written at most once a minute, and no more than some causes of one kind.
"""

import logging
from collections.abc import Hashable

from gateway.clock import Clock

__all__ = ["Notices", "masked", "shown"]

_EVERY_S = 60.0

_MAX_CAUSES = 8
"""Of one kind in a minute; further ones are only counted."""

_SHOWN = 4
_MAX_TEXT = 80


class Notices:
    """Writes what is worth a line, at most once a minute for each cause.

    Nothing is ever raised, and what is not written costs no more than looking it up.

    :param log: where to.
    """

    __slots__ = ("_clock", "_kinds", "_log")

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def say(self, kind: str, cause: Hashable, text: str, *values: object) -> None:
        """Write a line, unless the same cause has been written within the last minute.

        :param kind: of a closed set, never what a client sends.
        :param cause: which of the kind it is.
        :param text: what happened and what to do; ``values`` are put in as ``logging`` does.
            Those that clients choose have to be ``masked`` or ``shown``.
        """
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind()
        unsaid = found.admit(cause, self._clock.monotonic())
        if unsaid is None:
            return
        if unsaid:
            text, values = f"{text} (and %d more like it since the last line)", (*values, unsaid)
        self._log.warning(text, *values)


class _Kind:
    """When the causes of one kind were written, the oldest first."""

    __slots__ = ("_said", "_unsaid")

    def __init__(self) -> None:
        self._said: dict[Hashable, float] = {}
        self._unsaid = 0

    def admit(self, cause: Hashable, now_s: float) -> int | None:
        """Return None where a cause is not to be written, else how many were not before it."""
        said = self._said
        if len(said) >= _MAX_CAUSES or cause in said:
            for each, when_s in list(said.items()):
                if now_s - when_s < _EVERY_S:
                    break
                del said[each]
            if len(said) >= _MAX_CAUSES or cause in said:
                self._unsaid += 1
                return None
        said[cause] = now_s
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid


def masked(key: str) -> str:
    """Return as much of a key as tells its owner which one it is, and nobody else anything.

    That is less than a third of it, in one short line, whatever it holds.
    """
    shown = key[: min(_SHOWN, len(key) // 4)]
    return f"{shown}…" if shown.isascii() and shown.isprintable() else "…"


def shown(text: str) -> str:
    """Return what a client has sent, which is no secret, as one short line, whatever it holds."""
    short = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
    return "".join(each if each.isprintable() else "?" for each in short)
