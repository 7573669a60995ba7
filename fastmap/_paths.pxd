"""Finding the wanted places of an event's inputs."""

from fastmap._inputs cimport Inputs
from fastmap._scan cimport Slot, Table

cdef enum:
    GUESSES = 32      # members of an object that are recognised by position
    GUESSED_KEY = 32  # bytes of a key, with its closing quote
    MAX_ESCAPED_KEY = 1536  # bytes of a key of 256 characters when every one is escaped

cdef struct Guess:
    # A key where it was seen last: SDKs write the members of an object in the same order each time.
    char key[GUESSED_KEY]  # with its closing quote
    int len                # of that, 0 when nothing is known
    int found              # what the table said of it

cdef struct Place:
    const Table* members  # NULL when no path names a member
    Guess* guesses        # GUESSES of them, by the position of the member
    int first_member      # offset into Plan.targets
    int first_item        # offset into Plan.items
    int items             # how many items of an array paths name
    int slot
    int first
    int last

cdef struct Item:
    Py_ssize_t index
    int target


cdef class Paths:
    cdef Slot* slots  # by number, for whoever uses the values
    cdef Py_ssize_t slot_count
    cdef Place* places
    cdef Py_ssize_t place_count
    cdef int* targets
    cdef Item* items
    cdef int* roots
    cdef Py_ssize_t root_count
    cdef Py_ssize_t item_root
    cdef Inputs inputs
    cdef list tables

    cdef int load(self, event) except -1
    cdef const char* load_item(self, const char* p, const char* end) noexcept
    cdef void forget_item(self) noexcept
    cdef int _build(self, program) except -1
    cdef int _load(self, Py_ssize_t i) except -1
    cdef const char* _search(self, const Place* place, const char* p, const char* end) noexcept
    cdef const char* _take(self, const Place* target, const char* start, const char* end) noexcept
    cdef const char* _search_object(
        self, const Place* place, const char* p, const char* end
    ) noexcept
    cdef const char* _search_array(
        self, const Place* place, const char* p, const char* end
    ) noexcept
