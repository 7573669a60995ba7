"""Times as programs and people write them, where that is not the usual form of ISO 8601.

Every reading here is the only one that a text has: what may mean two times is not read.  So day and
month count where one of them is a name or the year comes first, and a zone where it is an offset or
an abbreviation that means one offset everywhere.
"""

import re
from datetime import date, timedelta
from unicodedata import decimal

__all__ = ["MAX_LENGTH", "ZONES", "as_iso"]

MAX_LENGTH = 128
"""Characters of the longest text that is looked at."""

ZONES = {
    **dict.fromkeys(("Z", "UTC", "GMT", "UT", "UCT", "WET"), "Z"),
    **dict.fromkeys(("CET", "MET", "WAT", "WEST"), "+01:00"),
    **dict.fromkeys(("CAT", "CEST", "EET", "MEST", "SAST"), "+02:00"),
    **dict.fromkeys(("EAT", "EEST", "IDT"), "+03:00"),
    **dict.fromkeys(("PKT",), "+05:00"),
    **dict.fromkeys(("WIB",), "+07:00"),
    **dict.fromkeys(("AWST", "HKT", "WITA"), "+08:00"),
    **dict.fromkeys(("JST", "KST", "WIT"), "+09:00"),
    **dict.fromkeys(("ACST",), "+09:30"),
    **dict.fromkeys(("AEST",), "+10:00"),
    **dict.fromkeys(("ACDT",), "+10:30"),
    **dict.fromkeys(("AEDT",), "+11:00"),
    **dict.fromkeys(("NZST",), "+12:00"),
    **dict.fromkeys(("NZDT",), "+13:00"),
    **dict.fromkeys(("EDT",), "-04:00"),
    **dict.fromkeys(("EST",), "-05:00"),
    **dict.fromkeys(("MDT",), "-06:00"),
    **dict.fromkeys(("MST", "PDT"), "-07:00"),
    **dict.fromkeys(("AKDT",), "-08:00"),
    **dict.fromkeys(("AKST",), "-09:00"),
    **dict.fromkeys(("HST",), "-10:00"),
}
"""Abbreviations that mean one offset wherever they are in use.

Others do not: AST, BST, CDT, CST, GST, IST, MSK, NST, PST, SST.
"""

_MAX_OFFSET_HOURS = 14

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _numbered(names: tuple[str, ...]) -> dict[str, int]:
    """Return the places of names, and of their first three letters, from 1."""
    places = {name.lower(): place for place, name in enumerate(names, 1)}
    return places | {name[:3]: place for name, place in places.items()}


_MONTH_NUMBERS = {**_numbered(_MONTHS), "sept": 9}
_WEEKDAY_NUMBERS = {**_numbered(_WEEKDAYS), "tues": 2, "thur": 4, "thurs": 4}

_YEAR = r"(?P<year>\d{4})"
_MONTH = r"(?P<month_name>[A-Za-z]{3,9})\.?"
_DAY = r"(?P<day>\d\d?)(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?P<weekday>[A-Za-z]{3,9})\.? )?"
_HALF = r"(?: ?(?P<half>[AaPp])(?:[Mm]|\.[Mm]\.))?"
_CLOCK = (
    r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,18}))?)?" + _HALF
)
_DIGITS = (
    r"(?P<hour>\d\d)(?P<colon>:?)(?P<minute>\d\d)"
    r"(?:(?P=colon)(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,18}))?)?" + _HALF
)
"""A time of day that may be written without colons."""

_ZONE = (
    r"(?: ?(?:"
    r"(?P<offset>(?:(?:GMT|UTC|UT)?[+-]\d\d:?\d\d)|(?:GMT|UTC|UT)[+-]\d\d?(?::\d\d)?|[+-]\d\d)"
    # An offset may be followed by its name, as in Go, and by what its clock showed.
    r"(?: (?:[A-Za-z]{2,5}|[+-]\d\d(?:\d\d)?))?(?: m=[+-]\d+\.\d+)?"
    r"|(?P<zone>[A-Za-z]{1,5})"
    r")(?: ?\([^()]*\))?(?:\[!?[A-Za-z0-9_+=/-]+\])*)?"
)
_AT = r"(?:[Tt ]| at )"

_FORMS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        # Fri, 13 Aug 2021 10:10:10 +0200; Friday, 13-Aug-2021 10:10:10 GMT; 13/Aug/2021:10:10:10
        rf"{_WEEKDAY}{_DAY}(?P<gap>[ /-]){_MONTH}(?P=gap){_YEAR}(?:(?:{_AT}|:){_CLOCK}{_ZONE})?",
        # Fri Aug 13 2021 10:10:10 GMT+0200 (CEST); August 13th 2021, 10:10 pm
        rf"{_WEEKDAY}{_MONTH} {_DAY} {_YEAR}(?:{_AT}{_CLOCK}{_ZONE})?",
        # Fri Aug 13 10:10:10 2021; Fri Aug 13 10:10:10 CEST 2021
        rf"{_WEEKDAY}{_MONTH} {_DAY} {_CLOCK}{_ZONE} {_YEAR}",
        # 2021/8/13 10:10:10; 2021-08-13 10:10:10 UTC; 2021-08-13 10:10:10 +0200 CEST m=+0.01
        rf"{_YEAR}(?:/(?P<month>\d\d?)/(?P<day>\d\d?))(?:{_AT}{_CLOCK}{_ZONE})?",
        rf"{_YEAR}(?P<gap>[.-])(?P<month>\d\d)(?P=gap)(?P<day>\d\d)(?:{_AT}{_CLOCK}{_ZONE})?",
        # 20210813T101010Z; 20210813 10:10:10
        rf"{_YEAR}(?P<month>\d\d)(?P<day>\d\d)(?:[Tt ]?{_DIGITS}{_ZONE})?",
        # 2021-W32-5; 2021-225T10:10:10Z
        rf"{_YEAR}(?P<gap>-?)[Ww](?P<week>\d\d)(?P=gap)(?P<of_week>[1-7])(?:{_AT}{_DIGITS}{_ZONE})?",
        rf"{_YEAR}-(?P<of_year>\d{{3}})(?:{_AT}{_DIGITS}{_ZONE})?",
    )
)

