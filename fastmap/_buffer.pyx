"""Growing byte buffers that records are written into."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdlib cimport free, malloc, realloc

from fastmap._memory cimport allocate
from fastmap._scan cimport fm_must_escape

cdef enum:
    FIRST_CAPACITY = 4096   # holds a few records; doubling gets anywhere from here
    KEPT_CAPACITY = 1 << 20  # a rare giant must not keep its memory for ever

cdef const char* HEX = b"0123456789abcdef"


@cython.final
cdef class Buffer:
    """Newline-delimited JSON under construction.

    ``records`` counts the lines; ``len()`` gives the bytes.
    """

    def __cinit__(self):
        self.data = <char*>malloc(FIRST_CAPACITY)
        if self.data == NULL:
            raise MemoryError
        self.capacity = FIRST_CAPACITY

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.size

    def take(self):
        """Return what was written and empty the buffer."""
        taken = PyBytes_FromStringAndSize(self.data, self.size)
        self.clear()
        return taken

    def clear(self):
        """Forget what was written."""
        cdef char* smaller
        self.size = 0
        self.records = 0
        if self.capacity > KEPT_CAPACITY:
            smaller = <char*>realloc(self.data, FIRST_CAPACITY)
            if smaller != NULL:
                self.data = smaller
                self.capacity = FIRST_CAPACITY

    cdef int grow(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t wanted = self.capacity * 2
        cdef char* larger
        if wanted < self.size + extra:
            wanted = self.size + extra
        larger = <char*>realloc(self.data, wanted)
        if larger == NULL:
            raise MemoryError
        self.data = larger
        self.capacity = wanted
        return 0

    cdef int put_escaped(self, const char* text, Py_ssize_t length) except -1:
        """Write UTF-8 text as the inside of a JSON string."""
        cdef const char* end = text + length
        cdef const char* special
        cdef unsigned char byte
        cdef char escape[6]
        escape[0] = c"\\"
        while True:
            special = fm_must_escape(text, end)
            self.put(text, special - text)
            if special == end:
                return 0
            byte = <unsigned char>special[0]
            text = special + 1
            if byte == c'"' or byte == c"\\":
                escape[1] = <char>byte
                self.put(escape, 2)
            else:
                escape[1] = c"u"
                escape[2] = c"0"
                escape[3] = c"0"
                escape[4] = HEX[byte >> 4]
                escape[5] = HEX[byte & 15]
                self.put(escape, 6)

    cdef int put_integer(self, long long value) except -1:
        cdef char digits[20]  # of the largest 64-bit number
        cdef int i = 20
        cdef int pair
        cdef unsigned long long left = value
        if value < 0:
            self.put_byte(c"-")
            left = -left
        while left >= 10:
            pair = <int>(left % 100)
            left //= 100
            i -= 2
            digits[i] = <char>(c"0" + pair // 10)
            digits[i + 1] = <char>(c"0" + pair % 10)
        if left or i == 20:
            i -= 1
            digits[i] = <char>(c"0" + left)
        return self.put(digits + i, 20 - i)


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
