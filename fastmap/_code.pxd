"""A compiled mapping as arrays; what its parts mean is said in ``program.py``."""

from libc.stdint cimport uint64_t

from fastmap._convert cimport Convert, Word, Words
from fastmap._scan cimport Table

cpdef enum NodeKind:
    # What an expression node does.
    VALUE = 0
    CONST = 1
    FIRST = 2
    JOIN = 3
    LOOKUP = 4
    CONVERTED = 5
    IF_ELSE = 6
    TEXT_FUNCTION = 7

cpdef enum OpKind:
    # What an operation writes.
    FIELD = 0
    OBJECT = 1
    SPREAD = 2
    STRETCH = 3

cpdef enum TestKind:
    # What a condition asks.
    HAS = 0
    IS_OBJECT = 1
    NOT_EMPTY = 2
    MORE_THAN = 3
    EXISTS = 4
    FILLED = 5
    EQUALS_TEXT = 6
    EQUALS_NUMBER = 7
    EQUALS_BOOLEAN = 8
    LESS = 9
    AT_MOST = 10
    GREATER = 11
    AT_LEAST = 12
    CONTAINS = 13
    MATCHES = 14
    NOT = 15
    EVERY = 16
    SOME = 17

cdef struct Node:
    NodeKind kind
    int slot
    Convert convert
    int flags
    const Words* none_of
    const Words* one_of
    int derivation
    int output
    int first_child
    int children
    const char* data
    Py_ssize_t len
    bint every
    bint is_plain_string  # a string that needs no other test than not to be empty
    int label
    int test
    int function

cdef struct Op:
    OpKind kind
    int key
    const char* prefix
    Py_ssize_t prefix_len
    int ref
    int slot  # without which the field has no value, or -1
    bint is_plain_string  # the field is what is in the slot, as a string
    const Table* known
    bint is_number  # SPREAD: values become numbers
    int label
    int fields       # STRETCH: how many operations after this one belong to it
    int first_input  # STRETCH: offset into Code.inputs of what its fields read
    int inputs

cdef struct Shape:
    int keys
    int first_written  # offset into Plan.written
    int first_op
    int ops

cdef struct Part:
    int output
    int shape
    int when  # a test, or -1
    int each     # a slot, or -1
    int each_of  # a node, or -1
    Py_ssize_t max_size  # or 0
    int max_members
    int max_depth        # or 0
    bint is_open         # whether an object that was in no spread may be too deep or too large

cdef struct Test:
    TestKind kind
    int ref
    int first_child
    int children
    const char* text
    Py_ssize_t len
    double number

cdef struct Demand:
    # What an event must have (a node), or must not be (a test).
    int ref
    int reason

cdef struct Branch:
    int test  # or -1
    int first_require
    int requires
    int first_reject
    int rejects
    int first_part
    int parts


cdef class Code:
    cdef Node* nodes
    cdef int* children  # of nodes, then of tests
    cdef Op* ops
    cdef int* inputs  # of stretches
    cdef Py_ssize_t stretch_count
    cdef Shape* shapes
    cdef Py_ssize_t written  # keys of all shapes
    cdef Part* parts
    cdef Py_ssize_t part_count
    cdef list limits  # by part
    cdef Py_ssize_t output_count
    cdef Test* tests
    cdef Branch* branches
    cdef Py_ssize_t branch_count
    cdef Demand* demands  # first those to skip an event for, then those of each branch
    cdef Py_ssize_t skip_count
    cdef list reasons
    cdef Words* words
    cdef Word* all_words
    cdef list alive

    cdef const Table* _table(self, dict numbers) except NULL
    cdef const char* _keep(self, bytes data) except NULL
    cdef int _build_words(self, program) except -1
    cdef int _build_nodes(self, program) except -1
    cdef int _build_shapes(self, program) except -1
    cdef int _build_tests(self, program) except -1
    cdef int _build_branches(self, program) except -1
    cdef int _add_demands(self, demands, int* place) except -1
