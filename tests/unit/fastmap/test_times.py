"""Times: every format that SDKs send, and what becomes of those that cannot be right."""

import json
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmap
from fastmap import spec
from fastmap.reference import Numeral
from fastmap.reference.conversions import Moment
from fastmap.reference.conversions import convert as reference_convert
from fastmap.written_times import ZONES
from tests.support.plans import RECEIVED_MS, convert, record, run, value

HOUR_MS = 3_600_000
EXAMPLE_MS = 1_629_213_675_449  # 2021-08-17T15:21:15.449Z


def by_the_reference(value: str | Numeral) -> str:
    """Return what the reference makes of a value."""
    found = reference_convert(value, spec.Time(), Moment(RECEIVED_MS, 0))
    return found.digits if isinstance(found, Numeral) else str(RECEIVED_MS)


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
    "Tue, 17 Aug 2021 15:21:15 GMT": EXAMPLE_MS - 449,
    "Tue, 17 Aug 2021 17:21:15 +0200": EXAMPLE_MS - 449,
    "17 Aug 2021 15:21:15 +0000": EXAMPLE_MS - 449,
    "1629213675449": EXAMPLE_MS,
    "1629213675": EXAMPLE_MS - 449,
    "1629213675.449": EXAMPLE_MS,
    "1.629213675449e12": EXAMPLE_MS,
    "1629213675449123": EXAMPLE_MS,
    "1629213675449123456": EXAMPLE_MS,
    "20210817": 1_629_158_400_000,
    "20210817152115": EXAMPLE_MS - 449,
}

WRITTEN = {
    # Java, C, JavaScript, Ruby, shells
    "Tue Aug 17 17:21:15 CEST 2021": "15:21:15",
    "Tue Aug 17 11:21:15 EDT 2021": "15:21:15",
    "Tue Aug 17 08:21:15 PDT 2021": "15:21:15",
    "Tue Aug 17 17:21:15 GMT+02:00 2021": "15:21:15",
    "Tue Aug 17 17:21:15 UTC+0200 2021": "15:21:15",
    "Tue Aug 17 17:21:15 +0200 2021": "15:21:15",
    "Tue Aug 17 03:21:15 PM UTC 2021": "15:21:15",
    "Tue Aug 17 15:21:15 2021": "15:21:15",
    "Tue Aug 17 2021 17:21:15 GMT+0200 (Central European Summer Time)": "15:21:15",
    "Tue Aug 17 2021 17:21:15 GMT+0200 (Mitteleurop\u00e4ische Sommerzeit)": "15:21:15",
    "Tue Aug 17 2021 08:21:15 GMT-0700 (PDT)": "15:21:15",
    "Tue Aug 17 2021": "00:00:00",
    # Mail and HTTP, logs
    "Tue, 17 Aug 2021 08:21:15 -0700 (PDT)": "15:21:15",
    "Tuesday, 17-Aug-2021 15:21:15 GMT": "15:21:15",
    "Tue, 17 Aug 2021 10:21:15 EST": "15:21:15",
    "17/Aug/2021:17:21:15 +0200": "15:21:15",
    "[17/Aug/2021:17:21:15 +0200]": "15:21:15",
    # for people
    "17 Aug 2021": "00:00:00",
    "17 August 2021 15:21": "15:21:00",
    "Aug 17, 2021": "00:00:00",
    "Aug 17, 2021, 3:21:15 PM": "15:21:15",
    "Aug 17, 2021, 3:21:15\u202fPM": "15:21:15",
    "August 17, 2021 at 5:21:15 PM GMT+2": "15:21:15",
    "August 17th 2021, 3:21:15 pm": "15:21:15",
    "Tuesday, August 17, 2021 3:21:15 p.m.": "15:21:15",
    "Aug 17 2021 12:21AM": "00:21:00",
    "Aug 17 2021 12:21 PM": "12:21:00",
    # Go, Ruby, Python, databases
    "2021-08-17 17:21:15.449123456 +0200 CEST m=+0.012345678": "15:21:15.449",
    "2021-08-17 15:21:15.449123 +0000 UTC": "15:21:15.449",
    "2021-08-17 18:21:15 +0300 +03": "15:21:15",
    "2021-08-17 17:21:15 +0200": "15:21:15",
    "2021-08-17 17:21:15+02": "15:21:15",
    "2021-08-17 20:51:15.5+05:30": "15:21:15.500",
    "2021-08-17 15:21:15.449123": "15:21:15.449",
    "2021-08-17 15:21:15 UTC": "15:21:15",
    "2021-08-17 15:21:15.449 GMT": "15:21:15.449",
    "2021-08-17 17:21:15 CEST": "15:21:15",
    "2021-08-17T17:21:15GMT+2": "15:21:15",
    "2021-08-17 03:21:15 PM": "15:21:15",
    "2021/08/17 15:21:15": "15:21:15",
    "2021/8/17 5:21:15": "05:21:15",
    "2021.08.17 15:21": "15:21:00",
    # rarer forms of ISO 8601
    "2021-08-17T15:21:15Z[UTC]": "15:21:15",
    "2021-08-17T17:21:15+02:00[Europe/Berlin]": "15:21:15",
    "2021-08-17T17:21:15.449+02:00[Europe/Berlin][u-ca=gregory]": "15:21:15.449",
    "+002021-08-17T15:21:15Z": "15:21:15",
    "20210817T152115Z": "15:21:15",
    "20210817T172115.449+0200": "15:21:15.449",
    "20210817T1521Z": "15:21:00",
    "20210817 15:21:15": "15:21:15",
    "20210817152115Z": "15:21:15",
    "2021-W33-2": "00:00:00",
    "2021W332T152115Z": "15:21:15",
    "2021-229": "00:00:00",
    "2021-229T15:21:15Z": "15:21:15",
    # what happens to texts on their way
    " 2021-08-17T15:21:15Z\n": "15:21:15",
    "1629213675 ": "15:21:15",
    '"2021-08-17T15:21:15Z"': "15:21:15",
    "2021-08-17T13:21:15\u221202:00": "15:21:15",
    "\u0662\u0660\u0662\u0661-\u0660\u0668-\u0661\u0667T15:21:15Z": "15:21:15",
    "\u200f\u0662\u0660\u0662\u0661/\u0660\u0668/\u0661\u0667": "00:00:00",
    "\uff12\uff10\uff12\uff11\uff10\uff18\uff11\uff17": "00:00:00",
    "/Date(1629213675449)/": "15:21:15.449",
    "/Date(1629213675449+0200)/": "15:21:15.449",
}
"""Times on 2021-08-17, in UTC."""

