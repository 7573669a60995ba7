"""Folding: a decoder is spared the values that are byte for byte those before them.

What an SDK says of the device is the same in nearly all events of a batch, and often the larger
part of it.  In a folded text ``{}`` stands for such a value, and whoever has decoded that gets the
value before in its place.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from fastmap._memory cimport enlarge, in_slot, slot_offset
from fastmap._scan cimport skip_space, skip_value

cdef extern from *:
    """
    #ifdef __SSE2__
    #include <emmintrin.h>
    #endif

    /* Where a text of n bytes, three or more, begins in [p, end), or NULL.  Two bytes inside of it
       are looked for: those at the ends of a key with its quotes and colon are JSON's commonest. */
    static inline const char* fm_find(
        const char* p, const char* end, const char* text, Py_ssize_t n)
    {
        const char* last = end - n;
    #ifdef __SSE2__
        const __m128i second = _mm_set1_epi8(text[1]);
        const __m128i later = _mm_set1_epi8(text[n - 3]);
        for (; last - p >= 15; p += 16) {
            int mask = _mm_movemask_epi8(_mm_and_si128(
                _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i*)(p + 1)), second),
                _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i*)(p + n - 3)), later)));
            for (; mask; mask &= mask - 1) {
                const char* found = p + __builtin_ctz((unsigned)mask);
                if (memcmp(found, text, (size_t)n) == 0)
                    return found;
            }
        }
    #endif
        for (; p <= last; p++)
            if (*p == *text && memcmp(p, text, (size_t)n) == 0)
                return p;
        return NULL;
    }
    """
    const char* fm_find(const char* p, const char* end, const char* text, Py_ssize_t n) noexcept nogil

cdef enum:
    SHORTEST = 32  # bytes of a value that is worth it
    STAND_IN = 2   # bytes of {}

cdef struct Fold:
    Py_ssize_t start   # of what stands in, in the folded text, as the next
    Py_ssize_t like    # where the value begins that is like the one left out
    Py_ssize_t length  # of that


@cython.final
cdef class Folded:
    """A text in which ``{}`` stands for objects that are like the one before.

    :ivar text: that text.
    """

    cdef readonly bytes text
    cdef Fold* folds
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity

    def __dealloc__(self):
        free(self.folds)

    def unfold(self, objects, str name, before=None):
        """Give what was decoded from the folded text the values that were left out.

        :param objects: what was decoded, in order of the text.
        :param name: their attribute for the value.  It must give the very bytes of ``text``, by the
            buffer protocol, without white space around: where it lies tells what it stands for.
        :param before: such a value that may be like the first one, read from the same text.
        :returns: whether this gives exactly what the unfolded text would have given.  Otherwise a
            value was left out that is no such attribute, and the objects must not be used.
        """
        cdef const char* text = self.text
        cdef const char* at = address_of(before)
        cdef const char* place
        cdef const Fold* fold = self.folds
        cdef const Fold* last = fold + self.count
        cdef PyObject* found
        cdef Py_ssize_t offset = 0
        kind = None
        for each in objects:
            if type(each) is not kind:
                kind = type(each)
                offset = slot_offset(kind, name)
            found = in_slot(each, offset)
            value = getattr(each, name) if found == NULL else <object>found
            place = address_of(value)
            if place == text + fold.like:
                before = value
                at = place
            elif place == text + fold.start:
                if at != text + fold.like:
                    return False
                setattr(each, name, before)
                fold += 1
                if fold == last:
                    return True
        return False

    cdef int leave_out(self, Py_ssize_t start, Py_ssize_t length, Py_ssize_t like) except -1:
        if self.count == self.capacity:
            self.folds = <Fold*>enlarge(self.folds, 2 * self.capacity + 16, sizeof(Fold))
            self.capacity = 2 * self.capacity + 16
        self.folds[self.count].start = start
        self.folds[self.count].length = length
        self.folds[self.count].like = like
        self.count += 1
        return 0

    cdef int write(self, const char* text, Py_ssize_t length, Py_ssize_t saved) except -1:
        """Write a text without what is left out, which saves so many bytes."""
        cdef Py_ssize_t i, done = 0  # of the folded text
        cdef char* to
        self.text = PyBytes_FromStringAndSize(NULL, length - saved)
        to = PyBytes_AS_STRING(self.text)
        for i in range(self.count):
            memcpy(to + done, text, self.folds[i].start - done)
            text += self.folds[i].start - done + self.folds[i].length
            done = self.folds[i].start
            to[done] = c"{"
            to[done + 1] = c"}"
            done += STAND_IN
        memcpy(to + done, text, length - saved - done)
        return 0


cdef const char* address_of(value) except? NULL:
    """Return where the bytes of a value lie; NULL when there are none."""
    cdef Py_buffer view
    if value is None:
        return NULL
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <const char*>view.buf


def fold(bytes text not None, bytes key not None):
    """Return a text without the objects that are like the one before; None when there are none.

    It takes what stands behind ``"key":`` for a value, wherever that is; ``unfold`` tells.  The time
    is linear in the text's length, whatever it holds.

    :param text: JSON, which may be malformed.
    :param key: of the members whose values are compared, without characters to escape.
    """
    cdef bytes wanted = b'"' + key + b'":'
    cdef const char* start = text
    cdef const char* end = start + len(text)
    cdef const char* p = start
    cdef const char* like = NULL      # the value that the next one is compared with
    cdef const char* like_end = NULL  # past it, once that has been looked for
    cdef Py_ssize_t like_at = 0       # its place in the folded text
    cdef Py_ssize_t length, saved = 0
    cdef Folded folded = None
    while True:
        p = fm_find(p, end, wanted, len(wanted))
        if p == NULL:
            break
        p = skip_space(p + len(wanted), end)
        if p == end or p[0] != c"{":
            continue
        if like != NULL and like_end == NULL:
            like_end = skip_value(like, end)
            if like_end == NULL:
                break
        if p < like_end:  # a member of that value
            p = like_end
            continue
        length = like_end - like
        if length < SHORTEST or end - p < length or memcmp(p, like, length) != 0:
            like = p
            like_end = NULL
            like_at = p - start - saved
            continue
        if folded is None:
            folded = Folded()
        folded.leave_out(p - start - saved, length, like_at)
        saved += length - STAND_IN
        p += length
    if folded is not None:
        folded.write(start, len(text), saved)
    return folded
