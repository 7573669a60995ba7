"""Reading JSON where it lies: nothing is decoded, values are spans of the input.

Functions return NULL on malformed input and never read outside [p, end).  None of them recurses.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memchr

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

    /* First byte in [p, end) that a JSON string must escape, or end. */
    static inline const char* fm_must_escape(const char* p, const char* end)
    {
    #ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"');
        const __m128i backslash = _mm_set1_epi8('\\\\');
        const __m128i control = _mm_set1_epi8(0x1F);
        while (end - p >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i*)p);
            __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, control), block);
            int mask = _mm_movemask_epi8(_mm_or_si128(low,
                _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash))));
            if (mask)
                return p + __builtin_ctz((unsigned)mask);
            p += 16;
        }
    #endif
        while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\\\')
            p++;
        return p;
    }

    /* First byte in [p, end) that is not ASCII, or end. */
    static inline const char* fm_not_ascii(const char* p, const char* end)
    {
    #ifdef __SSE2__
        while (end - p >= 64) {
            __m128i first = _mm_or_si128(_mm_loadu_si128((const __m128i*)p),
                                         _mm_loadu_si128((const __m128i*)(p + 16)));
            __m128i second = _mm_or_si128(_mm_loadu_si128((const __m128i*)(p + 32)),
                                          _mm_loadu_si128((const __m128i*)(p + 48)));
            if (_mm_movemask_epi8(_mm_or_si128(first, second)))
                break;
            p += 64;
        }
        while (end - p >= 16) {
            int mask = _mm_movemask_epi8(_mm_loadu_si128((const __m128i*)p));
            if (mask)
                return p + __builtin_ctz((unsigned)mask);
            p += 16;
        }
    #endif
        while (p < end && (signed char)*p >= 0)
            p++;
        return p;
    }

    /* Whether [p, end) holds only ASCII letters, digits and hyphens. */
    static inline int fm_is_id_text(const char* p, const char* end)
    {
    #ifdef __SSE2__
        /* Signed comparisons: bytes that are not ASCII are below all others. */
        const char* last = end - 16;
        if (p <= last) {
            int mask = 0xFFFF;
            for (;;) {
                __m128i block = _mm_loadu_si128((const __m128i*)p);
                __m128i lower = _mm_or_si128(block, _mm_set1_epi8(0x20));
                __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                               _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)));
                __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(block, _mm_set1_epi8('0' - 1)),
                                              _mm_cmplt_epi8(block, _mm_set1_epi8('9' + 1)));
                __m128i hyphen = _mm_cmpeq_epi8(block, _mm_set1_epi8('-'));
                mask &= _mm_movemask_epi8(_mm_or_si128(letter, _mm_or_si128(digit, hyphen)));
                if (p == last)
                    return mask == 0xFFFF;
                p = last - p < 16 ? last : p + 16;
            }
        }
    #endif
        while (p < end && ((*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z')
                           || *p == '-'))
            p++;
        return p == end;
    }

    static inline uint64_t fm_word(const char* p)
    {
        uint64_t word;
        memcpy(&word, p, 8);
        return word;
    }

    /* Up to eight bytes as a number, without reading outside of them. */
    static inline uint64_t fm_short(const char* p, Py_ssize_t n)
    {
        uint32_t head, tail;
        if (n == 8)
            return fm_word(p);
        if (n >= 4) {
            memcpy(&head, p, 4);
            memcpy(&tail, p + n - 4, 4);
            return ((uint64_t)head << 32) | tail;
        }
        if (n == 0)
            return 0;
        return ((uint64_t)(unsigned char)p[0] << 16) | ((uint64_t)(unsigned char)p[n / 2] << 8)
            | (unsigned char)p[n - 1];
    }

    /* Seeded multiply-and-fold hash: fast on short keys, and collisions cannot be prepared
       without the seed. */
    static inline uint64_t fm_hash(const char* p, Py_ssize_t n, uint64_t seed)
    {
        uint64_t h = seed ^ ((uint64_t)n * 0x9E3779B97F4A7C15ULL);
        unsigned __int128 wide;
        while (n > 8) {
            wide = (unsigned __int128)(h ^ fm_word(p)) * 0xD6E8FEB86659FD93ULL;
            h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
            p += 8;
            n -= 8;
        }
        wide = (unsigned __int128)(h ^ fm_short(p, n)) * 0xD6E8FEB86659FD93ULL;
        return (uint64_t)wide ^ (uint64_t)(wide >> 64);
    }

    /* Whether n bytes are the same; without a call for the short keys that nearly all are. */
    static inline int fm_equal(const char* a, const char* b, Py_ssize_t n)
    {
        if (n <= 8)
            return n < 4 && n > 0 ? memcmp(a, b, (size_t)n) == 0 : fm_short(a, n) == fm_short(b, n);
        if (n <= 16)
            return fm_word(a) == fm_word(b) && fm_word(a + n - 8) == fm_word(b + n - 8);
        return memcmp(a, b, (size_t)n) == 0;
    }

    /* Whether [p, end) begins with the first n, at most 32, bytes of a text of 32. */
    static inline int fm_begins_with(const char* p, const char* end, const char* text, int n)
    {
    #ifdef __SSE2__
        if (end - p >= 32) {
            unsigned low = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(
                _mm_loadu_si128((const __m128i*)p), _mm_loadu_si128((const __m128i*)text)));
            unsigned high = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(
                _mm_loadu_si128((const __m128i*)(p + 16)),
                _mm_loadu_si128((const __m128i*)(text + 16))));
            unsigned wanted = ~0u >> (32 - n);
            return ((low | high << 16) & wanted) == wanted;
        }
    #endif
        return end - p >= n && memcmp(p, text, (size_t)n) == 0;
    }

    /* Whether a byte can stand behind a number, true, false or null. */
    static inline int fm_ends_scalar(char c)
    {
        static const unsigned char ends[256] = {
            [','] = 1, ['}'] = 1, [']'] = 1, [' '] = 1, ['\\n'] = 1, ['\\r'] = 1, ['\\t'] = 1
        };
        return ends[(unsigned char)c];
    }
    """
    const char* fm_quote_or_backslash(const char* p, const char* end) noexcept nogil
    const char* fm_not_ascii(const char* p, const char* end) noexcept nogil
    const char* fm_must_escape(const char* p, const char* end) noexcept nogil
    bint fm_begins_with(const char* p, const char* end, const char* text, int n) noexcept nogil
    bint fm_is_id_text(const char* p, const char* end) noexcept nogil
    bint fm_equal(const char* a, const char* b, Py_ssize_t n) noexcept nogil
    bint fm_ends_scalar(char c) noexcept nogil
    uint64_t fm_hash(const char* p, Py_ssize_t n, uint64_t seed) noexcept nogil

