"""How long a batch that is not full waits for more."""

import asyncio
from collections.abc import Callable

__all__ = ["LINGER_S", "Linger"]

LINGER_S = 0.1
"""A request costs about as much CPU time as three hundred of its records, and commits come up to
some hundred times a second: ten requests a second instead of one for each commit.  Mixpanel shows
events seconds after it has got them, so nobody sees a tenth of one."""


class Linger:
    """The wait of one queue: begun by the first record that comes, until a batch is taken.

    :param on_end: called when it has been long enough.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None  # also when it has run out
        self._is_allowed = True
        self.is_on = False
        """Whether there is still something to wait for."""

    def begin(self) -> None:
        """Wait from now on, unless that has begun already."""
        if self._timer is None and self._is_allowed:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._end)
            self.is_on = True

    def reset(self) -> None:
        """Take note that what has waited is on its way."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.is_on = False

    def forbid(self) -> None:
        """Never wait again: everything is to be delivered as soon as possible."""
        self._is_allowed = False
        self.reset()

    def _end(self) -> None:
        self.is_on = False
        self._on_end()
