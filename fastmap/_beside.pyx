"""Whether an object holds lists beside the one that was decoded; only what is around that is read.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memchr

from fastmap._scan cimport fm_equal, skip_space, skip_value, string_end

cdef enum:
    IN_ELEMENT = 2  # how many containers lie around a member of an element, in the list


cdef const char* leave(const char* p, const char* end, Py_ssize_t depth) noexcept nogil:
    """Return the place past so many containers around p; end when they are not closed before it."""
    cdef bint escaped = False
    while p < end and depth:
        if p[0] == c'"':
            p = string_end(p + 1, end, &escaped)
            if p == NULL:
                return end
        elif p[0] == c"{" or p[0] == c"[":
            depth += 1
        elif p[0] == c"}" or p[0] == c"]":
            depth -= 1
        p += 1
    return p


cdef const char* outermost(tuple values, const char* after, const char* end, bint is_last):
    """Return where the first or last of the values begins that lies behind a place; or NULL."""
    cdef Py_buffer view
    cdef const char* at
    cdef const char* found = NULL
    for value in values:
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        at = <const char*>view.buf
        PyBuffer_Release(&view)
        if after < at < end and (found == NULL or (at > found if is_last else at < found)):
            found = at
    return found


def has_list_beside(bytes text not None, bytes key not None, tuple first not None,
                    tuple last not None):
    """Return whether an object holds another list than the one that was decoded from a member.

    It has the same name, or its first element is an object.  A name that is written with escapes
    may be that name.

    :param text: valid JSON, an object.
    :param key: the name of the list, of which the last one counts.
    :param first: values that were decoded from members of its first element, by the buffer
        protocol; where they lie in the text tells where that is.  Without any all of it is read.
    :param last: the same of its last element.
    """
    cdef const char* name = key
    cdef const char* start = text
    cdef const char* end = start + len(text)
    cdef const char* p = skip_space(start, end)
    cdef const char* past
    cdef const char* begins
    cdef const char* goes_on
    cdef bint is_key, was_there = False
    if p == end or p[0] != c"{":
        return False
    p = skip_space(p + 1, end)
    while p < end and p[0] == c'"':
        past = skip_value(p, end)
        if past == NULL or memchr(p, c"\\", past - p) != NULL:
            return True
        is_key = past - p - 2 == len(key) and fm_equal(p + 1, name, len(key))
        if is_key and was_there:
            return True
        p = skip_space(past, end)
        if p == end or p[0] != c":":
            return True
        p = skip_space(p + 1, end)
        begins = goes_on = NULL
        if p < end and p[0] == c"[":
            if is_key:
                begins = outermost(first, p, end, False)
                goes_on = outermost(last, p, end, True)
            else:
                past = skip_space(p + 1, end)
                if past < end and past[0] == c"{":
                    return True
        if begins != NULL and goes_on != NULL:
            if leave(p + 1, begins, 1) < begins:
                return True  # it has ended before the list that was decoded
            p = skip_value(goes_on, end)
            if p == NULL:
                return True
            past = leave(p, end, IN_ELEMENT)
        else:
            past = skip_value(p, end)
            if past == NULL:
                return True
        was_there = was_there or is_key
        p = skip_space(past, end)
        if p < end and p[0] == c",":
            p = skip_space(p + 1, end)
    return False
