"""A growing byte buffer that records are written into."""

from libc.string cimport memcpy


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

    cdef inline int put_byte(self, char byte) except -1:
        if self.capacity == self.size:
            self.grow(1)
        self.data[self.size] = byte
        self.size += 1
        return 0
