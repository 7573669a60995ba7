"""A growing byte buffer that records are written into."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc

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
        cdef Py_ssize_t start = 0
        cdef Py_ssize_t i
        cdef unsigned char byte
        cdef char escape[6]
        for i in range(length):
            byte = <unsigned char>text[i]
            if byte >= 0x20 and byte != c'"' and byte != c"\\":
                continue
            self.put(text + start, i - start)
            start = i + 1
            escape[0] = c"\\"
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
        return self.put(text + start, length - start)

    cdef int put_integer(self, long long value) except -1:
        cdef char digits[24]
        cdef int length = snprintf(digits, 24, b"%lld", value)
        return self.put(digits, length)
