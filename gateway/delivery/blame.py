"""Whether the service is to blame for requests that fail as in an outage, or what is in them is.

No I/O and no clock here: the caller says what the time is.
"""

__all__ = ["MIN_FAILURES", "Blame"]

MIN_FAILURES = 2
"""Failed requests with the same records before others are sent in their place."""

_TOLERATED = 8
"""Failures in a row, with nothing accepted between them, that may still be the records' fault."""

_ENOUGH = 2
"""Of these, before no more records than those that failed are sent until anything is accepted."""

_KNOWN_S = 120.0
"""How long a record that failed while others passed makes it likely that there are more."""

_NEVER = float("-inf")


class Blame:
    """What has lately become of one queue's requests, as far as it tells records from an outage.

    A *poison* record fails each time, and others pass.  So what passes between two failures of a
    record speaks against the record, unless something that failed has passed since, as it was:
    then the service is unreliable, and failures prove nothing.
    """

    def __init__(self) -> None:
        self._answered_s = self._accepted_s = self._unreliable_s = _NEVER
        self._known_s = _NEVER
        self._in_vain = 0  # failures that were tolerated since anything was accepted
        self._failed_s = _NEVER  # the last of these

    def answer(self, now: float) -> None:
        """Take note that the service accepted or refused something.

        :param now: seconds on a clock that never goes back.
        """
        self._answered_s = now

    def accept(self, now: float) -> None:
        """Take note that at least one record was accepted."""
        self._accepted_s = now
        self._in_vain = 0

    def fail(self, began_s: float, now: float, after_s: float | None) -> None:
        """Take note of a failure for which others did not have to wait.

        :param began_s: when the request did: those that fail together are one failure.
        :param after_s: how long the service asked to be left alone, if it did: that is believed,
            and nothing more is tolerated until something is accepted.
        """
        if began_s >= self._failed_s:
            self._in_vain += 1
            self._failed_s = now
        if after_s is not None:
            self._in_vain = max(self._in_vain, _TOLERATED)

    def recover(self, now: float) -> None:
        """Take note that something which had failed was accepted as it was."""
        self._unreliable_s = now
        self._known_s = _NEVER

    def is_on_records(self, failures: int, failed_s: float) -> bool:
        """Whether records are to blame that failed so often, the last time then."""
        return failures >= MIN_FAILURES and self._answered_s >= failed_s

    def is_failing(self) -> bool:
        """Whether so much failed that those tried apart should show first that it is no outage."""
        return self._in_vain >= _ENOUGH

    def is_in_doubt(self) -> bool:
        """Whether so much failed that it may be an outage."""
        return self._in_vain >= _TOLERATED

    def tolerates(self, now: float) -> bool:
        """Whether others need not wait after a failure: there are poison records, and no outage."""
        return now - self._known_s < _KNOWN_S and not self.is_in_doubt()

    def weigh(self, since: float, now: float) -> int:
        """Return what it means that a record failed alone: 1, against it; 0, nothing; -1, for it.

        :param since: when it last failed before that.
        """
        if self._unreliable_s >= since:
            return -1
        if self._accepted_s < since:
            return 0
        self._known_s = now
        return 1
