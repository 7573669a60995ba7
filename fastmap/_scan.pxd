"""Reading JSON where it lies: nothing is decoded, values are spans of the input.

Functions return NULL on malformed input and never read outside [p, end).  None of them recurses.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp

cdef extern from *:
    """
    #ifdef __SSE2__
    #include <emmintrin.h>
    #endif

    /* First quote or backslash in [p, end), or end. */
    static inline const char* fm_quote_or_backslash(const char* p, const char* end)
    {
    #ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"');
        const __m128i backslash = _mm_set1_epi8('\\\\');
        while (end - p >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i*)p);
            int mask = _mm_movemask_epi8(
                _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));
            if (mask)
                return p + __builtin_ctz((unsigned)mask);
            p += 16;
        }
    #endif
        while (p < end && *p != '"' && *p != '\\\\')
            p++;
        return p;
    }

    static inline uint64_t fm_load(const char* p, Py_ssize_t n)
    {
        uint64_t word = 0;
        memcpy(&word, p, (size_t)n);
        return word;
    }

    /* Seeded multiply-and-fold hash: fast on short keys, and collisions cannot be prepared
       without the seed. */
    static inline uint64_t fm_hash(const char* p, Py_ssize_t n, uint64_t seed)
    {
        uint64_t h = seed ^ ((uint64_t)n * 0x9E3779B97F4A7C15ULL);
        unsigned __int128 wide;
        while (n > 8) {
            wide = (unsigned __int128)(h ^ fm_load(p, 8)) * 0xD6E8FEB86659FD93ULL;
            h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
            p += 8;
            n -= 8;
        }
        wide = (unsigned __int128)(h ^ fm_load(p, n)) * 0xD6E8FEB86659FD93ULL;
        return (uint64_t)wide ^ (uint64_t)(wide >> 64) ^ seed;
    }
    """
    const char* fm_quote_or_backslash(const char* p, const char* end) noexcept nogil
    uint64_t fm_hash(const char* p, Py_ssize_t n, uint64_t seed) noexcept nogil

cdef uint64_t HASH_SEED

cdef enum Kind:
    ABSENT = 0
    TEXT = 1  # UTF-8, nothing escaped
    JSON = 2  # a JSON token as it was sent

cdef struct Slot:
    # A value found in the input.  For a JSON string, ptr and len are what is inside the quotes.
    Kind kind
    char first      # first byte of a JSON token: " { [ t f n - or a digit
    bint escaped    # a JSON string with at least one backslash
    const char* ptr
    Py_ssize_t len

cdef struct Member:
    # One member of an object that is copied.
    const char* start      # the key's opening quote
    const char* end        # past the value
    const char* key        # unescaped
    Py_ssize_t key_len
    uint64_t hash
    bint skipped

cdef struct Entry:
    uint64_t hash
    const char* key
    Py_ssize_t len
    int value

cdef struct Table:
    Py_ssize_t mask
    Entry* entries  # a free place has value -1


cdef class KeyTable:
    """Byte strings to small numbers, fixed once built."""
    cdef Table table
    cdef object keys  # keeps the bytes alive


cdef inline int find_hashed(
    const Table* table, const char* key, Py_ssize_t length, uint64_t hashed
) noexcept nogil:
    cdef Py_ssize_t i = <Py_ssize_t>(hashed & <uint64_t>table.mask)
    while table.entries[i].value != -1:
        if table.entries[i].hash == hashed and table.entries[i].len == length \
                and memcmp(table.entries[i].key, key, length) == 0:
            return table.entries[i].value
        i = (i + 1) & table.mask
    return -1


cdef inline const char* skip_space(const char* p, const char* end) noexcept nogil:
    while p < end and (p[0] == c" " or p[0] == c"\n" or p[0] == c"\r" or p[0] == c"\t"):
        p += 1
    return p


cdef inline const char* string_end(const char* p, const char* end, bint* escaped) noexcept nogil:
    """Return the closing quote of the string whose first character is at p."""
    while True:
        p = fm_quote_or_backslash(p, end)
        if p >= end:
            return NULL
        if p[0] == c'"':
            return p
        escaped[0] = True
        if end - p < 2:
            return NULL
        p += 2


cdef const char* skip_value(const char* p, const char* end) noexcept nogil
cdef void slot_of_token(Slot* slot, const char* p, const char* end) noexcept nogil
cdef Py_ssize_t unescape(const char* p, Py_ssize_t length, char* out) noexcept nogil
