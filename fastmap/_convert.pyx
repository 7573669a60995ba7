"""Conversions: one value of the input becomes one value of the output, or nothing.

Each ``put_`` function returns 1 when it wrote a value and 0 when the input has none for it; it then
has written nothing.
"""

from email.utils import mktime_tz, parsedate_tz
from hashlib import blake2b

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport NAN, llround
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport memchr, memcpy

from fastmap._scan cimport JSON, TEXT, skip_space, skip_value, slot_of_token, unescape

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)
    int AF_INET
    int AF_INET6

cdef enum:
    HOUR_MS = 3_600_000
    MAX_ID = 36        # characters of a unique id
    DIGEST_BYTES = 16
    MAX_NUMBER = 32    # characters of a number whose value is needed
    MAX_IP = 45        # INET6_ADDRSTRLEN without the final zero


cdef inline bint is_string(const Slot* slot) noexcept nogil:
    return slot.kind == TEXT or (slot.kind == JSON and slot.first == c'"')


cdef inline bint is_number(const Slot* slot) noexcept nogil:
    return slot.kind == JSON and (slot.first == c"-" or c"0" <= slot.first <= c"9")


cdef bint is_blank(const Slot* slot) noexcept nogil:
    """Whether there is nothing to convert: absent, null or an empty string."""
    return (
        slot.kind == 0
        or (slot.kind == JSON and slot.first == c"n")
        or (slot.len == 0 and is_string(slot))
    )


cdef int unwrap(const Slot* slot, Slot* inner) noexcept nogil:
    """Give the scalar in a list of one; any other value as it is.  0 when there is no scalar."""
    cdef const char* p
    cdef const char* end
    cdef const char* start
    inner[0] = slot[0]
    if slot.kind != JSON or slot.first != c"[":
        return slot.kind != JSON or slot.first != c"{"
    end = slot.ptr + slot.len
    start = skip_space(slot.ptr + 1, end)
    if start >= end or start[0] == c"]" or start[0] == c"[" or start[0] == c"{":
        return 0
    p = skip_value(start, end)
    if p == NULL:
        return 0
    slot_of_token(inner, start, p)
    p = skip_space(p, end)
    return p < end and p[0] == c"]"


cdef bytes text_of(const Slot* slot):
    """Return the unescaped text of a string, or the token of anything else."""
    cdef bytes text
    cdef Py_ssize_t length
    if not slot.escaped:
        return PyBytes_FromStringAndSize(slot.ptr, slot.len)
    text = PyBytes_FromStringAndSize(NULL, slot.len)
    length = unescape(slot.ptr, slot.len, PyBytes_AS_STRING(text))
    return text[:length]


cdef int put_text(Buffer out, const Slot* slot) except -1:
    """Write a scalar as the inside of a JSON string."""
    if slot.kind == TEXT:
        out.put_escaped(slot.ptr, slot.len)
    else:
        out.put(slot.ptr, slot.len)
    return 1


cdef int put_json(Buffer out, const Slot* slot, int flags) except -1:
    """Copy a value as it is."""
    if slot.kind == 0:
        return 0
    if flags & (SKIP_NULL | SKIP_FALSY) and slot.kind == JSON and slot.first == c"n":
        return 0
    if flags & SKIP_FALSY:
        if slot.len == 0 and is_string(slot):
            return 0
        if slot.kind == JSON and slot.first == c"f":
            return 0
        if is_number(slot) and number_of(slot) == 0:
            return 0
    if is_string(slot):
        out.put_byte(c'"')
        put_text(out, slot)
        out.put_byte(c'"')
    else:
        out.put(slot.ptr, slot.len)
    return 1


cdef inline char lower(char c) noexcept nogil:
    return c + 32 if c"A" <= c <= c"Z" else c


cdef bint is_word(const Words* words, const char* text, Py_ssize_t length) noexcept nogil:
    """Whether text, without outer spaces and in any case, is one of the words."""
    cdef Py_ssize_t i, j
    while length and text[0] == c" ":
        text += 1
        length -= 1
    while length and text[length - 1] == c" ":
        length -= 1
    for i in range(words.count):
        if words.words[i].len != length:
            continue
        j = 0
        while j < length and lower(text[j]) == words.words[i].text[j]:
            j += 1
        if j == length:
            return True
    return False


