"""Comparing a value with what a condition says of it."""

from libc.string cimport memcmp

from fastmap._code cimport (
    AT_MOST, CONTAINS, EQUALS_BOOLEAN, EQUALS_NUMBER, EQUALS_TEXT, EXISTS, FILLED, GREATER, LESS,
    MATCHES, Test,
)
from fastmap._convert cimport (
    is_number, is_string, is_truthy, number_of, numeric_value, text_of,
)
from fastmap._scan cimport ABSENT, JSON, Slot, skip_space, skip_value, slot_of_token

cdef enum:
    ANY = 0xFE  # wildcards of a pattern; bytes that UTF-8 does not have
    ONE = 0xFF


cdef bint compares(const Test* test, const Slot* slot) except -1:
    """Whether a condition on one value holds."""
    cdef double number
    if test.kind == EXISTS:
        return slot.kind != ABSENT and not (slot.kind == JSON and slot.first == c"n")
    if test.kind == FILLED:
        return is_truthy(slot)
    if test.kind == EQUALS_TEXT:
        return equals_text(slot, test.text, test.len)
    if test.kind == CONTAINS:
        return contains_text(slot, test.text, test.len)
    if test.kind == MATCHES:
        return matches_pattern(slot, test.text, test.len)
    if test.kind == EQUALS_BOOLEAN:
        return slot.kind == JSON and slot.first == (c"t" if test.number else c"f")
    if test.kind == EQUALS_NUMBER:
        return is_number(slot) and number_of(slot) == test.number
    number = numeric_value(slot)  # NaN compares false with everything
    if test.kind == LESS:
        return number < test.number
    if test.kind == AT_MOST:
        return number <= test.number
    if test.kind == GREATER:
        return number > test.number
    return number >= test.number


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
