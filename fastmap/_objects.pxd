"""Writing objects: the fields that have a value, and the members of others."""

from libc.stdint cimport uint8_t, uint64_t

from fastmap._buffer cimport Buffer
from fastmap._code cimport Code, Node, Op, Shape
from fastmap._inputs cimport Input
from fastmap._members cimport Members
from fastmap._paths cimport Paths
from fastmap._scan cimport Slot
from fastmap._values cimport Values

cdef struct Fragment:
    # What a stretch of fields was when it was last written, a comma before each.
    char* data
    Py_ssize_t len
    Py_ssize_t capacity
    uint64_t event  # the number of that event, 0 when there is none


cdef class Objects:
    cdef Values values
    cdef Paths paths
    cdef const Slot* slots    # of paths, as the next
    cdef const Input* inputs
    cdef Code code
    cdef const Node* nodes    # of code, as the next two
    cdef const Op* ops
    cdef const Shape* shapes
    cdef uint8_t* written     # which keys of each shape are written
    cdef Fragment* fragments  # of stretches
    cdef Py_ssize_t fragment_count
    cdef Py_ssize_t most_members   # of an object that was copied since this was last reset
    cdef Py_ssize_t largest_value  # bytes of an object or list among them, likewise

    cdef int put(self, Buffer out, int number) except -1
    cdef int _put_ops(
        self, Buffer out, int first, int last, uint8_t* written, Py_ssize_t start
    ) except -1
    cdef int _put_stretch(
        self, Buffer out, const Op* op, int first, uint8_t* written, Py_ssize_t start
    ) except -1
    cdef bint _is_current(self, const Op* op, const Fragment* fragment) noexcept
    cdef int _keep(
        self, Fragment* fragment, Buffer out, Py_ssize_t mark, Py_ssize_t start
    ) except -1
    cdef int _put_members(
        self, Buffer out, const Op* op, uint8_t* written, Py_ssize_t start
    ) except -1
    cdef int _put_neighbours(
        self, Buffer out, const char* first, const char* end, Py_ssize_t start
    ) except -1
    cdef int _put_numbers(
        self, Buffer out, const Op* op, Members members, uint8_t* written, Py_ssize_t start
    ) except -1
