"""Reading JSON where it lies: nothing is decoded, values are spans of the input."""

import os

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

cdef enum:
    MAX_DEPTH = 15  # of Limits

HASH_SEED = int.from_bytes(os.urandom(8), "little")


@cython.final
cdef class KeyTable:
    """Byte strings to small numbers, fixed once built.

    :param numbers: the keys and their numbers, each other than -1.
    """

    def __cinit__(self, dict numbers):
        cdef Py_ssize_t size = 4
        cdef Py_ssize_t i
        cdef bytes key
        while size < 2 * len(numbers):
            size *= 2
        self.keys = tuple(numbers)
        self.table.mask = size - 1
        self.table.entries = <Entry*>malloc(size * sizeof(Entry))
        if self.table.entries == NULL:
            raise MemoryError
        for i in range(size):
            self.table.entries[i].value = -1
        for key in self.keys:
            i = fm_hash(key, len(key), HASH_SEED) & self.table.mask
            while self.table.entries[i].value != -1:
                i = (i + 1) & self.table.mask
            self.table.entries[i].hash = fm_hash(key, len(key), HASH_SEED)
            self.table.entries[i].key = key
            self.table.entries[i].len = len(key)
            self.table.entries[i].value = numbers[key]

    def __dealloc__(self):
        free(self.table.entries)


cdef bint is_within(
    const char* p, const char* end, int max_members, int max_depth
) noexcept nogil:
    """Whether no object in valid JSON has more members, or lies deeper; the outermost has depth 1.

    Members that are repeated count, and those of the outermost object may be any number.
    """
    cdef int members[MAX_DEPTH + 1]
    cdef int depth = 0
    cdef bint escaped = False
    while p < end:
        if p[0] == c'"':
            p = string_end(p + 1, end, &escaped)
            if p == NULL:
                return True
        elif p[0] == c"{":
            depth += 1
            if depth > max_depth:
                return False
            members[depth] = 0
        elif p[0] == c"}" and depth:
            depth -= 1
        elif p[0] == c":" and depth:
            members[depth] += 1
            if depth > 1 and members[depth] > max_members:
                return False
        p += 1
    return True


cdef const char* skip_container(const char* p, const char* end) noexcept nogil:
    cdef Py_ssize_t depth = 0
    cdef bint escaped = False
    while p < end:
        if p[0] == c'"':
            p = string_end(p + 1, end, &escaped)
            if p == NULL:
                return NULL
        elif p[0] == c"{" or p[0] == c"[":
            depth += 1
        elif p[0] == c"}" or p[0] == c"]":
            depth -= 1
            if depth == 0:
                return p + 1
        p += 1
    return NULL


cdef int hex_value(char c) noexcept nogil:
    if c"0" <= c <= c"9":
        return c - c"0"
    if c"a" <= c <= c"f":
        return c - c"a" + 10
    if c"A" <= c <= c"F":
        return c - c"A" + 10
    return -1


cdef int code_unit(const char* p, const char* end) noexcept nogil:
    """Return the value of the four hexadecimal digits at p, or -1."""
    cdef int value = 0
    cdef int i, digit
    if end - p < 4:
        return -1
    for i in range(4):
        digit = hex_value(p[i])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


