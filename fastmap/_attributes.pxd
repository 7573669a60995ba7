"""Attributes at fixed places of an object, read and found without a dictionary.

Types with slots, such as structs, keep each attribute at a fixed offset, and reading it there costs
a tenth of asking for it by name.
"""

from cpython.object cimport PyObject


cdef Py_ssize_t slot_offset(owner_type, str name) except -1


cdef inline PyObject* in_slot(owner, Py_ssize_t offset) noexcept:
    """Return what an object keeps at an offset, borrowed; NULL when it has to be asked by name."""
    return (<PyObject**>(<char*><PyObject*>owner + offset))[0] if offset else NULL
