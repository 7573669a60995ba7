"""The members of an object, for copying it or looking into it."""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fastmap._memory cimport enlarge
from fastmap._scan cimport fm_equal, unescape

cdef enum:
    FEW_MEMBERS = 8      # compared pair by pair; more go through a table
    KEPT_MEMBERS = 4096  # a rare giant must not keep its memory for ever


cdef inline bint same_key(const Member* a, const Member* b) noexcept:
    return a.hash == b.hash and a.key_len == b.key_len and fm_equal(a.key, b.key, a.key_len)


@cython.final
cdef class Members:
    """The members of one object at a time, in order."""

    def __dealloc__(self):
        free(self.items)
        free(self.index)
        free(self.arena)

    cdef int begin(self) except -1:
        """Forget the members of the object before."""
        if self.capacity > KEPT_MEMBERS:
            free(self.items)
            free(self.index)
            free(self.arena)
            self.items = NULL
            self.index = NULL
            self.arena = NULL
            self.capacity = self.index_capacity = self.arena_capacity = 0
        self.count = 0
        self.arena_used = 0
        self.largest = 0
        self.may_repeat = False
        return 0

    cdef int grow(self) except -1:
        cdef Py_ssize_t capacity = max(64, 2 * self.capacity)
        self.items = <Member*>enlarge(self.items, capacity, sizeof(Member))
        self.capacity = capacity
        return 0

    cdef int unescape_key(self, Member* member, const char* end) except -1:
        """Undo the escapes in a member's key.

        :param end: of the object, behind which none of its keys can lie.
        """
        if not self.arena_used and self.arena_capacity < end - member.key:
            # Without escapes they are never longer than with them, so that this holds them all.
            self.arena_capacity = 0
            self.arena = <char*>enlarge(self.arena, end - member.key, 1)
            self.arena_capacity = end - member.key
        member.key_len = unescape(member.key, member.key_len, self.arena + self.arena_used)
        member.key = self.arena + self.arena_used
        self.arena_used += member.key_len
        return 0

    cdef int skip_repeated(self) except -1:
        """Mark all but the last of members with the same key."""
        cdef Py_ssize_t i, j
        if not self.may_repeat:
            return 0
        self.may_repeat = False
        if self.count > FEW_MEMBERS:
            return self._skip_by_table()
        for i in range(self.count):
            for j in range(i + 1, self.count):
                if same_key(self.items + i, self.items + j):
                    self.items[i].is_repeated = True
                    break
        return 0

    cdef int _skip_by_table(self) except -1:
        cdef Py_ssize_t size = 32
        cdef Py_ssize_t i, place
        while size < 2 * self.count:
            size *= 2
        if size > self.index_capacity:
            self.index = <int*>enlarge(self.index, size, sizeof(int))
            self.index_capacity = size
        memset(self.index, 0xFF, size * sizeof(int))
        for i in range(self.count - 1, -1, -1):
            place = <Py_ssize_t>(self.items[i].hash & <uint64_t>(size - 1))
            while self.index[place] != -1:
                if same_key(self.items + i, self.items + self.index[place]):
                    self.items[i].is_repeated = True
                    break
                place = (place + 1) & (size - 1)
            else:
                self.index[place] = <int>i
        return 0
