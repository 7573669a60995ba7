"""What each conversion makes of a value: another value, or ``Nothing`` and why."""

import math
import re
import socket
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from hashlib import blake2b

from fastmap import spec
from fastmap.reference.values import (
    JsonValue,
    Nothing,
    Numeral,
    encode,
    is_blank,
    is_falsy,
    is_number,
    text_of,
)
from fastmap.texts import number_in, plain_number
from fastmap.written_times import as_iso

__all__ = ["Moment", "convert"]

_HOUR_MS = 3_600_000
_EARLIEST_MS = 31_536_000_000  # that Mixpanel takes: 1971-01-01
_MAX_ID = 36  # characters
_MAX_IP = 45


@dataclass(frozen=True, slots=True)
class Moment:
    """What a run knows beside the input.

    :param item: index in the array that is expanded, -1 outside.
    """

    received_ms: int
    skew_ms: int
    item: int = -1


def convert(value: JsonValue, to: spec.Conversion, moment: Moment) -> JsonValue | Nothing:
    """Return what a conversion makes of a value."""
    match to:
        case spec.Json():
            return _to_json(value, to)
        case spec.Ip():
            return _to_ip(value)
        case spec.Derived():
            return _to_derived(value, to)
        case spec.Id():
            return _to_id(value, to)
        case _:
            return _from_scalar(value, to, moment)


def _from_scalar(
    value: JsonValue,
    to: spec.String | spec.Number | spec.Boolean | spec.Time | spec.UniqueId,
    moment: Moment,
) -> JsonValue | Nothing:
    """Convert by the conversions that look into a list of one."""
    if isinstance(value, list):
        if len(value) != 1:
            return Nothing("a list")
        value = value[0]
    if isinstance(value, list | dict):
        return Nothing("a list" if isinstance(value, list) else "an object")
    match to:
        case spec.String():
            return _to_string(value, to)
        case spec.Number():
            return _to_number(value)
        case spec.Boolean():
            return _to_boolean(value)
        case spec.Time():
            return _to_time(value, moment)
        case spec.UniqueId():
            return _to_unique_id(value, to, moment)


def _to_json(value: JsonValue, to: spec.Json) -> JsonValue | Nothing:
    if value is None and not (to.null and to.falsy):
        return Nothing("null")
    if not to.falsy and is_falsy(value):
        return Nothing("empty, 0 or false")
    return value


def _to_string(value: JsonValue, to: spec.String) -> JsonValue | Nothing:
    text = text_of(value)
    if text is None:
        return Nothing("null")
    if not text and not to.empty:
        return Nothing("empty")
    if _is_word(text, to.none_of):
        return Nothing("one of the words that are no value")
    if to.one_of and text not in to.one_of:
        return Nothing("none of the texts that are values")
    return text


def _to_id(value: JsonValue, to: spec.Id) -> JsonValue | Nothing:
    items = value if isinstance(value, list) else [value]
    if len(items) > 1 and not to.several:
        return Nothing("a list")
    read = [_to_one_id(item, to) for item in items]
    ids = [one for one in read if not isinstance(one, Nothing)]
    if len(ids) > 1:
        return ids
    return ids[0] if ids else (read[0] if len(read) == 1 else Nothing("a list without an id"))


def _to_one_id(value: JsonValue, to: spec.Id) -> JsonValue | Nothing:
    if isinstance(value, Numeral):
        value = plain_number(value.digits)
    if not isinstance(value, str):
        return Nothing("neither a text nor a number")
    return _to_string(value, spec.String(none_of=to.none_of))


def _is_word(text: str, words: tuple[str, ...]) -> bool:
    white = "".join(map(chr, range(0x21)))
    ascii_lower = re.sub("[A-Z]", lambda found: found[0].lower(), text.strip(white))
    return ascii_lower in words


def _to_number(value: JsonValue) -> JsonValue | Nothing:
    if isinstance(value, bool):
        return Numeral("1" if value else "0")
    if isinstance(value, str) and is_number(value.strip(" ")):
        value = Numeral(value.strip(" "))
    elif isinstance(value, str) and (found := number_in(value)) is not None:
        value = Numeral(found)
    is_finite = isinstance(value, Numeral) and math.isfinite(float(value))
    return value if is_finite else Nothing("not a number")


def _to_boolean(value: JsonValue) -> JsonValue | Nothing:
    known = {"true": True, "false": False}
    if isinstance(value, Numeral):
        known = {"1": True, "0": False}
    found = known.get(text_of(value) or "")
    return Nothing("not a boolean") if found is None else found


def _to_ip(value: JsonValue) -> JsonValue | Nothing:
    if isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) <= _MAX_IP:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, value)
            except (OSError, ValueError):
                continue
            return value
    return Nothing("not an IP address")