cdef bint is_exactly(const Words* words, const char* text, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(words.count):
        if words.words[i].len != length:
            continue
        j = 0
        while j < length and text[j] == words.words[i].text[j]:
            j += 1
        if j == length:
            return True
    return False


cdef int put_string(
    Buffer out, const Slot* slot, int flags, const Words* none_of, const Words* one_of
) except -1:
    """Write a string; numbers and booleans become their text, a list of one its item."""
    cdef Slot scalar
    cdef bytes text
    cdef const char* p
    cdef Py_ssize_t length
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if scalar.kind == JSON and scalar.first == c"n":
        return 0
    if scalar.len == 0 and not flags & KEEP_EMPTY:
        return 0
    if none_of != NULL or one_of != NULL:
        p = scalar.ptr
        length = scalar.len
        if scalar.escaped:
            text = text_of(&scalar)
            p = PyBytes_AS_STRING(text)
            length = PyBytes_GET_SIZE(text)
        if none_of != NULL and is_word(none_of, p, length):
            return 0
        if one_of != NULL and not is_exactly(one_of, p, length):
            return 0
    out.put_byte(c'"')
    put_text(out, &scalar)
    out.put_byte(c'"')
    return 1


cdef bint is_json_number(const char* p, Py_ssize_t length) noexcept nogil:
    """Whether text follows the grammar of a JSON number (RFC 8259 section 6)."""
    cdef const char* end = p + length
    if p < end and p[0] == c"-":
        p += 1
    if p >= end or not c"0" <= p[0] <= c"9":
        return False
    if p[0] == c"0":
        p += 1
    else:
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    if p < end and p[0] == c".":
        p += 1
        if p >= end or not c"0" <= p[0] <= c"9":
            return False
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    if p < end and (p[0] == c"e" or p[0] == c"E"):
        p += 1
        if p < end and (p[0] == c"+" or p[0] == c"-"):
            p += 1
        if p >= end or not c"0" <= p[0] <= c"9":
            return False
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    return p == end


cdef int put_number(Buffer out, const Slot* slot) except -1:
    """Write a number with the digits it came with; true and false become 1 and 0."""
    cdef Slot scalar
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if is_string(&scalar):
        while scalar.len and scalar.ptr[0] == c" ":
            scalar.ptr += 1
            scalar.len -= 1
        while scalar.len and scalar.ptr[scalar.len - 1] == c" ":
            scalar.len -= 1
        if not is_json_number(scalar.ptr, scalar.len):
            return 0
    elif scalar.first == c"t" or scalar.first == c"f":
        out.put_byte(c"1" if scalar.first == c"t" else c"0")
        return 1
    elif not is_number(&scalar):
        return 0
    out.put(scalar.ptr, scalar.len)
    return 1


cdef int put_boolean(Buffer out, const Slot* slot) except -1:
    """Write true or false; the strings "true" and "false" and the numbers 1 and 0 count."""
    cdef Slot scalar
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if scalar.len == 4 and scalar.ptr[:4] == b"true":
        out.put(b"true", 4)
    elif scalar.len == 5 and scalar.ptr[:5] == b"false":
        out.put(b"false", 5)
    elif is_number(&scalar) and scalar.len == 1 and scalar.first == c"1":
        out.put(b"true", 4)
    elif is_number(&scalar) and scalar.len == 1 and scalar.first == c"0":
        out.put(b"false", 5)
    else:
        return 0
    return 1


cdef double number_of(const Slot* slot) noexcept nogil:
    """Return the value of a short number; NaN when it is unreadable or too long to matter."""
    cdef char text[MAX_NUMBER + 1]
    cdef char* stop
    cdef double value
    if slot.len == 0 or slot.len > MAX_NUMBER:
        return NAN
    memcpy(text, slot.ptr, slot.len)
    text[slot.len] = 0
    value = strtod(text, &stop)
    return value if stop == text + slot.len else NAN


cdef inline int two_digits(const char* p) noexcept nogil:
    if c"0" <= p[0] <= c"9" and c"0" <= p[1] <= c"9":
        return (p[0] - c"0") * 10 + (p[1] - c"0")
    return -1


cdef inline int64_t days_from_civil(int year, int month, int day) noexcept nogil:
    """Return days since 1970-01-01 in the proleptic Gregorian calendar."""
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = shifted // 400
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


cdef bint time_of_number(double value, int64_t* out) noexcept nogil:
    """Numbers below 1e11 are seconds, others milliseconds; zero and less are no time."""
    if not 0 < value < 1e15:
        return False
    out[0] = llround(value * 1000) if value < 1e11 else <int64_t>value
    return True


cdef bint parse_other_time(const Slot* slot, int64_t* out) except -1:
    """Read the date format of mail and HTTP headers (RFC 5322), the slow way."""
    if slot.len > 64:
        return False
    try:
        parts = parsedate_tz(text_of(slot).decode())
        out[0] = <int64_t>mktime_tz(parts) * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return False
    return True


cdef bint time_of(const Slot* slot, int64_t* out) except -1:
    """Read a time in any of the formats that SDKs send."""
    cdef Slot scalar
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return False
    if is_number(&scalar):
        return time_of_number(number_of(&scalar), out)
    if not is_string(&scalar) or scalar.len == 0:
        return False
    if parse_iso(scalar.ptr, scalar.len, out):
        return True
    if is_json_number(scalar.ptr, scalar.len):
        return time_of_number(number_of(&scalar), out)
    return parse_other_time(&scalar, out)


cdef int put_time(Buffer out, const Slot* slot, const Run* run) except -1:
    """Write epoch milliseconds; what is unreadable or in the future is the time of receipt.

    Items of an expanded array come one millisecond before one another, so that they keep their
    order in front of the event they belong to.
    """
    cdef int64_t value
    cdef bint readable = time_of(slot, &value)
    if readable:
        value += run.skew_ms
    if not readable or value > run.received_ms + HOUR_MS:
        value = run.received_ms
    out.put_integer(value - (run.item + 1))
    return 2 if not readable and not is_blank(slot) else 1


cdef bint is_unique_id(const char* p, Py_ssize_t length, const Words* none_of) noexcept nogil:
    cdef Py_ssize_t i
    if not 1 <= length <= MAX_ID:
        return False
    for i in range(length):
        if not (
            c"a" <= p[i] <= c"z" or c"A" <= p[i] <= c"Z" or c"0" <= p[i] <= c"9" or p[i] == c"-"
        ):
            return False
    return none_of == NULL or not is_word(none_of, p, length)


cdef bint is_uuid(const char* p) noexcept nogil:
    """Whether the 36 characters at p are 8-4-4-4-12 hexadecimal digits."""
    cdef int i
    for i in range(36):
        if i == 8 or i == 13 or i == 18 or i == 23:
            if p[i] != c"-":
                return False
        elif not (c"0" <= p[i] <= c"9" or c"a" <= lower(p[i]) <= c"f"):
            return False
    return True


cdef int put_unique_id(Buffer out, const Slot* slot, const Run* run, const Words* none_of) except -1:
    """Write an id of 1 to 36 characters of [A-Za-z0-9-], derived from the value when it is not one.

    Items of an expanded array get ids of their own that follow from the event's.
    """
    cdef Slot scalar
    cdef bytes text
    cdef const char* p
    cdef Py_ssize_t length
    cdef char item[64]
    cdef int item_len, i
    if is_blank(slot) or not unwrap(slot, &scalar):
        return 0
    p = scalar.ptr
    length = scalar.len
    if scalar.escaped:
        text = text_of(&scalar)
        p = PyBytes_AS_STRING(text)
        length = PyBytes_GET_SIZE(text)
    if not is_unique_id(p, length, none_of):
        if length > 36 and is_uuid(p + length - 36) and is_unique_id(p + length - 36, 36, none_of):
            p += length - 36
            length = 36
        else:
            text = blake2b(p[:length], digest_size=DIGEST_BYTES).hexdigest().encode()
            p = PyBytes_AS_STRING(text)
            length = 2 * DIGEST_BYTES
    out.put_byte(c'"')
    if run.item < 0:
        out.put(p, length)
    else:
        item_len = snprintf(item, 64, b"%d", run.item)
        memcpy(item + item_len, p, length)
        if is_unique_id(item, item_len + length, none_of):
            out.put(item, item_len + length)
        elif length == 36 and item_len <= 3 and is_uuid(p):
            for i in range(36):
                if p[i] != c"-":
                    out.put_byte(p[i])
            out.put_byte(c"-")
            out.put(item, item_len)
        else:
            text = blake2b(item[:item_len + length], digest_size=DIGEST_BYTES).hexdigest().encode()
            out.put(text, 2 * DIGEST_BYTES)
    out.put_byte(c'"')
    return 1


cdef int put_ip(Buffer out, const Slot* slot) except -1:
    """Write an IPv4 or IPv6 address as a string."""
    cdef char text[MAX_IP + 1]
    cdef char address[16]
    if not is_string(slot) or not 0 < slot.len <= MAX_IP or memchr(slot.ptr, 0, slot.len) != NULL:
        return 0
    memcpy(text, slot.ptr, slot.len)
    text[slot.len] = 0
    if inet_pton(AF_INET, text, address) != 1 and inet_pton(AF_INET6, text, address) != 1:
        return 0
    out.put_byte(c'"')
    out.put(slot.ptr, slot.len)
    out.put_byte(c'"')
    return 1


def parse_time(text):
    """Return the epoch milliseconds that a string or number stands for, or None.

    Reads ISO 8601, epoch seconds and milliseconds (as numbers or digits), and RFC 5322 dates.
    """
    cdef Slot slot
    cdef int64_t value
    cdef bytes encoded = str(text).encode("utf-8", "replace")
    slot.kind = TEXT
    slot.first = c'"'
    slot.escaped = False
    slot.ptr = PyBytes_AS_STRING(encoded)
    slot.len = PyBytes_GET_SIZE(encoded)
    return value if time_of(&slot, &value) else None
