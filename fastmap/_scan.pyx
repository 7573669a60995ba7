"""Reading JSON where it lies: nothing is decoded, values are spans of the input."""

import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from fastmap.errors import MalformedInput

cdef extern from *:
    """
    /* Whether [p, end) holds more opening brackets, wherever they stand.  Bit 5 makes 0x7B of either
       kind, and of no other byte. */
    static inline int fm_opens_more(const char* p, const char* end, Py_ssize_t most)
    {
        Py_ssize_t found = 0;
    #ifdef __SSE2__
        const __m128i bit = _mm_set1_epi8(0x20);
        const __m128i opening = _mm_set1_epi8('{');
        while (end - p >= 16) {
            Py_ssize_t blocks = (end - p) / 16;
            const char* stop = p + 16 * (blocks < 255 ? blocks : 255);
            __m128i counts = _mm_setzero_si128();  /* bytes, which so many blocks cannot overflow */
            for (; p < stop; p += 16)
                counts = _mm_sub_epi8(counts, _mm_cmpeq_epi8(opening,
                    _mm_or_si128(_mm_loadu_si128((const __m128i*)p), bit)));
            counts = _mm_sad_epu8(counts, _mm_setzero_si128());
            found += _mm_cvtsi128_si32(counts) + _mm_extract_epi16(counts, 4);
            if (found > most)
                return 1;
        }
    #endif
        for (; p < end; p++)
            found += (*p | 0x20) == '{';
        return found > most;
    }

    static inline int fm_bits(uint64_t word)
    {
        word -= (word >> 1) & 0x5555555555555555ULL;
        word = (word & 0x3333333333333333ULL) + ((word >> 2) & 0x3333333333333333ULL);
        return (int)((((word + (word >> 4)) & 0x0F0F0F0F0F0F0F0FULL) * 0x0101010101010101ULL) >> 56);
    }

    /* First block of 64 bytes in [p, end) that holds a backslash, or in which the depth may become
       more; or a place nearer to the end than that.  The depth and whether a string goes on are
       brought up to there. */
    static inline const char* fm_skip_blocks(
        const char* p, const char* end, Py_ssize_t* depth, int* is_inside, Py_ssize_t most)
    {
    #ifdef __SSE2__
        const __m128i bit = _mm_set1_epi8(0x20);
        for (; end - p >= 64; p += 64) {
            uint64_t quotes = 0, opening = 0, closing = 0;
            int backslashes = 0, opened, i;
            for (i = 0; i < 4; i++) {
                __m128i block = _mm_loadu_si128((const __m128i*)(p + 16 * i));
                __m128i bracket = _mm_or_si128(block, bit);
                quotes |= (uint64_t)_mm_movemask_epi8(
                    _mm_cmpeq_epi8(block, _mm_set1_epi8('"'))) << (16 * i);
                opening |= (uint64_t)_mm_movemask_epi8(
                    _mm_cmpeq_epi8(bracket, _mm_set1_epi8('{'))) << (16 * i);
                closing |= (uint64_t)_mm_movemask_epi8(
                    _mm_cmpeq_epi8(bracket, _mm_set1_epi8('}'))) << (16 * i);
                backslashes |= _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8('\\\\')));
            }
            /* Each bit becomes whether the quotes up to there are an odd number. */
            for (i = 1; i < 64; i *= 2)
                quotes ^= quotes << i;
            if (*is_inside)
                quotes = ~quotes;
            opened = fm_bits(opening & ~quotes);
            if (backslashes || *depth + opened > most)
                break;
            *depth += opened - fm_bits(closing & ~quotes);
            *is_inside = (int)(quotes >> 63);
        }
    #endif
        return p;
    }
    """
    bint fm_opens_more(const char* p, const char* end, Py_ssize_t most) noexcept nogil
    const char* fm_skip_blocks(
        const char* p, const char* end, Py_ssize_t* depth, bint* is_inside, Py_ssize_t most
    ) noexcept nogil

cdef enum:
    MAX_DEPTH = 15  # of Limits
    BLOCK = 64  # bytes

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


