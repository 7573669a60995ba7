"""Times: whatever SDKs send becomes epoch milliseconds."""

from fastmap._buffer cimport Buffer
from fastmap._convert cimport Run
from fastmap._scan cimport Slot

cdef int put_time(Buffer out, const Slot* slot, Run* run) except -1
