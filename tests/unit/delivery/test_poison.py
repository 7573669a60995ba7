"""How poison records are found, and when they are given up."""

import json
from collections.abc import Callable, Collection, Hashable, Sequence

import pytest

from gateway.delivery.blame import Blame
from gateway.delivery.outcome import Delivered, Outcome, RetryLater, Split
from gateway.delivery.poison import MOST_STRIKES, PoisonCase
from gateway.delivery.progress import Progress
from gateway.model import Queue
from gateway.spool.chunks import NumberedChunk
from tests.support.leases import batch_of

FAILED = RetryLater(None, "status 500")


class Rounds:
    """A case, an answer to each request, and a clock that goes on by one for each."""

    def __init__(self, records: int, subjects: Sequence[Hashable] | None = None) -> None:
        lines = b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(records))
        chunk = NumberedChunk(
            id=1,
            queue=Queue("main", "engage"),
            records=records,
            raw_bytes=len(lines),
            created_ms=0,
            encoding="identity",
            payload=lines,
        )
        self.progress = Progress(batch_of(chunk), max_records=2000, max_bytes=2**21)
        self.case = PoisonCase(self.progress, subjects)
        self.blame = Blame()
        self.now = 0.0
        self.taken: list[int] = []

    def round(self, answer: Callable[[Sequence[int]], Outcome | None]) -> list[list[int]]:
        """Return what was sent in one round."""
        sent = []
        self.case.begin_round()
        while self.case.has_more:
            part = self.case.next()
            sent.append(list(part))
            outcome = answer(part)
            self.now += 1
            if isinstance(outcome, Delivered | Split):
                self.progress.apply(part, outcome)
                self.taken += part
                self.blame.accept(self.now)
            self.case.note(part, outcome, self.now, self.blame)
            assert len(sent) < 10_000
        self.case.end_round()
        return sent

    def others_pass(self) -> None:
        self.now += 1
        self.blame.accept(self.now)


def failing(bad: Collection[int]) -> Callable[[Sequence[int]], Outcome]:
    return lambda part: FAILED if set(part) & set(bad) else Delivered()


@pytest.mark.parametrize("bad", [{0}, {99}, {40, 41}, {0, 50, 99}, set(range(0, 100, 3))])
def test_the_first_round_brings_all_others_through(bad: set[int]) -> None:
    rounds = Rounds(100)
    sent = rounds.round(failing(bad))
    assert sorted(rounds.taken) == [n for n in range(100) if n not in bad]
    assert rounds.progress.untried == sorted(bad)
    assert len(sent) <= 2 * 7 * len(bad) + 1
    rounds.others_pass()
    assert rounds.round(failing(bad)) == [[n] for n in sorted(bad)], "alone from then on"


def test_a_record_is_given_up_after_ten_failures_alone_with_others_between_them() -> None:
    rounds = Rounds(2)
    rounds.blame.accept(0.0)
    for strikes in range(1, MOST_STRIKES):
        rounds.round(failing({1}))
        assert rounds.progress.untried == [1]
        assert rounds.case.suspects == 1, strikes
        rounds.others_pass()
    rounds.round(failing({1}))
    assert not rounds.progress.has_untried
    assert rounds.case.suspects == 0
    (letter,) = rounds.progress.conclude().dead
    assert (letter.reason, letter.payload) == ("unanswered", b'{"n": 1}')
    assert letter.detail == "failed 10 times alone while others were accepted: status 500"


def test_a_record_is_never_given_up_while_nothing_else_passes() -> None:
    rounds = Rounds(2)
    for _ in range(100):
        rounds.round(failing({0, 1}))
    assert rounds.progress.untried == [0, 1]
    assert rounds.case.suspects == 0


def test_what_passes_at_last_takes_strikes_back() -> None:
    """One of two was not poison after all: the service fails now and then."""
    rounds = Rounds(2)
    for _ in range(MOST_STRIKES - 1):
        rounds.round(failing({0, 1}))
        rounds.others_pass()
    rounds.round(failing({1}))
    for _ in range(2):
        rounds.round(failing({1}))
        assert rounds.progress.untried == [1]
        rounds.others_pass()


def test_records_about_the_same_wait_for_each_other_and_keep_their_order() -> None:
    subjects = [n % 3 for n in range(30)]
    rounds = Rounds(30, subjects)
    rounds.round(failing({4}))
    assert rounds.progress.untried == list(range(4, 30, 3))
    assert [n for n in rounds.taken if n % 3 == 1] == [1]
    assert rounds.round(failing({4})) == [[4]]
    sent = rounds.round(failing(()))
    assert sent == [[4], [7, 10], [13, 16, 19, 22], [25, 28]]
    for subject in range(3):
        mine = [n for n in rounds.taken if n % 3 == subject]
        assert mine == list(range(subject, 30, 3))


@pytest.mark.parametrize("outcome", [None, RetryLater(7, "429", throttled=True)])
def test_what_says_nothing_about_a_record_is_sent_again(outcome: Outcome | None) -> None:
    rounds = Rounds(8)
    answers = iter([FAILED, outcome, outcome])
    sent = rounds.round(lambda part: next(answers, Delivered()))
    assert sent == [list(range(8)), *[[0, 1, 2, 3]] * 3, [4, 5, 6, 7]]
    assert rounds.taken == list(range(8))


def test_a_request_that_is_refused_as_a_whole_is_halved_as_well() -> None:
    rounds = Rounds(8)
    refused = Split("refused", "no")
    rounds.round(lambda part: refused if 3 in part and len(part) > 1 else Delivered())
    assert sorted(rounds.taken) == list(range(8)) or not rounds.progress.has_untried


def test_what_is_given_up_is_settled_before_what_comes_after_it_is_sent() -> None:
    """Else a crash between the two would send it after that."""
    rounds = Rounds(3, ["a", "a", "b"])
    rounds.blame.accept(0.0)
    for _ in range(MOST_STRIKES):
        rounds.round(failing({0}))
        rounds.others_pass()
    assert rounds.taken == [2]
    assert rounds.progress.unsettled == [0, 1, 2]
    settlement = rounds.progress.keep()
    assert settlement is not None
    assert settlement.remaining is not None
    assert (len(settlement.dead), settlement.delivered) == (1, 1)
    assert settlement.remaining.lines == b'{"n": 1}\n'
    rounds.progress.settled(settlement)
    assert rounds.progress.unsettled == [1]
    rounds.round(failing({0}))
    settlement = rounds.progress.conclude()
    assert (settlement.dead, settlement.delivered) == ((), 1)
