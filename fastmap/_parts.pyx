"""Taking a JSON container apart, however deep it goes."""

from fastmap._scan cimport skip_space, skip_value

from fastmap.errors import MalformedInput


def parts(bytes text not None):
    """Return the tokens that lie directly in a container, as they were written.

    :param text: an array, whose elements are returned, or an object: its keys and values in turn.
    :raises MalformedInput: it is no container, or its tokens are not where they should be.  What is
        inside of them is not looked at, but for where it ends.
    """
    cdef const char* start = text
    cdef const char* end = start + len(text)
    cdef const char* p = skip_space(start, end)
    cdef const char* past
    cdef char closing
    cdef bint is_object, is_key
    cdef list found = []
    if p == end or (p[0] != c"{" and p[0] != c"["):
        raise MalformedInput("neither an array nor an object")
    is_object = is_key = p[0] == c"{"
    closing = c"}" if is_object else c"]"
    p = skip_space(p + 1, end)
    if p == end or p[0] != closing:
        while True:
            if is_key and (p == end or p[0] != c'"'):
                raise MalformedInput("a key is missing")
            past = skip_value(p, end)
            if past == NULL:
                raise MalformedInput("a value is missing or does not end")
            found.append(text[p - start:past - start])
            p = skip_space(past, end)
            if p == end:
                raise MalformedInput("the container does not end")
            if is_key:
                if p[0] != c":":
                    raise MalformedInput("a key has no value")
                is_key = False
            elif p[0] == closing:
                break
            elif p[0] != c",":
                raise MalformedInput("a comma is missing")
            else:
                is_key = is_object
            p = skip_space(p + 1, end)
    if skip_space(p + 1, end) != end:
        raise MalformedInput("something follows the container")
    return found
