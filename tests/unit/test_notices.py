"""What operators are told of clients: enough, and never more than they can read."""

import logging

import pytest

from gateway.notices import Notices, masked


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return int(self.now_s * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notices(clock: Clock) -> Notices:
    return Notices(logging.getLogger("test"), clock)


def test_cause_is_written_once_a_minute(
    notices: Notices, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        notices.say("kind", "a", "of %s", "a")
        notices.say("kind", "b", "of %s", "b")
    clock.now_s += 59.9
    notices.say("kind", "a", "of %s", "a")
    clock.now_s += 0.2
    notices.say("kind", "a", "of %s", "a")
    notices.say("kind", "a", "of %s", "a")
    assert caplog.messages == [
        "of a",
        "of b",
        "of a (and 5 more like it since the last line)",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_causes_that_clients_make_up_are_bounded_and_hide_no_other_kind(
    notices: Notices, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(3):
        for number in range(10_000):
            notices.say("hostile", number, "of %d", number)
        notices.say("honest", None, "honest")
        assert len(caplog.messages) == 9 * (minute + 1)
        clock.now_s += 61
    assert "(and 9992 more like it since the last line)" in caplog.messages[9]
    assert caplog.messages.count("honest") == 3
    assert sum(len(kind._said) for kind in notices._kinds.values()) <= 9


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("", "…"),
        ("abc", "…"),
        ("abcdefgh", "ab…"),
        ("a" * 1000, "aaaa…"),
        ("x\ny" * 9, "…"),
        ("\x1b[31mred" * 9, "…"),
        ("clé" * 9, "…"),
        ("\udcff" * 20, "…"),
    ],
)
def test_key_is_masked_in_one_short_line(key: str, shown: str) -> None:
    assert masked(key) == shown