cdef uint64_t HASH_SEED

cdef enum Kind:
    ABSENT = 0
    TEXT = 1  # UTF-8, nothing escaped
    JSON = 2  # a JSON token as it was sent

cdef struct Slot:
    # A value found in the input.  For a JSON string, ptr and len are what is inside the quotes.
    const char* ptr
    Py_ssize_t len
    char kind       # a Kind
    char first      # first byte of a JSON token: " { [ t f n - or a digit
    char escaped    # whether a JSON string has at least one backslash

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
                and fm_equal(table.entries[i].key, key, length):
            return table.entries[i].value
        i = (i + 1) & table.mask
    return -1


cdef inline const char* skip_space(const char* p, const char* end) noexcept nogil:
    if p < end and <unsigned char>p[0] > c" ":
        return p
    while p < end and (p[0] == c" " or p[0] == c"\n" or p[0] == c"\r" or p[0] == c"\t"):
        p += 1
    return p


cdef inline const char* string_end(const char* p, const char* end, bint* escaped) noexcept nogil:
    """Return the closing quote of the string whose first character is at p.

    ``escaped`` becomes true when a backslash is in it.
    """
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


cdef bint is_surely_deeper(const char* p, const char* end, int max_depth) noexcept nogil
cdef bint is_within(
    const char* p, const char* end, int max_members, int max_depth
) noexcept nogil
cdef const char* skip_container(const char* p, const char* end) noexcept nogil


cdef inline const char* skip_value(const char* p, const char* end) noexcept nogil:
    """Return the place past the value that starts at p."""
    cdef bint escaped = False
    cdef const char* start = p
    if p >= end:
        return NULL
    if p[0] == c'"':
        p = string_end(p + 1, end, &escaped)
        if p == NULL:
            return NULL
        return p + 1
    if p[0] == c"{" or p[0] == c"[":
        return skip_container(p, end)
    while p < end and not fm_ends_scalar(p[0]):
        p += 1
    if p == start:
        return NULL
    return p


cdef inline void slot_of_token(Slot* slot, const char* p, const char* end) noexcept nogil:
    """Fill a slot from the JSON token in [p, end), which holds no outer white space."""
    slot.kind = JSON
    slot.first = p[0]
    slot.escaped = False
    if p[0] == c'"':
        p += 1
        end -= 1
        slot.escaped = end > p and memchr(p, c"\\", end - p) != NULL
    slot.ptr = p
    slot.len = end - p


cdef Py_ssize_t unescape(const char* p, Py_ssize_t length, char* out) noexcept nogil


cdef int hex_value(char c) noexcept nogil
