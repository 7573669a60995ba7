"""The keys of objects at one place, in the order in which they usually come."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastmap._memory cimport allocate
from fastmap._scan cimport fm_equal


cdef Keys* new_keys(int capacity) except NULL:
    """Return a memory of at most so many keys, below 256."""
    cdef Keys* keys = <Keys*>allocate(1, sizeof(Keys))
    try:
        keys.items = <Key*>allocate(capacity, sizeof(Key))
    except MemoryError:
        free(keys)
        raise
    keys.capacity = capacity
    return keys


cdef void free_keys(Keys* keys) noexcept nogil:
    if keys != NULL:
        free(keys.items)
        free(keys)


cdef Key* begin_object(Keys* keys) noexcept nogil:
    """Return what the first key of another object follows."""
    if keys.is_full:  # of keys that may no longer come
        memset(keys.items, 0, keys.count * sizeof(Key))
        memset(keys.index, 0, sizeof(keys.index))
        keys.start.next = NULL
        keys.stranger.next = NULL
        keys.count = 0
        keys.is_full = False
    keys.objects += 1
    return &keys.start


cdef Key* remember(
    Keys* keys, Key* last, const char* text, Py_ssize_t length, uint64_t hashed, int found
) noexcept nogil:
    """Note which key came after another; returns it, or ``stranger`` where it cannot be kept.

    :param text: the key; it is followed by a quote.
    """
    cdef Key* key
    cdef uint64_t mask = sizeof(keys.index) - 1
    cdef uint64_t place = hashed & mask
    last.next = NULL
    if length >= KEY_BYTES:
        return &keys.stranger
    while keys.index[place]:
        key = keys.items + keys.index[place] - 1
        if key.hash == hashed and key.len == length + 1 and fm_equal(key.text, text, length):
            last.next = key
            return key
        place = (place + 1) & mask
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
