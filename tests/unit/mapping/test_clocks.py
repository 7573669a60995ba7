"""What clients' times are corrected by: by their clock's error alone, and always by the same."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.events import Event, decode
from gateway.mapping.clocks import MAX_SKEW_MS, Clocks
from gateway.mapping.prepare import prepare

RECEIVED_MS = 1_790_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def iso(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()


def one(
    *,
    timestamp: object = iso(RECEIVED_MS - HOUR_MS),
    sent_at: object = None,
    message_id: str = "m",
    library: object = None,
    received_ms: int = RECEIVED_MS,
    is_retry: bool = False,
    sender: str = "",
    clocks: Clocks | None = None,
    **rest: Any,
) -> tuple[Event, int]:
    """Return an event of a batch as it was prepared, and how many were not corrected."""
    event = {"timestamp": timestamp, "messageId": message_id, **rest}
    if library is not None:
        event["context"] = {"library": library}
    received = decode(json.dumps({"batch": [event], "sentAt": sent_at}).encode())
    uncorrected = prepare(
        received,
        received_ms=received_ms,
        default_type="track",
        client_ip=None,
        is_retry=is_retry,
        sender=sender,
        clocks=clocks,
    )
    return received.events[0], uncorrected


def skew(**options: Any) -> int:
    return one(**options)[0].skew_ms


ONCE = [
    *("Analytics-CSharp", "Analytics.NET", "Analytics.Xamarin", "RudderAnalytics.NET"),
    *("analytics-go", "analytics-java", "analytics-kotlin", "analytics-swift", "analytics-node"),
]
EACH = [
    *("analytics.js", "@segment/analytics-node", "analytics-python", "analytics-react-native"),
    *("analytics-ruby", "RudderLabs JavaScript SDK", "rudder-sdk-swift"),
    *("com.rudderstack.sdk.kotlin.android", "com.rudderstack.android.sdk.core"),
]


class TestSenders:
    @pytest.mark.parametrize("waited_ms", [2 * MINUTE_MS, 5 * HOUR_MS, 30 * HOUR_MS])
    @pytest.mark.parametrize("name", ONCE)
    def test_sent_at_that_is_written_once_corrects_nothing(self, name: str, waited_ms: int) -> None:
        sent = iso(RECEIVED_MS - waited_ms)
        for known in ({"library": {"name": name, "version": "1"}}, {"sender": name}):
            for is_retry in (False, True):
                event, uncorrected = one(sent_at=sent, is_retry=is_retry, **known)
                assert (event.skew_ms, uncorrected) == (0, 0)

    @pytest.mark.parametrize("name", EACH)
    def test_sent_at_of_each_attempt_corrects_all_of_them_alike(self, name: str) -> None:
        for known in ({"library": {"name": name}}, {"sender": name}):
            for is_retry in (False, True):
                sent = iso(RECEIVED_MS - 10 * MINUTE_MS)
                assert skew(sent_at=sent, is_retry=is_retry, **known) == 10 * MINUTE_MS

    def test_library_of_the_batch_counts_and_the_sender_of_the_request_before_it(self) -> None:
        sent = RECEIVED_MS - HOUR_MS
        shared = {"context": {"library": {"name": "analytics-go"}}, "sentAt": sent, "batch": [{}]}
        received = decode(json.dumps(shared).encode())
        prepare(
            received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False
        )
        assert received.events[0].skew_ms == 0
        assert skew(sent_at=sent, sender="analytics-go", library={"name": "analytics.js"}) == 0

    @pytest.mark.parametrize("library", [5, [], {"name": 5}, {"name": None}, {}, {"name": "own"}])
    def test_whoever_is_not_known_is_taken_at_his_word(self, library: object) -> None:
        assert skew(sent_at=RECEIVED_MS - HOUR_MS, library=library) == HOUR_MS
        assert skew(sent_at=RECEIVED_MS - HOUR_MS, library=library, is_retry=True) == 0


class TestAttempts:
    def test_each_attempt_of_an_event_is_corrected_alike_however_long_it_took(self) -> None:
        choose = random.Random(5)
        clocks = Clocks()
        for number in range(2000):
            error = choose.choice((0, 5_000, 29_000, 59_500, 90_000, 7 * HOUR_MS, -90_000))
            library = {"name": choose.choice(EACH)}
            corrections = set()
            for attempt in range(3):
                received_ms = RECEIVED_MS + attempt * 5 * MINUTE_MS
                took = choose.randrange(50, 25_000)
                corrections.add(
                    skew(
                        sent_at=iso(received_ms - error - took),
                        message_id=f"m{number}",
                        library=library,
                        received_ms=received_ms,
                        is_retry=attempt > 0,
                        clocks=clocks,
                    )
                )
            (correction,) = corrections
            assert abs(correction - error) <= 60_000

    def test_retry_of_whoever_is_not_known_gets_what_its_first_attempt_got(self) -> None:
        clocks = Clocks()
        for wait in (0, MINUTE_MS, HOUR_MS):  # with the bytes of the first attempt
            found = skew(
                sent_at=RECEIVED_MS - 10 * MINUTE_MS,
                received_ms=RECEIVED_MS + wait,
                is_retry=wait > 0,
                clocks=clocks,
            )
            assert found == 10 * MINUTE_MS

    def test_other_events_and_other_sources_are_not_affected(self) -> None:
        clocks = Clocks()
        sent = iso(RECEIVED_MS - 10 * MINUTE_MS)
        earlier = iso(RECEIVED_MS - 20 * MINUTE_MS)
        assert skew(sent_at=sent, clocks=clocks) == 10 * MINUTE_MS
        assert skew(sent_at=earlier, clocks=clocks) == 10 * MINUTE_MS  # the same event
        assert skew(sent_at=earlier, clocks=clocks, message_id="n") == 20 * MINUTE_MS
        assert skew(sent_at=earlier, clocks=clocks, timestamp=iso(RECEIVED_MS)) == 20 * MINUTE_MS
        assert skew(sent_at=earlier, clocks=Clocks()) == 20 * MINUTE_MS

    def test_memory_is_bounded_and_keeps_what_is_recent(self) -> None:
        clocks = Clocks()
        sent = [iso(RECEIVED_MS - minutes * MINUTE_MS) for minutes in (10, 20)]
        for number in range(40_000):
            skew(sent_at=sent[0], message_id=f"{number}", clocks=clocks)
        again = [
            skew(sent_at=sent[1], message_id=f"{n}", clocks=clocks) for n in range(39_000, 40_000)
        ]
        assert again.count(10 * MINUTE_MS) > 950
        sizes = (
            clocks._events.itemsize * len(each) for each in (clocks._events, clocks._corrections)
        )
        assert sum(sizes) == 1 << 19


class TestWrongClocks:
    """Clocks that are wrong by more than a day."""

    @pytest.mark.parametrize(
        ("sent_at", "timestamp", "before_ms"),
        [
            ("1970-01-01T00:10:00Z", "1970-01-01T00:09:00Z", MINUTE_MS),
            ("1970-01-03T00:00:00Z", "1970-01-01T00:00:00Z", 2 * DAY_MS),
            ("1971-01-01T00:00:10Z", "1970-12-31T23:59:50Z", 20_000),
            # Where a clock without a battery begins: 1980, 2000, 2010.
            ("1980-01-01T01:00:00Z", "1980-01-01T00:00:00Z", HOUR_MS),
            ("2000-01-01T00:00:30Z", "2000-01-01T00:00:10Z", 20_000),
            ("2010-01-01T00:00:01Z", "2009-12-31T00:00:01Z", DAY_MS),
            ("2564-08-13T10:10:10Z", "2564-08-13T10:09:10Z", MINUTE_MS),
            ("1443-01-05T10:10:10.500Z", "1443-01-05T10:10:10Z", 500),
            ("0001-01-01T00:00:01Z", "0001-01-01T00:00:01Z", 0),
            (iso(RECEIVED_MS + 40 * DAY_MS), iso(RECEIVED_MS + 39 * DAY_MS), DAY_MS),
            (RECEIVED_MS + 3 * DAY_MS, RECEIVED_MS + 2 * DAY_MS, DAY_MS),
        ],
    )
    def test_event_is_as_old_as_its_own_clock_says(
        self, sent_at: object, timestamp: object, before_ms: int
    ) -> None:
        for library in (None, {"name": "analytics-kotlin"}, {"name": "analytics.js"}):
            event, uncorrected = one(sent_at=sent_at, timestamp=timestamp, library=library)
            assert uncorrected == 0
            assert at(timestamp) + event.skew_ms == RECEIVED_MS - before_ms

    @pytest.mark.parametrize(
        ("sent_at", "timestamp"),
        [
            # The one is right, or it is another clock.
            (iso(RECEIVED_MS - 2 * DAY_MS), iso(RECEIVED_MS - 2 * DAY_MS)),
            (iso(RECEIVED_MS - 2 * DAY_MS), "0001-01-01T00:00:00Z"),
            ("1970-01-01T00:10:00Z", iso(RECEIVED_MS - DAY_MS)),
            ("2012-01-01T00:10:00Z", "2012-01-01T00:09:00Z"),
            ("1970-01-01T00:10:00Z", "0001-01-01T00:00:00Z"),
            ("1970-01-01T00:10:00Z", "1970-01-01T00:10:01Z"),
            ("2564-08-13T10:10:10Z", iso(RECEIVED_MS - DAY_MS)),
            (iso(RECEIVED_MS + 3 * DAY_MS), iso(RECEIVED_MS - HOUR_MS)),
            (iso(RECEIVED_MS + 3 * DAY_MS), iso(RECEIVED_MS + HOUR_MS)),
            (iso(RECEIVED_MS + 32 * DAY_MS), iso(RECEIVED_MS + DAY_MS)),
            # Seconds or milliseconds?
            ("1970-01-01T00:10:00Z", 300_000),
            ("1970-01-01T00:10:00Z", "300000"),
            ("1970-01-01T00:10:00Z", "soon"),
            ("1970-01-01T00:10:00Z", {}),
            ("1970-01-01T00:10:00Z", None),
        ],
    )
    def test_time_is_left_alone_where_that_is_in_doubt(
        self, sent_at: object, timestamp: object
    ) -> None:
        event, uncorrected = one(sent_at=sent_at, timestamp=timestamp)
        assert (event.skew_ms, uncorrected) == (0, 1)

    def test_small_numbers_say_nothing(self) -> None:
        for sent_at in (600_000, "600000", 0, 1.5):
            event, uncorrected = one(sent_at=sent_at, timestamp=300_000)
            assert (event.skew_ms, uncorrected) == (0, 0)

    def test_every_attempt_gets_the_same(self) -> None:
        clocks = Clocks()
        clock = "1970-01-01T00:10:00Z", "1970-01-01T00:09:00Z"
        first = skew(sent_at=clock[0], timestamp=clock[1], clocks=clocks)
        for wait in (1, MINUTE_MS, HOUR_MS):
            later = RECEIVED_MS + wait
            assert first == skew(
                sent_at=clock[0], timestamp=clock[1], clocks=clocks, received_ms=later
            )

    def test_a_day_is_the_limit_of_what_is_corrected_without_looking_at_the_event(self) -> None:
        assert skew(sent_at=RECEIVED_MS - MAX_SKEW_MS) == MAX_SKEW_MS
        assert one(sent_at=RECEIVED_MS - MAX_SKEW_MS - 1)[1] == 1


def at(time: object) -> int:
    """Return epoch milliseconds."""
    if not isinstance(time, str):
        assert isinstance(time, int)
        return time
    return (datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )
