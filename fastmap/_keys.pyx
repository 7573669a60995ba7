"""The keys of objects at one place, in the order in which they usually come."""

from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastmap._memory cimport allocate, enlarge
from fastmap._scan cimport fm_equal


cdef enum:
    FIRST_CAPACITY = 32


cdef Keys* new_keys(int most) except NULL:
    """Return a memory of keys, at most so many; less than 65,536."""
    cdef Keys* keys = <Keys*>allocate(1, sizeof(Keys))
    keys.most = most
    try:
        start_anew(keys, FIRST_CAPACITY)
    except MemoryError:
        free_keys(keys)
        raise
    return keys


cdef void free_keys(Keys* keys) noexcept nogil:
    if keys != NULL:
        free(keys.items)
        free(keys.index)
        free(keys)


cdef Key* begin_object(Keys* keys) except NULL:
    """Return what the first key of another object follows."""
    if keys.is_full:
        # Where there are more keys than can be remembered, some of them may no longer come.
        start_anew(keys, min(2 * keys.capacity, keys.most))
    keys.objects += 1
    return &keys.start


cdef int start_anew(Keys* keys, int capacity) except -1:
    """Forget all keys, and make room for so many."""
    cdef int places = 4 * capacity
    if capacity > keys.capacity:
        keys.index = <uint16_t*>enlarge(keys.index, places, sizeof(uint16_t))
        keys.items = <Key*>enlarge(keys.items, capacity, sizeof(Key))
        keys.capacity = capacity
        keys.mask = places - 1
    memset(keys.index, 0, (keys.mask + 1) * sizeof(uint16_t))
    memset(keys.items, 0, keys.capacity * sizeof(Key))
    keys.start.next = NULL
    keys.stranger.next = NULL
    keys.count = 0
    keys.is_full = False
    return 0


cdef Key* remember(
    Keys* keys, Key* last, const char* text, Py_ssize_t length, uint64_t hashed, int found
) noexcept nogil:
    """Note which key came after another; returns it, or ``stranger`` where it cannot be kept.

    :param text: the key; it is followed by a quote.
    """
    cdef Key* key
    cdef uint64_t place = hashed & keys.mask
    last.next = NULL
    if length >= KEY_BYTES:
        return &keys.stranger
    while keys.index[place]:
        key = keys.items + keys.index[place] - 1
        if key.hash == hashed and key.len == length + 1 and fm_equal(key.text, text, length):
            last.next = key
            return key
        place = (place + 1) & keys.mask
    if keys.count == keys.capacity:
        keys.is_full = True
        return &keys.stranger
    key = keys.items + keys.count
    keys.count += 1
    keys.index[place] = keys.count
    memcpy(key.text, text, length + 1)
    key.len = <int>length + 1
    key.hash = hashed
    key.found = found
    last.next = key
    return key
