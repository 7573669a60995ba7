"""Comparing a value with what a condition says of it."""

from fastmap._code cimport Test
from fastmap._scan cimport Slot

cdef bint compares(const Test* test, const Slot* slot) except -1