DOUBTFUL = [
    # day or month first
    *("8/17/2021, 3:21:15 PM", "17/08/2021 15:21:15", "3/8/2021", "17.08.2021 15:21", "17-08-2021"),
    # more than one zone, or none that is known
    *(f"Tue Aug 17 15:21:15 {zone} 2021" for zone in ("CST", "IST", "BST", "PST", "AST", "XYZ")),
    *("Tue, 17 Aug 2021 15:21:15 CST", "Tue, 17 Aug 2021 15:21:15 A", "2021-08-17 15:21:15 IST"),
    *("2021-08-17T15:21:15[Europe/Berlin]", "2021-08-17 15:21:15 Europe/Berlin"),
    *("Tue Aug 17 2021 15:21:15 (CEST)", "2021-08-17 15:21:15 UTC+15", "2021-08-17T15:21:15Z+02"),
    *("2021-08-17 15:21:15 +200", "2021-08-17 15:21:15 GMT+02:60"),
    # another weekday, another calendar or language, no such day or time of day
    *("Mon Aug 17 15:21:15 2021", "Tue, 18 Aug 2021 15:21:15 GMT", "Xyz, 17 Aug 2021 15:21:15 GMT"),
    *("17 ao\u00fbt 2021", "17 Augusto 2021", "2021\u5e748\u670817\u65e5", "R3-08-17"),
    *(
        "31 Jun 2021",
        "29 Feb 2021",
        "0 Aug 2021",
        "2021/13/01",
        "2021-366",
        "2021-000",
        "2021-W54-1",
    ),
    *("Aug 17 2021 13:21 PM", "Aug 17 2021 0:21 AM", "Aug 17 2021 25:00", "Aug 17 2021 10:61"),
    # a year of two digits, or a part of a day, month or year
    *("Tuesday, 17-Aug-21 15:21:15 GMT", "17 Aug 21", "210817", "Aug 2021", "2021-W33", "2021W33"),
    # counts that are no Unix time, or might be a date as well
    *("637644534100000000", "132736872750000000", "202108171521", "2021081715", "20210832"),
    *(
        "2021",
        "1",
        "31535999",
        "1e-9",
        "-20210817",
        "+1629213675",
        "1629213675s",
        "NaN",
        "Infinity",
    ),
    # white space alone, and what is long
    *(
        "\u00a0",
        "\t",
        "Aug " * 50,
        "1" * 130,
        "(" * 128,
        "Tue Aug 17 2021 15:21:15 GMT+0200 " + "(" * 90,
    ),
]

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


@pytest.mark.parametrize(("text", "time"), WRITTEN.items())
def test_time_that_is_written_otherwise_is_read_rightly(text: str, time: str) -> None:
    expected = datetime.fromisoformat(f"2021-08-17T{time}+00:00").timestamp() * 1000

    assert fastmap.parse_time(text) == expected
    assert convert(spec.Time(), json.dumps(text)) == str(int(expected))
    assert by_the_reference(text) == str(int(expected))


@pytest.mark.parametrize("text", DOUBTFUL)
def test_text_that_may_be_two_times_or_none_becomes_the_time_of_receipt(text: str) -> None:
    assert convert(spec.Time(), json.dumps(text)) == str(RECEIVED_MS)
    assert by_the_reference(text) == str(RECEIVED_MS)


