"""How the poison records of one batch are found, and when they are given up.

No I/O here.  ``gateway.delivery.isolation`` sends what this says.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from gateway.delivery.batch import Piece
from gateway.delivery.blame import Blame
from gateway.delivery.outcome import (
    Delivered,
    Outcome,
    Partial,
    Paused,
    RetryLater,
    Split,
    is_failure,
)
from gateway.delivery.progress import Progress, halves

__all__ = ["MOST_STRIKES", "PoisonCase"]

MOST_STRIKES = 10
"""How often a record fails alone, while others are accepted, before it is a dead letter.  With the
pauses between them, that takes more than five minutes."""


class _Waiting(NamedTuple):
    """Records to be sent: so many at once, if not as many as possible."""

    piece: Piece
    at_most: int | None = None


class PoisonCase:
    """A batch with records that fail while others pass, tried in rounds.

    Each round tries everything once: what fails is halved, down to single records, which are left
    to the next round.  Records about the same stay together, and in order.

    :param subjects: what each record of the batch is about, where records about the same must keep
        their order.
    """

    def __init__(self, progress: Progress, subjects: Sequence[Hashable] | None) -> None:
        self.progress = progress
        self.rounds = 0
        self.after_s: float | None = None
        """The longest that the service asked to be left alone in this round, if it did."""
        self._subjects = subjects
        self._since = progress.failed_s
        self._stack: list[_Waiting] = []  # next on top
        self._left: list[Piece] = []  # each begins with a record that failed alone
        self._failed_s: dict[int, float] = {}  # when records last failed alone
        self._strikes: Counter[int] = Counter()

    @property
    def suspects(self) -> int:
        """How many records failed alone while others were accepted, and are tried again."""
        return sum(1 for index in self._failed_s if self._strikes[index])

    def begin_round(self) -> None:
        """Take everything that is to be sent."""
        untried = sorted(self.progress.untried)
        self.progress.withhold(untried)
        self.rounds += 1
        self.after_s = None
        self._left = []
        rest: list[int] = []
        apart: dict[Hashable, list[int]] = {
            self._subject(index): [] for index in untried if index in self._failed_s
        }
        for index in untried:
            apart.get(self._subject(index), rest).append(index)
        self._stack = [_Waiting(piece, 1) for piece in list(apart.values())[::-1]]
        if rest:
            self._stack.append(_Waiting(rest))

    def end_round(self) -> None:
        """Give back what was not sent, and what failed."""
        self.progress.put_back(*self._left, *(waiting.piece for waiting in self._stack))
        self._left, self._stack = [], []

    @property
    def has_more(self) -> bool:
        """Whether there is more to be sent in this round."""
        return bool(self._stack)

    def next(self) -> Piece:
        """Return what to send now."""
        piece, at_most = self._stack[-1]
        return self.progress.start_of(piece, at_most)

    def note(self, part: Piece, outcome: Outcome | None, now: float, blame: Blame) -> int:
        """Take note of what became of what ``next`` returned.

        Returns how many strikes the record has that failed alone; 0 where there is none.
        """
        waiting = self._stack.pop()
        piece, at_most = waiting
        if isinstance(outcome, RetryLater) and outcome.after_s is not None:
            self.after_s = max(self.after_s or 0.0, outcome.after_s)
        is_single = len(part) == 1
        if isinstance(outcome, Delivered | Partial) or (isinstance(outcome, Split) and is_single):
            for index in part:
                if self._failed_s.pop(index, None) is not None:
                    blame.recover(now)
            if rest := piece[len(part) :]:
                self._stack.append(_Waiting(rest, at_most and 2 * at_most))
        elif not (isinstance(outcome, Split) or is_failure(outcome)):
            self._stack.append(waiting)  # it was not the time for it
        elif len(piece) > 1 and (parts := halves(piece, self._subjects)).are_apart:
            self._stack += (_Waiting(parts.second), _Waiting(parts.first))
        elif not is_single:
            self._stack.append(_Waiting(piece, len(part) // 2))
        elif isinstance(outcome, RetryLater | Paused):
            return self._strike(piece, outcome.reason, now, blame)
        return 0

    def _strike(self, piece: Piece, reason: str, now: float, blame: Blame) -> int:
        """Take note that the first of these records failed alone; the others wait for it."""
        index = piece[0]
        weight = blame.weigh(self._failed_s.get(index, self._since), now)
        strikes = self._strikes[index] = max(0, self._strikes[index] + weight)
        self._failed_s[index] = now
        self.progress.has_failed_alone = True
        if strikes >= MOST_STRIKES:
            del self._failed_s[index]
            self.progress.give_up(
                index, f"failed {strikes} times alone while others were accepted: {reason}"
            )
            piece = piece[1:]
        if piece:
            self._left.append(piece)
        return strikes

    def _subject(self, index: int) -> Hashable:
        return index if self._subjects is None else self._subjects[index]
