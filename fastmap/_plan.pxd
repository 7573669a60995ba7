"""Running a compiled mapping: the slots are found, then the records are written."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastmap._buffer cimport Buffer
from fastmap._code cimport Branch, Code, Node, Op, Part, Shape, Test
from fastmap._convert cimport Run
from fastmap._inputs cimport Input
from fastmap._members cimport Members
from fastmap._outputs cimport Outputs
from fastmap._paths cimport Paths
from fastmap._scan cimport Slot

cdef struct Fragment:
    # What a stretch of fields was when it was last written, a comma before each.
    char* data
    Py_ssize_t len
    Py_ssize_t capacity
    uint64_t event  # the number of that event, 0 when there is none

cdef struct Drops:
    uint64_t count
    uint64_t event  # in which the last one was counted
    uint64_t item   # likewise, of an array that is expanded


cdef class Plan:
    cdef Code code
    cdef Paths paths
    cdef Slot* slots      # of paths
    cdef const Input* inputs  # of paths
    cdef Node* nodes      # of code, as the next three
    cdef const Op* ops
    cdef const Shape* shapes
    cdef const Test* tests
    cdef const int* children
    cdef uint8_t* written  # which keys of each shape are written
    cdef Fragment* fragments  # of stretches
    cdef Py_ssize_t fragment_count
    cdef bint has_dropped     # whether a value could not be converted since this was last reset
    cdef Drops* drops
    cdef uint64_t events  # how many were run; a label is counted once in each
    cdef uint64_t items   # how many items of arrays were; a label is counted once in each
    cdef tuple labels, derivations, functions
    cdef str unmatched
    cdef str reason       # why the last event became no records, or None
    cdef list memories    # what derivations gave before
    cdef tuple derived    # what the last derivation of this run gave, for its other outputs
    cdef int derived_slot, derived_by
    cdef Buffer scratch
    cdef Run now
    cdef bint is_trial    # what cannot be converted in a condition is missing nowhere

    cdef int write(self, event, Outputs outputs, int64_t received_ms, int64_t skew_ms) except -1
    cdef str _write(self, Outputs outputs, int* records)
    cdef str _write_branch(self, const Branch* branch, Outputs outputs, int* records)
    cdef bint _has(self, const Node* node) except -1
    cdef bytes _evaluate(self, const Node* node, Slot* slot)
    cdef bint _holds(self, const Test* test) except -1
    cdef bint _has_members(self, const Test* test) except -1
    cdef bint _compares(self, const Test* test, const Slot* slot) except -1
    cdef int _put_record(self, Buffer out, int shape) except -1
    cdef bint _put_items(self, Buffer out, const Part* part, int* records) except -1
    cdef const char* _put_item(self, Buffer out, const Part* part, int item, const char* p, const char* end) except? NULL
    cdef int _put_object(self, Buffer out, const Shape* shape) except -1
    cdef int _put_ops(self, Buffer out, int first, int last, uint8_t* written, Py_ssize_t start) except -1
    cdef int _put_stretch(self, Buffer out, const Op* op, int first, uint8_t* written, Py_ssize_t start) except -1
    cdef bint _is_current(self, const Op* op, const Fragment* fragment) noexcept
    cdef int _keep(self, Fragment* fragment, Buffer out, Py_ssize_t mark, Py_ssize_t start) except -1
    cdef int _put(self, const Node* node, Buffer out) except -1
    cdef int _put_converted(self, const Node* node, Buffer out) except -1
    cdef int _put_text(self, const Node* node, Buffer out) except -1
    cdef int _put_value(self, const Node* node, Buffer out) except -1
    cdef int _convert(self, const Node* node, const Slot* slot, Buffer out) except -1
    cdef int _count_drop(self, Drops* drops) noexcept
    cdef int _put_derived(self, const Node* node, const Slot* slot, Buffer out) except -1
    cdef tuple _derive(self, int number, bytes text)
    cdef int _put_join(self, const Node* node, Buffer out) except -1
    cdef int _strip_quotes(self, Buffer out, Py_ssize_t start) except -1
    cdef int _put_lookup(self, const Node* node, Buffer out) except -1
    cdef int _put_members(self, Buffer out, const Op* op, uint8_t* written, Py_ssize_t start) except -1
    cdef int _put_numbers(self, Buffer out, const Op* op, Members members, uint8_t* written, Py_ssize_t start) except -1
    cdef int _put_neighbours(self, Buffer out, const char* first, const char* end, Py_ssize_t start) except -1