@pytest.mark.parametrize(
    "name", [name for name, offset in ZONES.items() if offset != "Z"], ids=lambda name: f"<{name}>"
)
def test_abbreviation_of_a_zone_has_one_offset_wherever_it_is_in_use(name: str) -> None:
    offsets = {
        moment.astimezone(zone).isoformat()[-6:]
        for zone in map(ZoneInfo, sorted(available_timezones()))
        for moment in (datetime(2024, month, 15, tzinfo=UTC) for month in (1, 7))
        if moment.astimezone(zone).tzname() == name
    }
    assert offsets <= {ZONES[name]}


@pytest.mark.parametrize(
    "text",
    [
        *("0001-01-01T00:00:00Z", "1970-01-01", "1970-01-01T00:00:00Z", "1970-12-31T23:59:59.999Z"),
        *("0008-06-27T08:23:00+0900", "2564-08-17T15:21:15Z", "1400-05-26T15:21:15", "9999-12-31"),
        *("0000-01-01", "17 Aug 2564", "Sat Jan 01 00:00:00 UTC 1", "25640817", "-1", "0"),
        *("+012021-08-17T15:21:15Z", "99999999999", "1e14", "9e18", "9e99"),
    ],
)
def test_time_that_mixpanel_would_refuse_becomes_the_time_of_receipt(text: str) -> None:
    assert convert(spec.Time(), json.dumps(text)) == str(RECEIVED_MS)
    assert by_the_reference(text) == str(RECEIVED_MS)


def test_earliest_time_is_that_of_mixpanel_after_all_corrections() -> None:
    earliest = "1971-01-01T00:00:00Z"
    assert convert(spec.Time(), f'"{earliest}"') == "31536000000"
    assert convert(spec.Time(), f'"{earliest}"', skew_ms=-1) == str(RECEIVED_MS)
    assert convert(spec.Time(), '"1970-12-31T23:00:00Z"', skew_ms=HOUR_MS) == "31536000000"
    # An item comes before its event, and may not come too early either.
    expand = record({"v": value("t", spec.Time())}, each=spec.Path("raw"))
    _, written = run(expand, t=earliest, raw=b"[{}]")
    assert written == b'{"v":%d}\n' % (RECEIVED_MS - 1)


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable_time_is_none(text: str) -> None:
    assert fastmap.parse_time(text) is None


@pytest.mark.parametrize("text", [text for text in UNREADABLE if text.isprintable()])
def test_unreadable_time_becomes_the_time_of_receipt(text: str) -> None:
    assert convert(spec.Time(), f'"{text}"') == str(RECEIVED_MS)


@pytest.mark.parametrize(
    "token", ["null", "true", "[]", "{}", "0", "-5", "1", "2021", "1e14", "1e400", "1" * 400]
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
        (31_536_000, 31_536_000_000),
        (31_535_999, 31_535_999_000),
        (1, 1000),
        (2021, 2_021_000),
        (20_210_817, 1_629_158_400_000),
        (20_210_832, 20_210_832_000),
        (20_210_817.5, 20_210_817_500),
        (19_701_231, 19_701_231_000),
        (20_210_817_152_115, EXAMPLE_MS - 449),
        (202_108_171_521, None),
        (202_113_171_521, 202_113_171_521),
        (0.0004, 0),
        (0, None),
        (-1, None),
        (999_999_999_999_999, 999_999_999_999_999),
        (1_629_213_675_449_123, EXAMPLE_MS),
        (10**15, 10**12),
        (10**17, None),
        (637_644_534_100_000_000, None),
        (1_629_213_675_449_123_456, EXAMPLE_MS),
        (9 * 10**18, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_size_of_a_number_tells_its_unit(number: float, expected: int | None) -> None:
    assert fastmap.parse_time(number) == expected
    if number == number and abs(number) != float("inf"):
        read = RECEIVED_MS if expected is None else expected
        usable = 31_536_000_000 <= read <= RECEIVED_MS + HOUR_MS
        assert convert(spec.Time(), str(number)) == str(read if usable else RECEIVED_MS)


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
@given(
    st.sampled_from([*WRITTEN, *DOUBTFUL, *READABLE, *UNREADABLE]),
    st.lists(st.tuples(st.integers(0, 70), st.sampled_from([*"0123456789:-+ ,TZP", "", "  "]))),
)
def test_what_is_almost_a_time_is_read_as_the_reference_reads_it(
    text: str, changes: list[tuple[int, str]]
) -> None:
    for at, change in changes:
        text = text[:at] + change + text[at + 1 :]
    found = by_the_reference(text.encode("utf-8", "replace").decode())

    assert convert(spec.Time(), json.dumps(text)) == found


@settings(deadline=None)
@given(st.floats(0, 1e19) | st.integers(0, 10**19))
def test_any_number_is_read_as_the_reference_reads_it(number: float) -> None:
    found = by_the_reference(Numeral(repr(number)))

    assert convert(spec.Time(), repr(number)) == found


@settings(deadline=None)
@given(st.text() | st.text(alphabet="0123456789-:TZ+. ,GMTAug"))
def test_any_text_is_a_time_or_none(text: str) -> None:
    parsed = fastmap.parse_time(text)

    assert parsed is None or isinstance(parsed, int)
