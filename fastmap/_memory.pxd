"""Memory of compiled programs, and of objects whose attributes stand at fixed places.

Types with slots, such as structs, keep each attribute at a fixed offset, and reading it there costs
a tenth of asking for it by name.
"""

from cpython.object cimport PyObject, PyTypeObject
from libc.stdlib cimport calloc, realloc


cdef inline void* allocate(Py_ssize_t count, Py_ssize_t size) except NULL:
    """Return zeroed memory for count things, and one more so that none is never NULL."""
    cdef void* memory = calloc(count + 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef inline void* enlarge(void* memory, Py_ssize_t count, Py_ssize_t size) except NULL:
    """Return memory for count things that holds what was there before."""
    memory = realloc(memory, count * size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    int T_OBJECT_EX

cdef extern from "Python.h":
    PyTypeObject PyMemberDescr_Type
    bint Py_IS_TYPE(object, PyTypeObject*)
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member


cdef inline Py_ssize_t slot_offset(owner_type, str name) except -1:
    """Return where objects of a type keep an attribute, 0 when that is at no fixed place."""
    descriptor = getattr(owner_type, name, None)
    if Py_IS_TYPE(descriptor, &PyMemberDescr_Type) \
            and issubclass(owner_type, descriptor.__objclass__) \
            and (<PyMemberDescrObject*>descriptor).d_member.type == T_OBJECT_EX:
        return (<PyMemberDescrObject*>descriptor).d_member.offset
    return 0


cdef inline PyObject* in_slot(owner, Py_ssize_t offset) noexcept:
    """Return what an object keeps at an offset, borrowed; NULL when it has to be asked by name."""
    return (<PyObject**>(<char*><PyObject*>owner + offset))[0] if offset else NULL
