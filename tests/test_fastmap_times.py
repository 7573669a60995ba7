"""Times: every format that SDKs send, and what becomes of those that cannot be right."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmap
from fastmap import spec
from tests.support.plans import RECEIVED_MS, convert, record, run, value

HOUR_MS = 3_600_000
EXAMPLE_MS = 1_629_213_675_449  # 2021-08-17T15:21:15.449Z

READABLE = {
    "2021-08-17T15:21:15.449Z": EXAMPLE_MS,
    "2021-08-17t15:21:15.449z": EXAMPLE_MS,
    "2021-08-17 15:21:15.449Z": EXAMPLE_MS,
    "2021-08-17T15:21:15,449Z": EXAMPLE_MS,
    "2021-08-17T15:21:15.449": EXAMPLE_MS,
    "2021-08-17T15:21:15.449+00:00": EXAMPLE_MS,
    "2021-08-17T17:21:15.449+02:00": EXAMPLE_MS,
    "2021-08-17T17:21:15.449+0200": EXAMPLE_MS,
    "2021-08-17T17:21:15.449+02": EXAMPLE_MS,
    "2021-08-17T09:51:15.449-05:30": EXAMPLE_MS,
    "2021-08-17 15:21:15.449 +00:00": EXAMPLE_MS,
    "2021-08-17T15:21:15.449123Z": EXAMPLE_MS,
    "2021-08-17T15:21:15.449999999Z": EXAMPLE_MS,
    "2021-08-17T15:21:15.4Z": EXAMPLE_MS - 49,
    "2021-08-17T15:21:15Z": EXAMPLE_MS - 449,
    "2021-08-17T15:21:15+00:00": EXAMPLE_MS - 449,
    "2021-08-17T15:21Z": EXAMPLE_MS - 15_449,
    "2021-08-17": 1_629_158_400_000,
    "2021-08-17T24:00:00Z": 1_629_244_800_000,
    "2020-02-29T00:00:00Z": 1_582_934_400_000,
    "2000-02-29": 951_782_400_000,
    "1969-12-31T23:59:59Z": -1000,
    "Tue, 17 Aug 2021 15:21:15 GMT": EXAMPLE_MS - 449,
    "Tue, 17 Aug 2021 17:21:15 +0200": EXAMPLE_MS - 449,
    "17 Aug 2021 15:21:15 +0000": EXAMPLE_MS - 449,
    "1629213675449": EXAMPLE_MS,
    "1629213675": EXAMPLE_MS - 449,
    "1629213675.449": EXAMPLE_MS,
    "1.629213675449e12": EXAMPLE_MS,
}

UNREADABLE = [
    "",
    " ",
    "not a date",
    "today",
    "2021-08",
    "2021-8-17",
    "2021-13-01",
    "2021-00-01",
    "2021-02-29",
    "1900-02-29",
    "2021-04-31",
    "2021-08-00",
    "2021-08-17T",
    "2021-08-17T15",
    "2021-08-17T25:00:00Z",
    "2021-08-17T24:00:01Z",
    "2021-08-17T15:60:00Z",
    "2021-08-17T15:21:61Z",
    "2021-08-17T15:21:15.Z",
    "2021-08-17T15:21:15.449+24:00",
    "2021-08-17T15:21:15.449+02:60",
    "2021-08-17T15:21:15.449+2",
    "2021-08-17T15:21:15.449Z and more",
    "2021-08-17X15:21:15Z",
    "{{ RSA_DEF_SENT_AT_TS }}",
    "Tue, 17 Aug 99999 15:21:15 GMT",
    "Tue, 17 Aug 2021 15:21:15 +999999999999999999",
    "Tue, 17 Aug 2021 15:21:15 +99999999999999999999999999",
    "0",
    "-1629213675449",
    "1e400",
    "1" * 400,
    "0x60000000",
    "\u0661\u0666\u0662\u0669",
    "\ud800",
]


@pytest.mark.parametrize(("text", "expected"), READABLE.items())
def test_readable_time_becomes_epoch_milliseconds(text: str, expected: int) -> None:
    assert fastmap.parse_time(text) == expected
    assert convert(spec.Time(), f'"{text}"') == str(expected)
    _, written = run(record({"v": value("t", spec.Time())}), t=text)
    assert written == b'{"v":%d}\n' % expected


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable_time_is_none(text: str) -> None:
    assert fastmap.parse_time(text) is None


@pytest.mark.parametrize("text", [text for text in UNREADABLE if text.isprintable()])
def test_unreadable_time_becomes_the_time_of_receipt(text: str) -> None:
    assert convert(spec.Time(), f'"{text}"') == str(RECEIVED_MS)


@pytest.mark.parametrize(
    "token", ["null", "true", "[]", "{}", "0", "-5", "1e15", "1e400", "1" * 400]
)
def test_value_that_is_no_time_becomes_the_time_of_receipt(token: str) -> None:
    assert convert(spec.Time(), token) == str(RECEIVED_MS)


def test_missing_time_becomes_the_time_of_receipt() -> None:
    _, written = run(record({"v": value("t", spec.Time())}), t=None)

    assert written == b'{"v":%d}\n' % RECEIVED_MS


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1_629_213_675, EXAMPLE_MS - 449),
        (1_629_213_675.449, EXAMPLE_MS),
        (1_629_213_675_449, EXAMPLE_MS),
        (1_629_213_675_449.9, EXAMPLE_MS),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (1, 1000),
        (0.0004, 0),
        (0, None),
        (-1, None),
        (10**15, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_numbers_below_1e11_are_seconds(number: float, expected: int | None) -> None:
    assert fastmap.parse_time(number) == expected


def test_time_in_json_may_be_a_number_or_in_a_list_or_escaped() -> None:
    for token in ("1629213675449", "[1629213675449]", '["2021-08-17T15:21:15.449Z"]'):
        assert convert(spec.Time(), token) == str(EXAMPLE_MS)
    # .NET escapes every plus sign.
    assert convert(spec.Time(), '"2021-08-17T17:21:15.449\\u002B02:00"') == str(EXAMPLE_MS)


@pytest.mark.parametrize(
    ("ahead_ms", "written_ms"),
    [(0, RECEIVED_MS), (HOUR_MS, RECEIVED_MS + HOUR_MS), (HOUR_MS + 1, RECEIVED_MS)],
)
def test_time_more_than_an_hour_ahead_becomes_the_time_of_receipt(
    ahead_ms: int, written_ms: int
) -> None:
    assert convert(spec.Time(), str(RECEIVED_MS + ahead_ms)) == str(written_ms)


def test_skew_is_added_to_the_clients_time_but_not_to_the_time_of_receipt() -> None:
    assert convert(spec.Time(), str(EXAMPLE_MS), skew_ms=-5000) == str(EXAMPLE_MS - 5000)
    assert convert(spec.Time(), '"junk"', skew_ms=-5000) == str(RECEIVED_MS)
    # Corrected first, then compared with the receipt.
    ahead = RECEIVED_MS + 2 * HOUR_MS
    assert convert(spec.Time(), str(ahead), skew_ms=-2 * HOUR_MS) == str(RECEIVED_MS)
    assert convert(spec.Time(), str(ahead), skew_ms=-HOUR_MS) == str(RECEIVED_MS + HOUR_MS)


def test_items_come_a_millisecond_apart_before_the_event() -> None:
    expand = record({"v": value("t", spec.Time())}, each=spec.Path("raw"))
    _, written = run(expand, t=EXAMPLE_MS, raw=b"[{},1,{}]")

    # The place in the array counts, also where an element makes no record.
    assert written == b'{"v":%d}\n{"v":%d}\n' % (EXAMPLE_MS - 1, EXAMPLE_MS - 3)


@settings(deadline=None)
@given(
    moment=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    places=st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
def test_any_iso_time_is_read_as_python_reads_it(
    moment: datetime, minutes: int, places: str
) -> None:
    text = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat(timespec=places)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)

    assert fastmap.parse_time(text) == since // timedelta(milliseconds=1)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="0123456789-:TZ+. ,GMTAug"))
def test_any_text_is_a_time_or_none(text: str) -> None:
    parsed = fastmap.parse_time(text)

    assert parsed is None or isinstance(parsed, int)