def _to_derived(value: JsonValue, to: spec.Derived) -> JsonValue | Nothing:
    if is_blank(value) or value in ({}, []):
        return Nothing("empty")
    if to.derivation.takes_json:
        text = encode(value)
    elif isinstance(value, str):
        text = value
    else:
        return Nothing("not a text")
    found = to.derivation.function(text)[to.output]
    return Nothing("nothing to derive from it") if found is None else found


def _to_time(value: JsonValue, moment: Moment) -> JsonValue | Nothing:
    """Return the corrected time; ``Nothing`` for what is unreadable."""
    time = _read_time(value)
    if time is None:
        return Nothing("not a time; the time of receipt stands in")
    time += moment.skew_ms
    before = moment.item + 1
    if not _EARLIEST_MS + before <= time <= moment.received_ms + _HOUR_MS:
        time = moment.received_ms
    return Numeral(str(time - before))


def _read_time(value: JsonValue) -> int | None:
    if isinstance(value, Numeral):
        return _time_of_number(value)
    if not isinstance(value, str):
        return None
    time = _plain_time(value)
    if time is None:
        iso = as_iso(value)
        time = None if iso is None else _plain_time(iso)
    return time


def _plain_time(text: str) -> int | None:
    time = _iso_time(text)
    return _time_of_number(Numeral(text)) if time is None and is_number(text) else time


def _time_of_number(number: Numeral) -> int | None:
    """Read seconds, milliseconds, microseconds or nanoseconds, by size, or the digits of a date."""
    value = float(number)
    if not 0 < value < 9e18:
        return None
    digits = str(int(value))
    written = _time_of_digits(digits)
    if value < 1e11:
        if written is not None and value * 1000 < _EARLIEST_MS and value.is_integer():
            return written
        return int(Decimal(value * 1000).to_integral_value(ROUND_HALF_UP))
    if written is not None:
        return None if len(digits) == 12 else written  # yyyyMMddHHmm, or milliseconds of 1976
    if value < 1e15:
        return int(value)
    if value < 1e17:
        return int(value) // 1000
    return None if value < 1e18 else int(value) // 1_000_000


_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?", re.ASCII)


def _time_of_digits(digits: str) -> int | None:
    """Return the time that yyyyMMdd is, with HHmm or HHmmss or nothing behind it; from 1971."""
    found = _DIGITS.fullmatch(digits)
    if found is None or int(found[1]) < 1971:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        time = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return int(time.timestamp()) * 1000


_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)? ?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?)?",
    re.ASCII,
)


def _iso_time(text: str) -> int | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[i] or 0) for i in range(1, 7))
    millis = int(((found[7] or "") + "00")[:3]) if found[7] else 0
    zone_hour, zone_minute = int(found[9] or 0), int(found[10] or 0)
    if hour > 24 or minute > 59 or second > 60 or zone_hour > 23 or zone_minute > 59:
        return None
    if hour == 24 and (minute or second or millis):
        return None
    try:
        # The calendar repeats every 400 years, and ``date`` knows no year 0.
        days = date(year or 400, month, day).toordinal() - (0 if year else 146_097)
    except ValueError:
        return None
    offset = (-1 if found[8] == "-" else 1) * (zone_hour * 60 + zone_minute)
    minutes = ((days - date(1970, 1, 1).toordinal()) * 24 + hour) * 60 + minute - offset
    return (minutes * 60 + second) * 1000 + millis


def _to_unique_id(value: JsonValue, to: spec.UniqueId, moment: Moment) -> JsonValue | Nothing:
    given = text_of(value)
    if not given:
        return Nothing("empty")
    text = given.encode("utf-8", "surrogatepass")
    unique = _unique(text, to.none_of)
    if moment.item < 0:
        return unique.decode()
    item = str(moment.item).encode()
    if _is_unique(item + unique, to.none_of):
        return (item + unique).decode()
    if len(item) <= 3 and _UUID.fullmatch(unique):
        return (unique.replace(b"-", b"") + b"-" + item).decode()
    return _digest(item + unique).decode()


def _unique(text: bytes, none_of: tuple[str, ...]) -> bytes:
    if _is_unique(text, none_of):
        return text
    end = text[-_MAX_ID:]
    if _UUID.fullmatch(end) and _is_unique(end, none_of):
        return end
    return _digest(text)


_UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _is_unique(text: bytes, none_of: tuple[str, ...]) -> bool:
    if re.fullmatch(rb"[A-Za-z0-9-]{1,36}", text) is None:
        return False
    return not _is_word(text.decode(), none_of)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).hexdigest().encode()