_QUOTES = {'"': '"', "'": "'", "[": "]"}
"""What may be around a time, where somebody quoted it twice or took it from a log."""

_TICKS = re.compile(r"\\?/Date\((-?\d+)(?:[+-]\d{4})?\)\\?/", re.ASCII)
"""Milliseconds as .NET once wrote them; the offset is for display."""

_NUMBER = re.compile(r"-?\d{8,}(?:\.\d+)?", re.ASCII)
"""What may be a date or a number of seconds since 1970; less is neither."""

_LONG_YEAR = re.compile(r"\+0*(?=\d{4}-\d\d-\d\d)", re.ASCII)


def as_iso(text: str) -> str | None:
    """Return the same time in ISO 8601, or as the digits of a number; None where it is not clear.

    Whether there is such a day and such a time of day is for the reader to check.
    """
    if len(text) > MAX_LENGTH:
        return None
    plain = _cleaned(text)
    if _NUMBER.fullmatch(plain):
        return plain
    for form in _FORMS:
        found = form.fullmatch(plain)
        if found is not None:
            return _iso(found.groupdict())
    return None


def _cleaned(text: str) -> str:
    """Return a text with plain digits, minus signs and blanks, and without what is around it."""
    if not text.isascii():
        text = "".join(map(_ascii, text))
    text = " ".join(text.split())
    first = text[:1]
    if first in _QUOTES and text[1:] and text[-1] == _QUOTES[first]:
        text = text[1:-1].strip()
    elif first in ("/", "\\"):
        ticks = _TICKS.fullmatch(text)
        text = ticks[1] if ticks else text
    elif first == "+":
        text = _LONG_YEAR.sub("", text, count=1)
    return text.replace(", ", " ") if ", " in text else text


_PLAIN = {
    **dict.fromkeys("\u2010\u2011\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u061c\u200e\u200f\u202a\u202b\u202c\ufeff", ""),
}
"""Signs for minus, and marks that only say where text runs from right to left."""


def _ascii(character: str) -> str:
    digit = decimal(character, None)
    return _PLAIN.get(character, character) if digit is None else str(digit)


def _iso(found: dict[str, str | None]) -> str | None:
    day = _day(found)
    time = _time_of_day(found)
    zone = _zone(found)
    return None if day is None or time is None or zone is None else f"{day}T{time}{zone}"


def _day(found: dict[str, str | None]) -> str | None:
    """Return the day; None where there is no such day, or it is another weekday."""
    year = found["year"] or ""
    try:
        if week := found.get("week"):
            day = date.fromisocalendar(int(year), int(week), int(found["of_week"] or 0))
            return day.isoformat()
        if of_year := found.get("of_year"):
            day = date(int(year), 1, 1) + timedelta(int(of_year) - 1)
            return day.isoformat() if day.year == int(year) else None
        name = found.get("month_name")
        month = _MONTH_NUMBERS.get(name.lower(), 0) if name else int(found["month"] or 0)
        day = date(int(year), month, int(found["day"] or 0))
    except (ValueError, OverflowError):
        return None
    weekday = found.get("weekday")
    if weekday and _WEEKDAY_NUMBERS.get(weekday.lower()) != day.isoweekday():
        return None
    return day.isoformat()


def _time_of_day(found: dict[str, str | None]) -> str | None:
    hour = found.get("hour") or "00"
    half = found.get("half")
    if half:
        if not 1 <= int(hour) <= 12:
            return None
        hour = str(int(hour) % 12 + (12 if half in "Pp" else 0))
    time = f"{hour:0>2}:{found.get('minute') or '00'}:{found.get('second') or '00'}"
    fraction = found.get("fraction")
    return f"{time}.{fraction}" if fraction else time


_OFFSET = re.compile(r"(?:GMT|UTC|UT)?([+-])(\d\d?):?(\d\d)?", re.ASCII)


def _zone(found: dict[str, str | None]) -> str | None:
    """Return the zone, UTC where none is named; None where it is not known which."""
    name = found.get("zone")
    if name:
        return ZONES.get(name.upper())
    offset = _OFFSET.fullmatch(found.get("offset") or "+00")
    if offset is None or int(offset[2]) > _MAX_OFFSET_HOURS:
        return None
    return f"{offset[1]}{offset[2]:0>2}:{offset[3] or '00'}"
