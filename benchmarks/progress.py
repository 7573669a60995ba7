"""How far a benchmark is, by the time that its parts take."""

import time
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress", "Show"]

Show: TypeAlias = Callable[[str, float, float], None]
"""Takes what is being measured, and how much of how much is done."""


class Progress:
    """Tells how far it is.

    :param total_s: of everything that will be a ``step``.
    """

    def __init__(self, show: Show, total_s: float) -> None:
        self._show = show
        self._total_s = total_s
        self._done_s = 0.0

    def step(self, name: str, seconds: float) -> Callable[[], None]:
        """Begin a part; what is returned is to be called now and then until the next one."""
        began, base = time.monotonic(), self._done_s
        self._done_s += seconds

        def watch() -> None:
            self._show(name, base + min(seconds, time.monotonic() - began), self._total_s)

        watch()
        return watch
