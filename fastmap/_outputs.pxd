"""The buffers that records go to, and where they stood before an event."""

from cpython.object cimport PyObject

from fastmap._buffer cimport Buffer

cdef struct Output:
    PyObject* buffer
    Py_ssize_t size     # of it when it was marked, as the next
    Py_ssize_t records


cdef class Outputs:
    cdef tuple buffers
    cdef Output* items
    cdef Py_ssize_t count

    cdef inline Buffer buffer(self, Py_ssize_t i):
        return <Buffer>self.items[i].buffer

    cdef inline void mark(self) noexcept:
        """Note where the buffers stand."""
        cdef Py_ssize_t i
        for i in range(self.count):
            self.items[i].size = (<Buffer>self.items[i].buffer).size
            self.items[i].records = (<Buffer>self.items[i].buffer).records

    cdef inline void rewind(self) noexcept:
        """Take back what was written since."""
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Buffer>self.items[i].buffer).size = self.items[i].size
            (<Buffer>self.items[i].buffer).records = self.items[i].records
