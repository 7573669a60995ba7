"""The keys of objects at one place, in the order in which they usually come.

SDKs and apps write the members of an object in the same order each time.  So each key knows the one
that came after it last: comparing with that is all it takes to recognise a key, nearly always.
"""

from libc.stdint cimport uint16_t, uint64_t
from fastmap._scan cimport fm_begins_with

cdef enum:
    KEY_BYTES = 32  # of a remembered key with its closing quote at most

cdef struct Key:
    char[KEY_BYTES] text  # with its closing quote
    int len         # of that
    int found       # what the table of the place says of it
    uint64_t hash   # without the quote
    uint64_t seen   # the number of the object in which it came last
    Key* next       # the key that came after it last, or NULL

cdef struct Keys:
    Key start       # is followed by the first key of an object
    Key stranger    # is followed by the key after one that is not remembered
    Key* items
    int count
    int capacity
    int most        # that capacity may become
    uint16_t* index  # of items by hash, plus one; 0 where there is none
    uint64_t mask   # of index
    bint is_full    # so that a key could not be remembered
    uint64_t objects


cdef inline bint follows(const Key* last, const char* p, const char* end) noexcept nogil:
    """Whether the key at p is the one that came after the last key before."""
    return last.next != NULL and fm_begins_with(p, end, last.next.text, last.next.len)


cdef Keys* new_keys(int most) except NULL
cdef void free_keys(Keys* keys) noexcept nogil
cdef Key* begin_object(Keys* keys) except NULL
cdef int start_anew(Keys* keys, int capacity) except -1
cdef Key* remember(
    Keys* keys, Key* last, const char* text, Py_ssize_t length, uint64_t hashed, int found
) noexcept nogil
