"""How long nothing has been heard from a process."""

__all__ = ["Pulse"]

_MOST_S = 2.0
"""What one look can add.  Who did not look for longer was stopped himself, or had no time, and most
likely so was the other one."""


class Pulse:
    """The silence of one process, as far as the one who asks was there to hear it.

    Times are those of a clock that never goes back, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._looked = now
        self._silent_s = 0.0
        self.was_heard = False

    def hear(self) -> None:
        """Take note of an answer."""
        self._silent_s = 0.0
        self.was_heard = True

    def look(self, now: float) -> float:
        """Return for how many seconds it has been silent; to be called about once a second."""
        self._silent_s += min(now - self._looked, _MOST_S)
        self._looked = now
        return self._silent_s
