"""The values of expressions, and whether conditions hold."""

from libc.stdint cimport int64_t, uint64_t

from fastmap._buffer cimport Buffer
from fastmap._code cimport Code, Node, Test
from fastmap._convert cimport Run
from fastmap._paths cimport Paths
from fastmap._scan cimport Slot

cdef struct Drops:
    uint64_t count
    uint64_t event  # in which the last one was counted
    uint64_t item   # likewise, of an array that is expanded


cdef class Values:
    cdef Paths paths
    cdef const Slot* slots    # of paths
    cdef Code code
    cdef const Node* nodes    # of code, as the next two
    cdef const Test* tests
    cdef const int* children
    cdef Buffer scratch
    cdef tuple labels, derivations, functions
    cdef Drops* drops         # by label
    cdef bint has_dropped     # whether a value could not be converted since this was last reset
    cdef uint64_t events      # how many were run; a label is counted once in each
    cdef uint64_t items       # how many items of arrays were; a label is counted once in each
    cdef list memories        # what derivations gave before
    cdef tuple derived        # what the last derivation of this run gave, for its other outputs
    cdef int derived_slot, derived_by
    cdef Run now
    cdef bint is_trial        # what cannot be converted in a condition is missing nowhere

    cdef void begin(self, int64_t received_ms, int64_t skew_ms) noexcept
    cdef void begin_item(self, int item) noexcept
    cdef void end_items(self) noexcept
    cdef dict dropped(self)
    cdef int put(self, const Node* node, Buffer out) except -1
    cdef int _put_converted(self, const Node* node, Buffer out) except -1
    cdef int _put_text(self, const Node* node, Buffer out) except -1
    cdef int _put_value(self, const Node* node, Buffer out) except -1
    cdef int _convert(self, const Node* node, const Slot* slot, Buffer out) except -1
    cdef int _put_derived(self, const Node* node, const Slot* slot, Buffer out) except -1
    cdef bytes _json_of(self, const Slot* slot)
    cdef tuple _derive(self, int number, bytes text)
    cdef int _put_join(self, const Node* node, Buffer out) except -1
    cdef int _strip_quotes(self, Buffer out, Py_ssize_t start) except -1
    cdef int _put_lookup(self, const Node* node, Buffer out) except -1
    cdef bytes json_of(self, const Node* node)
    cdef bint has(self, const Node* node) except -1
    cdef bint holds(self, const Test* test) except -1
    cdef bint _has_members(self, const Test* test) except -1
    cdef bytes _evaluate(self, const Node* node, Slot* slot)
    cdef int _count_drop(self, Drops* drops) noexcept
