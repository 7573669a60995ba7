"""The buffers that records go to, and where they stood before an event."""

cimport cython
from cpython.object cimport PyObject
from libc.stdlib cimport free

from fastmap._buffer cimport Buffer
from fastmap._memory cimport allocate


@cython.final
cdef class Outputs:
    """Some buffers, kept alive.

    :param buffers: in the order in which ``Record.output`` counts.
    """

    def __cinit__(self, buffers):
        cdef Py_ssize_t i
        self.buffers = tuple(buffers)
        self.items = <Output*>allocate(len(self.buffers), sizeof(Output))
        for i, given in enumerate(self.buffers):
            if type(given) is not Buffer:
                raise TypeError(f"an output must be a Buffer (got {type(given).__name__})")
            self.items[i].buffer = <PyObject*>given
        self.count = len(self.buffers)

    def __dealloc__(self):
        free(self.items)