cdef Py_ssize_t unescape(const char* p, Py_ssize_t length, char* out) noexcept nogil:
    """Undo the escapes of a JSON string; returns the bytes written to out, at most length.

    A surrogate without its partner is written as three bytes of its own, so that two spellings
    of one key compare equal.
    """
    cdef const char* end = p + length
    cdef char* start = out
    cdef int code, low
    cdef char c
    while p < end:
        c = p[0]
        p += 1
        if c != c"\\" or p >= end:
            out[0] = c
            out += 1
            continue
        c = p[0]
        p += 1
        if c != c"u":
            if c == c"n":
                c = c"\n"
            elif c == c"t":
                c = c"\t"
            elif c == c"r":
                c = c"\r"
            elif c == c"b":
                c = 8
            elif c == c"f":
                c = 12
            out[0] = c
            out += 1
            continue
        code = code_unit(p, end)
        if code < 0:
            out[0] = c
            out += 1
            continue
        p += 4
        if 0xD800 <= code < 0xDC00 and end - p >= 6 and p[0] == c"\\" and p[1] == c"u":
            low = code_unit(p + 2, end)
            if 0xDC00 <= low < 0xE000:
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                p += 6
        if code < 0x80:
            out[0] = <char>code
            out += 1
        elif code < 0x800:
            out[0] = <char>(0xC0 | (code >> 6))
            out[1] = <char>(0x80 | (code & 63))
            out += 2
        elif code < 0x10000:
            out[0] = <char>(0xE0 | (code >> 12))
            out[1] = <char>(0x80 | ((code >> 6) & 63))
            out[2] = <char>(0x80 | (code & 63))
            out += 3
        else:
            out[0] = <char>(0xF0 | (code >> 18))
            out[1] = <char>(0x80 | ((code >> 12) & 63))
            out[2] = <char>(0x80 | ((code >> 6) & 63))
            out[3] = <char>(0x80 | (code & 63))
            out += 4
    return out - start


cdef inline bint is_continuation(unsigned char byte) noexcept nogil:
    return (byte & 0xC0) == 0x80


cdef Py_ssize_t sequence_length(const unsigned char* p, Py_ssize_t left) noexcept nogil:
    """Return the length of the UTF-8 sequence at p, 0 when it is none (RFC 3629 section 4)."""
    cdef unsigned char first = p[0]
    if first < 0xC2 or first > 0xF4 or left < 2 or not is_continuation(p[1]):
        return 0
    if first < 0xE0:
        return 2
    if left < 3 or not is_continuation(p[2]):
        return 0
    if first < 0xF0:
        if (first == 0xE0 and p[1] < 0xA0) or (first == 0xED and p[1] > 0x9F):
            return 0
        return 3
    if left < 4 or not is_continuation(p[3]):
        return 0
    if (first == 0xF0 and p[1] < 0x90) or (first == 0xF4 and p[1] > 0x8F):
        return 0
    return 4


def is_utf8(bytes data not None):
    """Return whether bytes are UTF-8 text; several times cheaper than decoding them."""
    cdef const char* p = data
    cdef const char* end = p + len(data)
    cdef Py_ssize_t length
    while True:
        p = fm_not_ascii(p, end)
        if p == end:
            return True
        length = sequence_length(<const unsigned char*>p, end - p)
        if length == 0:
            return False
        p += length


cdef const char* lone_surrogate(const char* p, const char* end) noexcept nogil:
    """Return the next escape of half a surrogate pair in JSON text, or NULL."""
    cdef int code
    while p < end:
        p = <const char*>memchr(p, c"\\", end - p)
        if p == NULL or end - p < 2:
            return NULL
        code = code_unit(p + 2, end) if p[1] == c"u" else -1
        if not 0xD800 <= code < 0xE000:
            p += 2
        elif (
            code < 0xDC00 and end - p >= 12 and p[6] == c"\\" and p[7] == c"u"
            and 0xDC00 <= code_unit(p + 8, end) < 0xE000
        ):
            p += 12
        else:
            return p
    return NULL


def without_lone_surrogates(bytes text not None):
    """Return JSON text with U+FFFD for halves of surrogate pairs; the same object without any."""
    cdef const char* start = text
    cdef const char* end = start + len(text)
    cdef const char* p = lone_surrogate(start, end)
    cdef bytes mended
    if p == NULL:
        return text
    mended = PyBytes_FromStringAndSize(start, len(text))
    p = <const char*>mended + (p - start)
    end = <const char*>mended + len(text)
    while p != NULL:
        memcpy(<char*>p + 2, b"fffd", 4)
        p = lone_surrogate(p + 6, end)
    return mended
