"""Times: whatever SDKs send becomes epoch milliseconds."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport llround
from libc.stdint cimport int64_t

from fastmap._buffer cimport Buffer
from fastmap._convert cimport (
    IMPOSSIBLE, UNREADABLE, Run, is_blank, is_json_number, is_number, is_string, number_of, text_of,
    unescaped, unwrap,
)
from fastmap._scan cimport TEXT, Slot

from fastmap import written_times

cdef enum:
    HOUR_MS = 3_600_000
    EARLIEST_S = 31_536_000  # that Mixpanel takes: 1971-01-01
    FIRST_YEAR = 1971

cdef int64_t EARLIEST_MS = 1000 * <int64_t>EARLIEST_S
cdef Py_ssize_t MAX_BYTES = 4 * written_times.MAX_LENGTH


cdef inline int two_digits(const char* p) noexcept nogil:
    if c"0" <= p[0] <= c"9" and c"0" <= p[1] <= c"9":
        return (p[0] - c"0") * 10 + (p[1] - c"0")
    return -1


cdef inline int64_t days_from_civil(int year, int month, int day) noexcept nogil:
    """Return days since 1970-01-01 in the proleptic Gregorian calendar."""
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = (shifted if shifted >= 0 else shifted - 399) // 400
    cdef int64_t year_of_era = shifted - era * 400
    cdef int64_t day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    cdef int64_t day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146097 + day_of_era - 719468


cdef inline int days_in_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef bint parse_iso(const char* p, Py_ssize_t length, int64_t* out) noexcept nogil:
    """Read ISO 8601: a date, and maybe a time of day and a zone; without a zone it is UTC."""
    cdef const char* end = p + length
    cdef int century, year, month, day, hour = 0, minute = 0, second = 0
    cdef int zone_hour, zone_minute = 0, sign, millis = 0, scale = 100
    cdef int64_t offset = 0
    if length < 10 or p[4] != c"-" or p[7] != c"-":
        return False
    century = two_digits(p)
    year = two_digits(p + 2)
    month = two_digits(p + 5)
    day = two_digits(p + 8)
    if century < 0 or year < 0 or not 1 <= month <= 12:
        return False
    year += century * 100
    if not 1 <= day <= days_in_month(year, month):
        return False
    p += 10
    if p < end:
        if (p[0] != c"T" and p[0] != c"t" and p[0] != c" ") or end - p < 6 or p[3] != c":":
            return False
        hour = two_digits(p + 1)
        minute = two_digits(p + 4)
        p += 6
        if end - p >= 3 and p[0] == c":":
            second = two_digits(p + 1)
            p += 3
            if p < end and (p[0] == c"." or p[0] == c","):
                p += 1
                if p >= end or not c"0" <= p[0] <= c"9":
                    return False
                while p < end and c"0" <= p[0] <= c"9":
                    millis += (p[0] - c"0") * scale
                    scale //= 10
                    p += 1
        if not 0 <= hour <= 24 or not 0 <= minute <= 59 or not 0 <= second <= 60:
            return False
        if hour == 24 and (minute or second or millis):
            return False
        if p < end and p[0] == c" ":
            p += 1
        if p < end and (p[0] == c"Z" or p[0] == c"z"):
            p += 1
        elif p < end and (p[0] == c"+" or p[0] == c"-") and end - p >= 3:
            sign = -1 if p[0] == c"-" else 1
            zone_hour = two_digits(p + 1)
            p += 3
            if p < end and p[0] == c":":
                p += 1
            if end - p >= 2:
                zone_minute = two_digits(p)
                p += 2
            if not 0 <= zone_hour <= 23 or not 0 <= zone_minute <= 59:
                return False
            offset = sign * (zone_hour * 60 + zone_minute)
        if p != end:
            return False
    out[0] = (
        ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second
    ) * 1000 + millis
    return True


cdef bint parse_digits(int64_t day, int64_t clock, int64_t* out) noexcept nogil:
    """Read digits that are a date, yyyyMMdd, and a time of day, HHmmss."""
    cdef int year = day // 10_000, month = day // 100 % 100
    cdef int hour = clock // 10_000, minute = clock // 100 % 100, second = clock % 100
    if year < FIRST_YEAR or not 1 <= month <= 12:
        return False
    if not 1 <= day % 100 <= days_in_month(year, month):
        return False
    if hour > 23 or minute > 59 or second > 59:
        return False
    out[0] = ((days_from_civil(year, month, day % 100) * 24 + hour) * 60 + minute) * 60 + second
    out[0] *= 1000
    return True


cdef bint time_of_number(double value, int64_t* out) noexcept nogil:
    """Read seconds, milliseconds, microseconds or nanoseconds, by size, or the digits of a date.

    Dates are what would be seconds of 1970.  What could be either of two times is none.
    """
    cdef int64_t whole
    if not 0 < value < 9e18:
        return False
    whole = <int64_t>value
    if value < EARLIEST_S and whole == value and parse_digits(whole, 0, out):
        return True
    if value < 1e11:
        out[0] = llround(value * 1000)
        return True
    if value < 2.1e11 and parse_digits(whole // 10_000, whole % 10_000 * 100, out):
        return False  # yyyyMMddHHmm, or milliseconds of 1976
    if value < 1e14 and parse_digits(whole // 1_000_000, whole % 1_000_000, out):
        return True
    if value < 1e15:
        out[0] = whole
    elif value < 1e17:
        out[0] = whole // 1000
    elif value < 1e18:
        return False  # nanoseconds of before 2001, or one of the counts that begin before 1970
    else:
        out[0] = whole // 1_000_000
    return True


cdef bint parse_plain(Slot* text, int64_t* out) except -1:
    """Read ISO 8601, or the digits of a number."""
    if parse_iso(text.ptr, text.len, out):
        return True
    return is_json_number(text.ptr, text.len) and time_of_number(number_of(text), out)


cdef bint parse_other(const Slot* slot, int64_t* out) except -1:
    """Read what is written otherwise, the slow way."""
    cdef Slot plain
    cdef bytes encoded
    if slot.len > MAX_BYTES:
        return False
    try:
        text = written_times.as_iso(text_of(slot).decode())
    except UnicodeDecodeError:
        return False
    if text is None:
        return False
    encoded = (<str>text).encode()
    set_text(&plain, encoded)
    return parse_plain(&plain, out)


cdef bint time_of(const Slot* slot, int64_t* out) except -1:
    """Read a time in any of the formats that SDKs send."""
    cdef Slot scalar
    cdef bytes _alive
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return False
    if is_number(&scalar):
        return time_of_number(number_of(&scalar), out)
    if not is_string(&scalar) or scalar.len == 0:
        return False
    _alive = unescaped(&scalar)
    return parse_plain(&scalar, out) or parse_other(&scalar, out)


cdef int put_time(Buffer out, const Slot* slot, Run* run) except -1:
    """Write epoch milliseconds that Mixpanel takes; where there are none, the time of receipt.

    Items of an expanded array come one millisecond before one another, so that they keep their
    order in front of the event they belong to.
    """
    cdef int64_t before = run.item + 1
    cdef int64_t value = 0
    cdef bint readable = time_of(slot, &value)
    if readable:
        value += run.skew_ms
        if not EARLIEST_MS + before <= value <= run.received_ms + HOUR_MS:
            run.time_fault = IMPOSSIBLE
            value = run.received_ms
    else:
        if not is_blank(slot):
            run.time_fault = UNREADABLE
        value = run.received_ms
    out.put_integer(value - before)
    return 2 if not readable and not is_blank(slot) else 1


cdef inline void set_text(Slot* slot, bytes text):
    slot.kind = TEXT
    slot.first = c'"'
    slot.escaped = False
    slot.ptr = PyBytes_AS_STRING(text)
    slot.len = PyBytes_GET_SIZE(text)


def parse_time(text):
    """Return the epoch milliseconds that a string or number stands for, or None.

    Reads ISO 8601; epoch seconds, milliseconds, microseconds and nanoseconds, as numbers or digits;
    and what ``fastmap.written_times`` knows.
    """
    cdef Slot slot
    cdef int64_t value
    cdef bytes encoded = str(text).encode("utf-8", "replace")
    set_text(&slot, encoded)
    return value if time_of(&slot, &value) else None
