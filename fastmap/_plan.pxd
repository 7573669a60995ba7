"""Running a compiled mapping: the slots are found, then the records are written."""

from libc.stdint cimport int64_t

from fastmap._buffer cimport Buffer, Outputs
from fastmap._code cimport Branch, Code, Part
from fastmap._objects cimport Objects
from fastmap._paths cimport Paths
from fastmap._values cimport Values


cdef enum:
    MOST_OBJECTS = 8  # inputs that are known to be objects


cdef class Plan:
    cdef Code code
    cdef Paths paths
    cdef Values values
    cdef Objects objects
    cdef str unmatched
    cdef Py_ssize_t places[MOST_OBJECTS]  # of the inputs that are objects
    cdef Py_ssize_t place_count
    cdef int64_t odd[MOST_OBJECTS]        # how many of each were none
    cdef str excess  # in what the last record exceeded its limits, or None
    cdef str reason  # why the last event became no records, or None

    cdef int write(self, event, Outputs outputs, int64_t received_ms, int64_t skew_ms) except -1
    cdef int _expect_objects(self) noexcept
    cdef str _write(self, Outputs outputs, int* records)
    cdef str _write_branch(self, const Branch* branch, Outputs outputs, int* records)
    cdef bint _put_record(self, Buffer out, const Part* part, int* records) except -1
    cdef str _excess(self, const Part* part, const char* record, const char* end)
    cdef bint _put_items(self, Buffer out, const Part* part, int* records) except -1
    cdef bint _put_values(self, Buffer out, const Part* part, int* records) except -1
    cdef bint _put_array(
        self, Buffer out, const Part* part, const char* p, const char* end, int* records
    ) except -1
    cdef bint _is_numbered(self, int slot) except -1
    cdef bint _put_numbered(self, Buffer out, const Part* part, int* records) except -1
    cdef const char* _put_item(
        self, Buffer out, const Part* part, int item, const char* p, const char* end, int* records
    ) except? NULL
