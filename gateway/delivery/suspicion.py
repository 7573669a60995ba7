"""Whether the records are to blame for being refused, or a setting is.

No I/O and no clock here: the caller says what the time is.
"""

__all__ = ["LATELY_S", "MIN_REFUSED", "Suspicion"]

LATELY_S = 120.0
"""How long something that was accepted proves that the settings are right."""

MIN_REFUSED = 10
"""Refused records below which a setting is never suspected.

The first event that a project ever gets may be a bad one; ten in a row no longer look like an
accident.
"""


class Suspicion:
    """What the service has lately said about one queue.

    Whatever was accepted shows that credentials, token, host and project are right, whoever sent
    it: what is refused then is refused for its own sake, however much of it there is.  Otherwise
    one client that sends nothing but garbage could stop what all others send.  A setting is
    suspected only when nothing has been accepted lately, and several records have been refused.
    """

    def __init__(self) -> None:
        self._accepted_s: float | None = None
        self._is_doubted = False
        self.refused = 0
        """Records that were refused since something was accepted."""

    def accept(self, now: float) -> None:
        """Take note that at least one record was accepted.

        :param now: seconds on a clock that never goes back.
        """
        self._accepted_s = now
        self._is_doubted = False
        self.refused = 0

    def refuse(self, records: int) -> None:
        """Take note that the service refused records, each for itself."""
        self.refused += records
        self._is_doubted = False

    def doubt(self) -> None:
        """Take note that a record did not get as far as the service: others may not either."""
        self._accepted_s = None
        self._is_doubted = True
        self.refused += 1

    def has_accepted_since(self, then: float) -> bool:
        """Whether something was accepted at that time or later."""
        return self._accepted_s is not None and self._accepted_s >= then

    def is_proven(self, now: float) -> bool:
        """Whether something was accepted lately."""
        return self.has_accepted_since(now - LATELY_S)

    def is_on(self, now: float) -> bool:
        """Whether a setting is suspected."""
        if self._is_doubted:
            return True
        return self.refused >= MIN_REFUSED and not self.is_proven(now)
