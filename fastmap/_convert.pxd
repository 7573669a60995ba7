"""Conversions: one value of the input becomes one value of the output, or nothing."""

from libc.stdint cimport int64_t, uint64_t

from fastmap._buffer cimport Buffer
from fastmap._scan cimport JSON, TEXT, Slot

cpdef enum Convert:
    TO_JSON = 0
    TO_STRING = 1
    TO_NUMBER = 2
    TO_BOOLEAN = 3
    TO_TIME = 4
    TO_UNIQUE_ID = 5
    TO_IP = 6
    TO_DERIVED = 7

cpdef enum Flag:
    # Options of conversions.
    KEEP_EMPTY = 1    # an empty string is a value
    SKIP_NULL = 2     # null is no value
    SKIP_FALSY = 4    # null, false, 0 and "" are no values
    TAKES_JSON = 8    # a derivation is of the JSON of any value
    AS_ID = 16        # a string says who something is: see put_id
    SEVERAL = 32      # a list of ids is a value

cdef struct Word:
    const char* text
    Py_ssize_t len

cdef struct Words:
    # A closed set of lower-case words.
    Py_ssize_t count
    Word* words
    uint64_t lengths  # bit n: there is a word of n bytes, or of 63 and more


cdef enum TimeFault:
    # Why a time is that of receipt although the input says one.
    NO_FAULT = 0
    UNREADABLE = 1
    IMPOSSIBLE = 2


cdef struct Run:
    # What a run knows beside the input.
    int64_t received_ms
    int64_t skew_ms
    int item  # index in the array that is expanded, -1 outside
    TimeFault time_fault  # of the event


cdef inline bint is_string(const Slot* slot) noexcept nogil:
    return slot.kind == TEXT or (slot.kind == JSON and slot.first == c'"')


cdef inline bint is_number(const Slot* slot) noexcept nogil:
    return slot.kind == JSON and (slot.first == c"-" or c"0" <= slot.first <= c"9")


cdef inline bint is_json_text(const Slot* slot) noexcept:
    """Whether a slot holds a string, other than "", as it was sent."""
    return slot.kind == JSON and slot.first == c'"' and slot.len


cdef inline int put_json_text(Buffer out, const Slot* slot) except -1:
    out.put(slot.ptr - 1, slot.len + 2)  # with its quotes
    return 1


cdef bint is_blank(const Slot* slot) noexcept nogil
cdef bint is_hollow(const Slot* slot) noexcept nogil
cdef bint is_truthy(const Slot* slot) except -1
cdef double number_of(const Slot* slot) except? -1
cdef double numeric_value(const Slot* slot) except? -1
cdef int put_json(Buffer out, const Slot* slot, int flags) except -1
cdef int put_string(
    Buffer out, const Slot* slot, int flags, const Words* none_of, const Words* one_of
) except -1
cdef int put_number(Buffer out, const Slot* slot) except -1
cdef int put_boolean(Buffer out, const Slot* slot) except -1
cdef int put_unique_id(Buffer out, const Slot* slot, const Run* run, const Words* none_of) except -1
cdef int put_ip(Buffer out, const Slot* slot) except -1
cdef bytes text_of(const Slot* slot)
cdef bytes unescaped(Slot* slot)
cdef bint is_json_number(const char* p, Py_ssize_t length) noexcept nogil
cdef int unwrap_list(const Slot* slot, Slot* inner) noexcept nogil


cdef inline int unwrap(const Slot* slot, Slot* inner) noexcept nogil:
    """Give the scalar in a list of one; any other value as it is.  0 when there is no scalar."""
    inner[0] = slot[0]
    if slot.kind != JSON or (slot.first != c"[" and slot.first != c"{"):
        return 1
    return slot.first == c"[" and unwrap_list(slot, inner)
