"""The members of one object at a time."""

from fastmap._scan cimport Member, Slot, skip_space, slot_of_token, string_end


cdef class Members:
    cdef Member* items
    cdef Py_ssize_t capacity
    cdef int* index  # of members by hash
    cdef Py_ssize_t index_capacity
    cdef bytearray arena  # of keys without their escapes

    cdef Py_ssize_t find(self, const Slot* slot) except -1
    cdef int skip_repeated(self, Py_ssize_t count) except -1
    cdef int _skip_by_table(self, Py_ssize_t count) except -1
    cdef const char* _find_one(
        self, Member* member, const char* p, const char* end, char** arena
    ) except NULL


cdef inline const char* key_end(const Member* member) noexcept:
    """Return the place past the closing quote of a member's key."""
    cdef bint escaped = False
    return string_end(member.start + 1, member.end, &escaped) + 1


cdef inline void value_of(const Member* member, Slot* slot) noexcept:
    """Fill a slot with the value of a member."""
    cdef const char* p = skip_space(key_end(member), member.end)
    p = skip_space(p + 1, member.end)
    slot_of_token(slot, p, member.end)
