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
from libc.string cimport memchr, memcmp, memcpy

from fastmap._scan cimport (
    JSON, TEXT, fm_is_id_text, fm_must_escape, skip_space, skip_value, slot_of_token, unescape,
)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)
    int AF_INET
    int AF_INET6

cdef enum:
    HOUR_MS = 3_600_000
    MAX_ID = 36        # characters of a unique id
    DIGEST_BYTES = 16
    MAX_NUMBER = 63    # characters of a number that are read without allocating
    ANY = 0xFE         # wildcards of a pattern; bytes that UTF-8 does not have
    ONE = 0xFF
    MAX_IP = 45        # INET6_ADDRSTRLEN without the final zero


cdef bint is_blank(const Slot* slot) noexcept nogil:
    """Whether there is nothing to convert: absent, null or an empty string."""
    return (
        slot.kind == 0
        or (slot.kind == JSON and slot.first == c"n")
        or (slot.len == 0 and is_string(slot))
    )


cdef inline int unwrap(const Slot* slot, Slot* inner) noexcept nogil:
    """Give the scalar in a list of one; any other value as it is.  0 when there is no scalar."""
    inner[0] = slot[0]
    if slot.kind != JSON or (slot.first != c"[" and slot.first != c"{"):
        return 1
    return slot.first == c"[" and unwrap_list(slot, inner)


cdef int unwrap_list(const Slot* slot, Slot* inner) noexcept nogil:
    cdef const char* p
    cdef const char* end
    cdef const char* start
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


cdef bytes unescaped(Slot* slot):
    """Point a string with escapes at its text; returns what keeps that alive, else None."""
    cdef bytes text
    if not slot.escaped:
        return None
    text = text_of(slot)
    slot.ptr = PyBytes_AS_STRING(text)
    slot.len = PyBytes_GET_SIZE(text)
    slot.escaped = False
    return text


cdef inline int put_text_quoted(Buffer out, const Slot* slot) except -1:
    """Write a scalar as a JSON string."""
    if slot.kind == TEXT and fm_must_escape(slot.ptr, slot.ptr + slot.len) != slot.ptr + slot.len:
        out.put_byte(c'"')
        out.put_escaped(slot.ptr, slot.len)
        return out.put_byte(c'"')
    return out.put_quoted(slot.ptr, slot.len)


cdef int put_json(Buffer out, const Slot* slot, int flags) except -1:
    """Copy a value as it is."""
    if slot.kind == 0:
        return 0
    if flags & (SKIP_NULL | SKIP_FALSY) and slot.kind == JSON and slot.first == c"n":
        return 0
    if flags & SKIP_FALSY and not is_truthy(slot):
        return 0
    if is_string(slot):
        put_text_quoted(out, slot)
    else:
        out.put(slot.ptr, slot.len)
    return 1


cdef inline char lower(char c) noexcept nogil:
    return c + 32 if c"A" <= c <= c"Z" else c


cdef bint is_word(const Words* words, const char* text, Py_ssize_t length) noexcept nogil:
    """Whether text, without outer white space and in any case, is one of the words."""
    cdef Py_ssize_t i, j
    while length and 0 <= text[0] <= c" ":
        text += 1
        length -= 1
    while length and 0 <= text[length - 1] <= c" ":
        length -= 1
    if not words.lengths >> min(length, 63) & 1:
        return False
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
    cdef Slot scalar, plain
    cdef bytes _alive
    if slot.kind == TEXT and slot.len and none_of == NULL and one_of == NULL:
        put_text_quoted(out, slot)
        return 1
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if scalar.kind == JSON and scalar.first == c"n":
        return 0
    if scalar.len == 0 and not flags & KEEP_EMPTY:
        return 0
    if none_of != NULL or one_of != NULL:
        plain = scalar
        _alive = unescaped(&plain)
        if none_of != NULL and is_word(none_of, plain.ptr, plain.len):
            return 0
        if one_of != NULL and not is_exactly(one_of, plain.ptr, plain.len):
            return 0
    put_text_quoted(out, &scalar)
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
    cdef bytes _alive
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if is_string(&scalar):
        _alive = unescaped(&scalar)
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
    cdef bytes _alive
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    _alive = unescaped(&scalar)
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


cdef double number_of(const Slot* slot) except? -1:
    """Return the value of a number or of digits; NaN when it is unreadable."""
    cdef char short_text[MAX_NUMBER + 1]
    cdef const char* text = short_text
    cdef char* stop
    cdef bytes long_text
    cdef double value
    if slot.len == 0:
        return NAN
    if slot.len <= MAX_NUMBER:
        memcpy(short_text, slot.ptr, slot.len)
        short_text[slot.len] = 0
    else:
        long_text = slot.ptr[:slot.len]
        text = long_text
    value = strtod(text, &stop)
    return value if stop == text + slot.len else NAN


