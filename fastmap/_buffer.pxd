"""A growing byte buffer that records are written into."""

from libc.string cimport memcpy


cdef enum:
    PADDING = 32  # as long as nearly all keys of records


cdef class Buffer:
    cdef char* data
    cdef Py_ssize_t size      # bytes written
    cdef Py_ssize_t capacity  # bytes allocated
    cdef readonly Py_ssize_t records

    cdef int grow(self, Py_ssize_t extra) except -1
    cdef int put_escaped(self, const char* text, Py_ssize_t length) except -1
    cdef int put_integer(self, long long value) except -1

    cdef inline int put(self, const char* text, Py_ssize_t length) except -1:
        if self.capacity - self.size < length:
            self.grow(length)
        memcpy(self.data + self.size, text, length)
        self.size += length
        return 0

    cdef inline int put_padded(self, const char* text, Py_ssize_t length) except -1:
        """Write text that is followed by at least PADDING readable bytes."""
        if self.capacity - self.size < length + PADDING:
            self.grow(length + PADDING)
        memcpy(self.data + self.size, text, PADDING)  # of a fixed size: two moves, no call
        if length > PADDING:
            memcpy(self.data + self.size, text, length)
        self.size += length
        return 0

    cdef inline int put_quoted(self, const char* text, Py_ssize_t length) except -1:
        """Write the inside of a JSON string with its quotes."""
        cdef char* to
        if self.capacity - self.size < length + 2:
            self.grow(length + 2)
        to = self.data + self.size
        to[0] = c'"'
        memcpy(to + 1, text, length)
        to[length + 1] = c'"'
        self.size += length + 2
        return 0

    cdef inline int put_byte(self, char byte) except -1:
        if self.capacity == self.size:
            self.grow(1)
        self.data[self.size] = byte
        self.size += 1
        return 0
