"""What follows from the silence of a worker, and from its death.

Times are those of a clock that never goes back, in seconds.
"""

__all__ = ["Pulse", "Restarts"]

_MOST_SILENT_S = 2.0
"""What one look can add.  Who did not look for longer was stopped himself, or had no time, and most
likely so was the other one."""

_SOUND_S = 30.0
"""Who has run for so long was sound; its death was an accident."""

_FIRST_S = 0.5
_MOST_S = 30.0


class Pulse:
    """The silence of one process, as far as the one who asks was there to hear it."""

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
        self._silent_s += min(now - self._looked, _MOST_SILENT_S)
        self._looked = now
        return self._silent_s


class Restarts:
    """The deaths of one worker, and how long to wait after each."""

    def __init__(self) -> None:
        self.count = 0
        self._quick = 0  # deaths in a row soon after the start

    def after_death(self, started: float, now: float) -> float:
        """Return how long to wait: nothing after an accident, longer and longer in a crash loop."""
        self.count += 1
        self._quick = self._quick + 1 if now - started < _SOUND_S else 0
        if self._quick <= 1:
            return 0.0
        return float(min(_MOST_S, _FIRST_S * 2 ** (self._quick - 2)))