cdef double numeric_value(const Slot* slot) except? -1:
    """Return the value of a number, or of a string that is one; NaN for everything else."""
    cdef Slot plain = slot[0]
    cdef bytes _alive
    if is_number(slot):
        return number_of(slot)
    if not is_string(slot):
        return NAN
    _alive = unescaped(&plain)
    return number_of(&plain) if is_json_number(plain.ptr, plain.len) else NAN


cdef bint is_truthy(const Slot* slot) except -1:
    """Whether there is a value other than null, false, 0 and ""."""
    if slot.kind == 0 or (slot.len == 0 and is_string(slot)):
        return False
    if is_number(slot):
        return number_of(slot) != 0
    return slot.kind == TEXT or (slot.first != c"n" and slot.first != c"f")


cdef bint equals_text(const Slot* slot, const char* text, Py_ssize_t length) except -1:
    """Whether a value is the string with this text."""
    cdef bytes plain
    if not is_string(slot):
        return False
    if slot.escaped:
        plain = text_of(slot)
        return len(plain) == length and memcmp(<const char*>plain, text, length) == 0
    return slot.len == length and memcmp(slot.ptr, text, length) == 0


cdef bint contains_text(const Slot* slot, const char* text, Py_ssize_t length) except -1:
    """Whether a string holds a text, or a list a string that equals it."""
    cdef Slot item
    cdef const char* p
    cdef const char* end
    cdef const char* start
    if is_string(slot):
        return text[:length] in text_of(slot)
    if slot.kind != JSON or slot.first != c"[":
        return False
    end = slot.ptr + slot.len
    p = skip_space(slot.ptr + 1, end)
    while p < end and p[0] != c"]":
        start = p
        p = skip_value(p, end)
        if p == NULL:
            return False
        slot_of_token(&item, start, p)
        if equals_text(&item, text, length):
            return True
        p = skip_space(p, end)
        if p < end and p[0] == c",":
            p = skip_space(p + 1, end)
    return False


cdef inline const char* next_character(const char* p, const char* end) noexcept nogil:
    p += 1
    while p < end and (p[0] & 0xC0) == 0x80:
        p += 1
    return p


cdef bint matches_pattern(const Slot* slot, const char* pattern, Py_ssize_t length) except -1:
    """Whether the whole of a string matches; the wildcards are the bytes ANY and ONE."""
    cdef bytes plain
    cdef const char* p
    cdef const char* end
    cdef const char* pattern_end = pattern + length
    cdef const char* star = NULL  # the last ANY, and how far it has been tried
    cdef const char* tried = NULL
    if not is_string(slot):
        return False
    plain = text_of(slot)
    p = plain
    end = p + len(plain)
    while p < end:
        if pattern < pattern_end and <unsigned char>pattern[0] == ANY:
            star = pattern
            tried = p
            pattern += 1
        elif pattern < pattern_end and <unsigned char>pattern[0] == ONE:
            pattern += 1
            p = next_character(p, end)
        elif pattern < pattern_end and pattern[0] == p[0]:
            pattern += 1
            p += 1
        elif star != NULL:
            tried = next_character(tried, end)
            p = tried
            pattern = star + 1
        else:
            return False
    while pattern < pattern_end and <unsigned char>pattern[0] == ANY:
        pattern += 1
    return pattern == pattern_end


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
        seconds = mktime_tz(parsedate_tz(text_of(slot).decode()))
    except (ValueError, TypeError, OverflowError, IndexError):
        return False
    if abs(seconds) > 1e12:  # far beyond the year 9999: a nonsensical zone
        return False
    out[0] = <int64_t>seconds * 1000
    return True


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
    if not 1 <= length <= MAX_ID or not fm_is_id_text(p, p + length):
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
    cdef bytes _alive, text
    cdef const char* p
    cdef Py_ssize_t length
    cdef char item[64]
    cdef int item_len, i
    if not unwrap(slot, &scalar) or is_blank(&scalar):
        return 0
    _alive = unescaped(&scalar)
    p = scalar.ptr
    length = scalar.len
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
    cdef Slot plain = slot[0]
    cdef bytes _alive
    if not is_string(slot):
        return 0
    _alive = unescaped(&plain)
    if not 0 < plain.len <= MAX_IP or memchr(plain.ptr, 0, plain.len) != NULL:
        return 0
    memcpy(text, plain.ptr, plain.len)
    text[plain.len] = 0
    if inet_pton(AF_INET, text, address) != 1 and inet_pton(AF_INET6, text, address) != 1:
        return 0
    out.put_quoted(plain.ptr, plain.len)
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
