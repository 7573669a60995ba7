"""Finding the wanted places of an event's inputs."""

from cpython.object cimport PyObject

from fastmap._inputs cimport Inputs
from fastmap._keys cimport Key, Keys
from fastmap._members cimport Member, Members
from fastmap._scan cimport Slot, Table

cdef enum:
    LISTED_KEYS = 1024  # that are remembered at most of a place whose members are listed
    OTHER_KEYS = 64
    MAX_ESCAPED_KEY = 1536  # bytes of a key of 256 characters when every one is escaped

cdef struct Place:
    const Table* members  # NULL when its members are neither named nor listed
    Keys* keys            # NULL until there was an object
    PyObject* listed      # a Members, for copying the object or looking into it, or NULL
    int first_member      # offset into Paths.targets
    int first_item        # offset into Paths.items
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
    cdef bint has_item    # whether slots of paths into an item are filled
    cdef Inputs inputs
    cdef PyObject** listed  # by slot, the Members of the object in it
    cdef list alive

    cdef int load(self, event) except -1
    cdef const char* load_item(self, const char* p, const char* end) except? NULL
    cdef void forget_item(self) noexcept
    cdef Members members_of(self, int slot)
    cdef int _build(self, program) except -1
    cdef int _load(self, Py_ssize_t i) except -1
    cdef const char* _search(self, Place* place, const char* p, const char* end) except? NULL
    cdef const char* _take(self, Place* target, const char* start, const char* end) except? NULL
    cdef const char* _search_object(self, Place* place, const char* p, const char* end) except? NULL
    cdef Key* _read_key(
        self, const Place* place, Key* last, Member* member, const char* end, int* found
    ) except? NULL
    cdef const char* _search_array(self, Place* place, const char* p, const char* end) except? NULL
