"""Whether the service or records are to blame for requests that fail."""

from gateway.delivery.blame import Blame


def test_what_passes_between_two_failures_speaks_against_a_record() -> None:
    blame = Blame()
    blame.accept(5.0)
    assert blame.weigh(4.0, 6.0) == 1
    assert blame.weigh(6.0, 7.0) == 0, "nothing has passed since"


def test_an_outage_speaks_against_no_record() -> None:
    blame = Blame()
    blame.accept(5.0)
    assert [blame.weigh(since, since + 1) for since in (6.0, 7.0, 8.0)] == [0, 0, 0]


def test_failures_of_an_unreliable_service_prove_nothing() -> None:
    blame = Blame()
    blame.accept(5.0)
    blame.recover(5.0)
    assert blame.weigh(4.0, 6.0) == -1
    assert not blame.tolerates(6.0)


def test_records_are_to_blame_when_others_were_answered_since() -> None:
    blame = Blame()
    assert not blame.is_on_records(2, 1.0)
    blame.answer(2.0)
    assert blame.is_on_records(2, 1.0)
    assert not blame.is_on_records(2, 3.0), "they failed once more"
    assert not blame.is_on_records(1, 1.0)


def test_failures_are_tolerated_while_there_is_poison_but_only_so_many() -> None:
    blame = Blame()
    blame.accept(1.0)
    assert not blame.tolerates(1.0)
    assert blame.weigh(0.0, 2.0) == 1
    assert blame.tolerates(2.0)
    assert blame.tolerates(121.0)
    assert not blame.tolerates(122.0), "that was long ago"
    for second in range(3, 10):
        for _ in range(10):  # together
            blame.fail(second, second + 1, None)
    assert blame.is_failing()
    assert not blame.is_in_doubt()
    assert blame.tolerates(3.0)
    blame.fail(10.0, 11.0, None)
    assert blame.is_in_doubt()
    assert not blame.tolerates(3.0)
    blame.accept(4.0)
    assert blame.tolerates(4.0)


def test_a_service_that_wants_to_be_left_alone_is_believed() -> None:
    blame = Blame()
    blame.accept(1.0)
    blame.weigh(0.0, 2.0)
    blame.fail(2.0, 3.0, 30.0)
    assert blame.is_in_doubt()
    assert not blame.tolerates(3.0)
