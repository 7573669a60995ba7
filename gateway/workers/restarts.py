"""When a worker that has died is started again."""

__all__ = ["Restarts"]

_SOUND_S = 30.0
"""Who has run for so long was sound; its death was an accident."""

_FIRST_S = 0.5
_MOST_S = 30.0


class Restarts:
    """The deaths of one worker, and how long to wait after each.

    Times are those of a clock that never goes back, in seconds.
    """

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
