"""The inputs of an event: their bytes, and whether they are those of the event before."""

from libc.stdint cimport uint64_t

from fastmap._scan cimport Kind

cdef enum:
    KEPT_BYTES = 4096  # longer inputs are not compared with the next event's


cdef struct Input:
    Kind kind         # ABSENT, TEXT, or JSON with outer white space
    const char* ptr
    Py_ssize_t len
    uint64_t changed  # number of the first event in which it was as it is now
    bint is_searched  # whether its places have been found
    char* kept        # where ptr points to when the input is short enough
    Py_ssize_t capacity


cdef class Inputs:
    cdef Input* items
    cdef Py_ssize_t count
    cdef uint64_t events      # how many were read
    cdef Py_ssize_t* offsets  # of the inputs in an event_type, 0 where that is not known
    cdef object event_type
    cdef tuple names
    cdef Py_buffer* views     # of long inputs, until they are released
    cdef Py_ssize_t viewed
    cdef list held            # long texts, likewise

    cdef int begin(self, event) except -1
    cdef bint read(self, Py_ssize_t i, event) except -1
    cdef int release(self) except -1
    cdef bint _take(self, Input* given, Py_ssize_t i, value) except -1
    cdef const char* _utf8(self, Py_ssize_t i, value, Py_ssize_t* length) except NULL
