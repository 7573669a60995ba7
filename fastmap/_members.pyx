"""The members of one object at a time, for copying an object or looking into it."""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fastmap._memory cimport enlarge
from fastmap._scan cimport (
    HASH_SEED, Member, Slot, fm_equal, fm_hash, skip_space, skip_value, string_end, unescape,
)

from fastmap.errors import MalformedInput

cdef enum:
    FEW_MEMBERS = 8  # compared pair by pair; more go through a table


cdef inline bint same_key(const Member* a, const Member* b) noexcept:
    return a.hash == b.hash and a.key_len == b.key_len and fm_equal(a.key, b.key, a.key_len)


@cython.final
cdef class Members:
    """Finds the members of an object; what was found before is forgotten."""

    def __cinit__(self):
        self.arena = bytearray(256)

    def __dealloc__(self):
        free(self.items)
        free(self.index)

    cdef Py_ssize_t find(self, const Slot* slot) except -1:
        """Find the members of an object, in order; returns how many."""
        cdef const char* p = slot.ptr + 1
        cdef const char* end = slot.ptr + slot.len
        cdef Py_ssize_t count = 0
        cdef char* arena
        if len(self.arena) < slot.len:  # keys without escapes are never longer than with them
            self.arena = bytearray(2 * slot.len)
        arena = self.arena
        p = skip_space(p, end)
        if p < end and p[0] == c"}":
            return 0
        while True:
            if count == self.capacity:
                self.capacity = max(64, 2 * self.capacity)
                self.items = <Member*>enlarge(self.items, self.capacity, sizeof(Member))
            p = self._find_one(self.items + count, skip_space(p, end), end, &arena)
            count += 1
            p = skip_space(p, end)
            if p < end and p[0] == c"}":
                return count
            if p >= end or p[0] != c",":
                raise MalformedInput("an object that is copied is not JSON")
            p += 1

    cdef const char* _find_one(
        self, Member* member, const char* p, const char* end, char** arena
    ) except NULL:
        """Fill in the member that starts at p; returns the place past it."""
        cdef bint escaped = False
        if p >= end or p[0] != c'"':
            raise MalformedInput("an object that is copied is not JSON")
        member.start = p
        member.key = p + 1
        member.skipped = False
        p = string_end(p + 1, end, &escaped)
        if p == NULL:
            raise MalformedInput("an object that is copied is not JSON")
        member.key_len = p - member.key
        if escaped:
            member.key_len = unescape(member.key, member.key_len, arena[0])
            member.key = arena[0]
            arena[0] += member.key_len
        member.hash = fm_hash(member.key, member.key_len, HASH_SEED)
        p = skip_space(p + 1, end)
        if p >= end or p[0] != c":":
            raise MalformedInput("an object that is copied is not JSON")
        p = skip_value(skip_space(p + 1, end), end)
        if p == NULL:
            raise MalformedInput("an object that is copied is not JSON")
        member.end = p
        return p

    cdef int skip_repeated(self, Py_ssize_t count) except -1:
        """Keep the last of members with the same key."""
        cdef Py_ssize_t i, j
        if count > FEW_MEMBERS:
            return self._skip_by_table(count)
        for i in range(count):
            for j in range(i + 1, count):
                if same_key(self.items + i, self.items + j):
                    self.items[i].skipped = True
                    break
        return 0

    cdef int _skip_by_table(self, Py_ssize_t count) except -1:
        cdef Py_ssize_t size = 32
        cdef Py_ssize_t i, place
        while size < 2 * count:
            size *= 2
        if size > self.index_capacity:
            self.index = <int*>enlarge(self.index, size, sizeof(int))
            self.index_capacity = size
        memset(self.index, 0xFF, size * sizeof(int))
        for i in range(count - 1, -1, -1):
            place = <Py_ssize_t>(self.items[i].hash & <uint64_t>(size - 1))
            while self.index[place] != -1:
                if same_key(self.items + i, self.items + self.index[place]):
                    self.items[i].skipped = True
                    break
                place = (place + 1) & (size - 1)
            else:
                self.index[place] = <int>i
        return 0