cdef bint is_surely_deeper(const char* p, const char* end, int max_depth) noexcept nogil:
    """Whether an object in valid JSON lies deeper, in no member that a later one of its name replaces.

    False as well where the names would have to be decoded to tell.
    """
    cdef const char* names[MAX_DEPTH + 1]  # of the members that lead to where p is, by depth
    cdef Py_ssize_t lengths[MAX_DEPTH + 1]
    cdef const char* text = NULL           # of the last string
    cdef Py_ssize_t length = 0
    cdef int depth = 0
    cdef int common = max_depth + 1        # depth of the objects around both p and what is too deep
    cdef bint is_found = False
    cdef bint escaped
    while p < end:
        if p[0] == c'"':
            text = p + 1
            escaped = False
            p = string_end(text, end, &escaped)
            if p == NULL:
                return False
            length = -1 if escaped else p - text
        elif p[0] == c"{":
            depth += 1
            is_found = is_found or depth > max_depth
        elif p[0] == c"}" and depth:
            depth -= 1
            common = min(common, depth) if is_found else common
        elif p[0] == c":" and 0 < depth <= max_depth:
            if not is_found:
                names[depth] = text
                lengths[depth] = length
            elif depth == common and (
                length < 0 or lengths[depth] < 0
                or (length == lengths[depth] and memcmp(text, names[depth], length) == 0)
            ):
                return False
        p += 1
    return is_found


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


cdef bint nests_deeper(const char* p, const char* end, Py_ssize_t most) noexcept nogil:
    cdef Py_ssize_t depth = 0
    cdef bint is_inside = False  # of a string
    cdef bint escaped = False
    cdef const char* stop
    while p < end:
        p = fm_skip_blocks(p, end, &depth, &is_inside, most)
        stop = end if end - p < BLOCK else p + BLOCK
        while p < stop or (is_inside and p < end):
            if is_inside or p[0] == c'"':
                p = string_end(p if is_inside else p + 1, end, &escaped)
                if p == NULL:
                    return False
                is_inside = False
            elif p[0] == c"{" or p[0] == c"[":
                depth += 1
                if depth > most:
                    return True
            elif p[0] == c"}" or p[0] == c"]":
                depth -= 1
            p += 1
    return False


def is_deeper(text not None, Py_ssize_t depth):
    """Return whether containers in JSON text lie in one another deeper than so many levels.

    Few texts hold that many, and only those are looked at for which of them are in one another.

    :param text: by the buffer protocol; it may be malformed.
    """
    cdef Py_buffer view
    cdef const char* p
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    p = <const char*>view.buf
    try:
        return fm_opens_more(p, p + view.len, depth) and nests_deeper(p, p + view.len, depth)
    finally:
        PyBuffer_Release(&view)


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


def parts(bytes text not None):
    """Return the tokens that lie directly in a container, as they were written.

    :param text: an array, whose elements are returned, or an object: its keys and values in turn.
    :raises MalformedInput: it is no container, or its tokens are not where they should be.  What is
        inside of them is not looked at, but for where it ends.
    """
    cdef const char* start = text
    cdef const char* end = start + len(text)
    cdef const char* p = skip_space(start, end)
    cdef const char* past
    cdef char closing
    cdef bint is_object, is_key
    cdef list found = []
    if p == end or (p[0] != c"{" and p[0] != c"["):
        raise MalformedInput("neither an array nor an object")
    is_object = is_key = p[0] == c"{"
    closing = c"}" if is_object else c"]"
    p = skip_space(p + 1, end)
    if p == end or p[0] != closing:
        while True:
            if is_key and (p == end or p[0] != c'"'):
                raise MalformedInput("a key is missing")
            past = skip_value(p, end)
            if past == NULL:
                raise MalformedInput("a value is missing or does not end")
            found.append(text[p - start:past - start])
            p = skip_space(past, end)
            if p == end:
                raise MalformedInput("the container does not end")
            if is_key:
                if p[0] != c":":
                    raise MalformedInput("a key has no value")
                is_key = False
            elif p[0] == closing:
                break
            elif p[0] != c",":
                raise MalformedInput("a comma is missing")
            else:
                is_key = is_object
            p = skip_space(p + 1, end)
    if skip_space(p + 1, end) != end:
        raise MalformedInput("something follows the container")
    return found
