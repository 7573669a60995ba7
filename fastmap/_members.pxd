"""The members of an object, for copying it or looking into it."""

from fastmap._scan cimport Slot, skip_space, slot_of_token, string_end

from libc.stdint cimport uint64_t


cdef struct Member:
    const char* start      # the key's opening quote
    const char* end        # past the value
    const char* key        # unescaped
    Py_ssize_t key_len
    uint64_t hash
    bint is_repeated       # by a later one, which counts


cdef class Members:
    cdef Member* items
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef Py_ssize_t largest  # bytes of the largest value that is an object or a list
    cdef bint may_repeat   # whether two of them may have the same key
    cdef int* index        # of members by hash
    cdef Py_ssize_t index_capacity
    cdef char* arena       # of keys without their escapes
    cdef Py_ssize_t arena_used
    cdef Py_ssize_t arena_capacity

    cdef int begin(self) except -1
    cdef int grow(self) except -1
    cdef int unescape_key(self, Member* member, const char* end) except -1
    cdef int skip_repeated(self) except -1
    cdef int _skip_by_table(self) except -1

    cdef inline Member* add(self) except NULL:
        """Return another member, to be filled."""
        if self.count == self.capacity:
            self.grow()
        self.count += 1
        return self.items + self.count - 1


cdef inline const char* key_end(const Member* member) noexcept:
    """Return the place past the closing quote of a member's key."""
    cdef bint escaped = False
    return string_end(member.start + 1, member.end, &escaped) + 1


cdef inline void value_of(const Member* member, Slot* slot) noexcept:
    """Fill a slot with the value of a member."""
    cdef const char* p = skip_space(key_end(member), member.end)
    p = skip_space(p + 1, member.end)
    slot_of_token(slot, p, member.end)
