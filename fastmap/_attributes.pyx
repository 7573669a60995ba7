"""Attributes at fixed places of an object."""

from types import MemberDescriptorType

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    int T_OBJECT_EX

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member


cdef Py_ssize_t slot_offset(owner_type, str name) except -1:
    """Return where objects of a type keep an attribute, 0 when that is at no fixed place."""
    descriptor = getattr(owner_type, name, None)
    if type(descriptor) is MemberDescriptorType \
            and issubclass(owner_type, descriptor.__objclass__) \
            and (<PyMemberDescrObject*>descriptor).d_member.type == T_OBJECT_EX:
        return (<PyMemberDescrObject*>descriptor).d_member.offset
    return 0
