"""Memory of compiled programs."""

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
