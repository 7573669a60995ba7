"""Growing byte buffers that records are written into."""

from cpython.object cimport PyObject
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


cdef struct Output:
    # A buffer, and where it stood before an event.
    PyObject* buffer
    Py_ssize_t size     # of it when it was marked, as the next
    Py_ssize_t records


cdef class Outputs:
    cdef tuple buffers
    cdef Output* items
    cdef Py_ssize_t count

    cdef inline Buffer buffer(self, Py_ssize_t i):
        return <Buffer>self.items[i].buffer

    cdef inline void mark(self) noexcept:
        """Note where the buffers stand."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.items[i].size = (<Buffer>self.items[i].buffer).size
            self.items[i].records = (<Buffer>self.items[i].buffer).records

    cdef inline void rewind(self) noexcept:
        """Take back what was written since."""
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Buffer>self.items[i].buffer).size = self.items[i].size
            (<Buffer>self.items[i].buffer).records = self.items[i].records
