"""The inputs of an event: their bytes, and whether they are those of the event before.

What an SDK says of the device and the user is the same in nearly all events of a batch.  So short
inputs are kept: whatever was found in one, or made of it, is still good when it comes again.
"""

from math import isfinite

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from fastmap._memory cimport allocate, enlarge, in_slot, slot_offset
from fastmap._scan cimport ABSENT, JSON, TEXT, Kind

from fastmap.errors import MalformedInput

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const char* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef bytes token_of(value):
    """Return the JSON of a number or boolean, nothing for what JSON cannot express."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return str(value).encode()
    return b""


cdef inline bint note(
    Input* given, uint64_t event, Kind kind, const char* ptr, Py_ssize_t length
) except -1:
    """Compare an input with the one before, and keep it when it is short; whether it is another."""
    if given.is_searched and given.kind == kind and given.len == length \
            and (not length or (given.ptr == given.kept and memcmp(given.ptr, ptr, length) == 0)):
        return False
    given.is_searched = False
    given.changed = event
    given.kind = kind
    given.len = length
    given.ptr = ptr
    if length <= KEPT_BYTES:
        if given.capacity <= length:
            given.kept = <char*>enlarge(given.kept, 2 * length + 1, 1)
            given.capacity = 2 * length + 1
        if length:
            memcpy(given.kept, ptr, length)
        given.ptr = given.kept
    return True


@cython.final
cdef class Inputs:
    """The inputs of a mapping, read from one event after the other.

    :param program: what ``fastmap.compiler.compile_mapping`` made of the mapping.
    """

    def __cinit__(self, program):
        self.held = []
        self.names = tuple(program.inputs)
        self.count = len(self.names)
        self.items = <Input*>allocate(self.count, sizeof(Input))
        self.offsets = <Py_ssize_t*>allocate(self.count, sizeof(Py_ssize_t))
        self.views = <Py_buffer*>allocate(self.count, sizeof(Py_buffer))

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.items != NULL:
            for i in range(self.count):
                free(self.items[i].kept)
        free(self.items)
        free(self.offsets)
        free(self.views)

    cdef int begin(self, event) except -1:
        """Turn to another event, whose inputs are then read one by one."""
        self.events += 1
        cdef Py_ssize_t i
        if type(event) is not self.event_type:
            for i in range(self.count):
                self.offsets[i] = slot_offset(type(event), <str>self.names[i])
            self.event_type = type(event)
        return 0

    cdef bint read(self, Py_ssize_t i, event) except -1:
        """Read an input; returns whether it has to be searched."""
        cdef Input* given = self.items + i
        cdef PyObject* attribute = in_slot(event, self.offsets[i])
        if attribute == NULL:
            return self._take(given, i, getattr(event, <str>self.names[i]))
        if attribute == <PyObject*>None:
            return note(given, self.events, ABSENT, NULL, 0)
        return self._take(given, i, <object>attribute)

    cdef int release(self) except -1:
        """Let go of the event; of its inputs only those that are kept can still be read."""
        while self.viewed:
            self.viewed -= 1
            PyBuffer_Release(&self.views[self.viewed])
        if self.held:
            self.held.clear()
        return 0

    cdef bint _take(self, Input* given, Py_ssize_t i, value) except -1:
        cdef Py_buffer* view
        cdef const char* ptr
        cdef Py_ssize_t length
        cdef bint is_other
        if value is None:
            return note(given, self.events, ABSENT, NULL, 0)
        if type(value) is str:
            if PyUnicode_IS_COMPACT_ASCII(value):
                ptr = PyUnicode_DATA(value)
                length = PyUnicode_GET_LENGTH(value)
            else:
                ptr = self._utf8(i, value, &length)
            is_other = note(given, self.events, TEXT, ptr, length)
            if given.ptr != given.kept:
                self.held.append(value)
            return is_other
        if not PyObject_CheckBuffer(value):
            value = token_of(value)
        view = self.views + self.viewed
        PyObject_GetBuffer(value, view, PyBUF_SIMPLE)
        self.viewed += 1
        is_other = note(given, self.events, JSON, <const char*>view.buf, view.len)
        if given.ptr == given.kept:
            self.viewed -= 1
            PyBuffer_Release(view)
        return is_other

    cdef const char* _utf8(self, Py_ssize_t i, value, Py_ssize_t* length) except NULL:
        try:
            return PyUnicode_AsUTF8AndSize(value, length)
        except UnicodeEncodeError:
            raise MalformedInput(f"{self.names[i]} holds half a surrogate pair") from None
