"""Conversions: one value of the input becomes one value of the output, or nothing.

Each ``put_`` function returns 1 when it wrote a value and 0 when the input has none for it; it then
has written nothing.
"""

from hashlib import blake2b

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport NAN, isfinite
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport memchr, memcpy, memmove

from fastmap._scan cimport (
    JSON, TEXT, fm_is_id_text, fm_must_escape, skip_space, skip_value, slot_of_token, unescape,
)

from fastmap.texts import number_in, plain_number

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)
    int AF_INET
    int AF_INET6

cdef enum:
    MAX_ID = 36        # characters of a unique id
    DIGEST_BYTES = 16
    MAX_NUMBER = 63    # characters of a number that are read without allocating
    MAX_IP = 45        # INET6_ADDRSTRLEN without the final zero


cdef bint is_blank(const Slot* slot) noexcept nogil:
    """Whether there is nothing to convert: absent, null or an empty string."""
    return (
        slot.kind == 0
        or (slot.kind == JSON and slot.first == c"n")
        or (slot.len == 0 and is_string(slot))
    )


cdef bint is_hollow(const Slot* slot) noexcept nogil:
    """Whether a value is blank, or an object or list with nothing in it."""
    cdef const char* p
    if slot.kind != JSON or (slot.first != c"{" and slot.first != c"["):
        return is_blank(slot)
    p = skip_space(slot.ptr + 1, slot.ptr + slot.len)
    return p < slot.ptr + slot.len and (p[0] == c"}" or p[0] == c"]")


cdef int unwrap_list(const Slot* slot, Slot* inner) noexcept nogil:
    cdef const char* p
    cdef const char* end
    cdef const char* start
    end = slot.ptr + slot.len
    start = skip_space(slot.ptr + 1, end)
    if start >= end or start[0] == c"]" or start[0] == c"[" or start[0] == c"{":
        return 0
    p = skip_value(start, end)
    if p == NULL:
        return 0
    slot_of_token(inner, start, p)
    p = skip_space(p, end)
    return p < end and p[0] == c"]"


cdef bytes text_of(const Slot* slot):
    """Return the unescaped text of a string, or the token of anything else."""
    cdef bytes text
    cdef Py_ssize_t length
    if not slot.escaped:
        return PyBytes_FromStringAndSize(slot.ptr, slot.len)
    text = PyBytes_FromStringAndSize(NULL, slot.len)
    length = unescape(slot.ptr, slot.len, PyBytes_AS_STRING(text))
    return text[:length]


cdef bytes unescaped(Slot* slot):
    """Point a string with escapes at its text; returns what keeps that alive, else None."""
    cdef bytes text
    if not slot.escaped:
        return None
    text = text_of(slot)
    slot.ptr = PyBytes_AS_STRING(text)
    slot.len = PyBytes_GET_SIZE(text)
    slot.escaped = False
    return text


cdef inline int put_text_quoted(Buffer out, const Slot* slot) except -1:
    """Write a scalar as a JSON string."""
    if slot.kind == TEXT and fm_must_escape(slot.ptr, slot.ptr + slot.len) != slot.ptr + slot.len:
        out.put_byte(c'"')
        out.put_escaped(slot.ptr, slot.len)
        return out.put_byte(c'"')
    return out.put_quoted(slot.ptr, slot.len)


cdef int put_json(Buffer out, const Slot* slot, int flags) except -1:
    """Copy a value as it is."""
    if slot.kind == 0:
        return 0
    if flags & (SKIP_NULL | SKIP_FALSY) and slot.kind == JSON and slot.first == c"n":
        return 0
    if flags & SKIP_FALSY and not is_truthy(slot):
        return 0
    if is_string(slot):
        put_text_quoted(out, slot)
    else:
        out.put(slot.ptr, slot.len)
    return 1


cdef inline char lower(char c) noexcept nogil:
    return c + 32 if c"A" <= c <= c"Z" else c


cdef bint is_word(const Words* words, const char* text, Py_ssize_t length) noexcept nogil:
    """Whether text, without outer white space and in any case, is one of the words."""
    cdef Py_ssize_t i, j
    while length and 0 <= text[0] <= c" ":
        text += 1
        length -= 1
    while length and 0 <= text[length - 1] <= c" ":
        length -= 1
    if not words.lengths >> min(length, 63) & 1:
        return False
    for i in range(words.count):
        if words.words[i].len != length:
            continue
        j = 0
        while j < length and lower(text[j]) == words.words[i].text[j]:
            j += 1
        if j == length:
            return True
    return False


cdef bint is_exactly(const Words* words, const char* text, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(words.count):
        if words.words[i].len != length:
            continue
        j = 0
        while j < length and text[j] == words.words[i].text[j]:
            j += 1
        if j == length:
            return True
    return False


cdef int put_string(
    Buffer out, const Slot* slot, int flags, const Words* none_of, const Words* one_of
) except -1:
    """Write a string; numbers and booleans become their text, a list of one its item."""
    cdef Slot scalar, plain
    cdef bytes _alive
    if slot.kind == TEXT and slot.len and none_of == NULL and one_of == NULL:
        put_text_quoted(out, slot)
        return 1
    if flags & AS_ID and not is_string(slot):
        return put_id(out, slot, flags, none_of)
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if scalar.kind == JSON and scalar.first == c"n":
        return 0
    if scalar.len == 0 and not flags & KEEP_EMPTY:
        return 0
    if none_of != NULL or one_of != NULL:
        plain = scalar
        _alive = unescaped(&plain)
        if none_of != NULL and is_word(none_of, plain.ptr, plain.len):
            return 0
        if one_of != NULL and not is_exactly(one_of, plain.ptr, plain.len):
            return 0
    put_text_quoted(out, &scalar)
    return 1


cdef int put_id(Buffer out, const Slot* slot, int flags, const Words* none_of) except -1:
    """Write an id that is no string as one, several of a list as a list of strings."""
    cdef Slot item
    cdef const char* p
    cdef const char* end = slot.ptr + slot.len
    cdef const char* start
    cdef Py_ssize_t mark = out.size
    cdef int ids = 0
    if slot.kind != JSON or slot.first != c"[":
        return put_one_id(out, slot, none_of)
    if not flags & SEVERAL:
        return unwrap(slot, &item) and put_one_id(out, &item, none_of)
    out.put_byte(c"[")
    p = skip_space(slot.ptr + 1, end)
    while p < end and p[0] != c"]":
        start = p
        p = skip_value(start, end)
        if p == NULL:
            break
        slot_of_token(&item, start, p)
        if ids:
            out.put_byte(c",")
        if put_one_id(out, &item, none_of):
            ids += 1
        elif ids:
            out.size -= 1
        p = skip_space(p, end)
        if p < end and p[0] == c",":
            p = skip_space(p + 1, end)
    if ids > 1:
        out.put_byte(c"]")
    elif ids:
        out.size -= 1
        memmove(out.data + mark, out.data + mark + 1, out.size - mark)
    else:
        out.size = mark
    return ids > 0


cdef int put_one_id(Buffer out, const Slot* slot, const Words* none_of) except -1:
    cdef Slot number
    cdef bytes text
    if is_string(slot):
        return put_string(out, slot, 0, none_of, NULL)
    if not is_number(slot):
        return 0
    text = plain_number(slot.ptr[:slot.len].decode()).encode()
    number = slot[0]
    number.ptr = PyBytes_AS_STRING(text)
    number.len = PyBytes_GET_SIZE(text)
    return put_string(out, &number, 0, none_of, NULL)


cdef bint is_json_number(const char* p, Py_ssize_t length) noexcept nogil:
    """Whether text follows the grammar of a JSON number (RFC 8259 section 6)."""
    cdef const char* end = p + length
    if p < end and p[0] == c"-":
        p += 1
    if p >= end or not c"0" <= p[0] <= c"9":
        return False
    if p[0] == c"0":
        p += 1
    else:
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    if p < end and p[0] == c".":
        p += 1
        if p >= end or not c"0" <= p[0] <= c"9":
            return False
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    if p < end and (p[0] == c"e" or p[0] == c"E"):
        p += 1
        if p < end and (p[0] == c"+" or p[0] == c"-"):
            p += 1
        if p >= end or not c"0" <= p[0] <= c"9":
            return False
        while p < end and c"0" <= p[0] <= c"9":
            p += 1
    return p == end


cdef int put_number(Buffer out, const Slot* slot) except -1:
    """Write a number with the digits it came with; true and false become 1 and 0.

    What is too large for a double is no number: readers refuse the whole record for it.
    """
    cdef Slot scalar
    cdef bytes _alive
    cdef bytes digits
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    if is_string(&scalar):
        _alive = unescaped(&scalar)
        while scalar.len and scalar.ptr[0] == c" ":
            scalar.ptr += 1
            scalar.len -= 1
        while scalar.len and scalar.ptr[scalar.len - 1] == c" ":
            scalar.len -= 1
        if not is_json_number(scalar.ptr, scalar.len):
            found = number_in(scalar.ptr[:scalar.len].decode("utf-8", "replace"))
            if found is None:
                return 0
            digits = found.encode()
            scalar.ptr = PyBytes_AS_STRING(digits)
            scalar.len = PyBytes_GET_SIZE(digits)
    elif scalar.first == c"t" or scalar.first == c"f":
        out.put_byte(c"1" if scalar.first == c"t" else c"0")
        return 1
    elif not is_number(&scalar):
        return 0
    if not is_finite(&scalar):
        return 0
    out.put(scalar.ptr, scalar.len)
    return 1


cdef bint is_finite(const Slot* number) except -1:
    """Whether a number is none that readers take for infinity, as 1e400."""
    if (
        number.len <= 308  # the largest double has 309 digits
        and memchr(number.ptr, c"e", number.len) == NULL
        and memchr(number.ptr, c"E", number.len) == NULL
    ):
        return True
    return isfinite(number_of(number))


cdef int put_boolean(Buffer out, const Slot* slot) except -1:
    """Write true or false; the strings "true" and "false" and the numbers 1 and 0 count."""
    cdef Slot scalar
    cdef bytes _alive
    if slot.kind == 0 or not unwrap(slot, &scalar):
        return 0
    _alive = unescaped(&scalar)
    if scalar.len == 4 and scalar.ptr[:4] == b"true":
        out.put(b"true", 4)
    elif scalar.len == 5 and scalar.ptr[:5] == b"false":
        out.put(b"false", 5)
    elif is_number(&scalar) and scalar.len == 1 and scalar.first == c"1":
        out.put(b"true", 4)
    elif is_number(&scalar) and scalar.len == 1 and scalar.first == c"0":
        out.put(b"false", 5)
    else:
        return 0
    return 1


cdef double number_of(const Slot* slot) except? -1:
    """Return the value of a number or of digits; NaN when it is unreadable."""
    cdef char short_text[MAX_NUMBER + 1]
    cdef const char* text = short_text
    cdef char* stop
    cdef bytes long_text
    cdef double value
    if slot.len == 0:
        return NAN
    if slot.len <= MAX_NUMBER:
        memcpy(short_text, slot.ptr, slot.len)
        short_text[slot.len] = 0
    else:
        long_text = slot.ptr[:slot.len]
        text = long_text
    value = strtod(text, &stop)
    return value if stop == text + slot.len else NAN


cdef double numeric_value(const Slot* slot) except? -1:
    """Return the value of a number, or of a string that is one; NaN for everything else."""
    cdef Slot plain = slot[0]
    cdef bytes _alive
    if is_number(slot):
        return number_of(slot)
    if not is_string(slot):
        return NAN
    _alive = unescaped(&plain)
    return number_of(&plain) if is_json_number(plain.ptr, plain.len) else NAN


cdef bint is_truthy(const Slot* slot) except -1:
    """Whether there is a value other than null, false, 0 and ""."""
    if slot.kind == 0 or (slot.len == 0 and is_string(slot)):
        return False
    if is_number(slot):
        return number_of(slot) != 0
    return slot.kind == TEXT or (slot.first != c"n" and slot.first != c"f")


cdef bint is_unique_id(const char* p, Py_ssize_t length, const Words* none_of) noexcept nogil:
    if not 1 <= length <= MAX_ID or not fm_is_id_text(p, p + length):
        return False
    return none_of == NULL or not is_word(none_of, p, length)


cdef bint is_uuid(const char* p) noexcept nogil:
    """Whether the 36 characters at p are 8-4-4-4-12 hexadecimal digits."""
    cdef int i
    for i in range(36):
        if i == 8 or i == 13 or i == 18 or i == 23:
            if p[i] != c"-":
                return False
        elif not (c"0" <= p[i] <= c"9" or c"a" <= lower(p[i]) <= c"f"):
            return False
    return True


cdef int put_unique_id(Buffer out, const Slot* slot, const Run* run, const Words* none_of) except -1:
    """Write an id of 1 to 36 characters of [A-Za-z0-9-], derived from the value when it is not one.

    Items of an expanded array get ids of their own that follow from the event's.
    """
    cdef Slot scalar
    cdef bytes _alive, text
    cdef const char* p
    cdef Py_ssize_t length
    cdef char item[64]
    cdef int item_len, i
    if not unwrap(slot, &scalar) or is_blank(&scalar):
        return 0
    _alive = unescaped(&scalar)
    p = scalar.ptr
    length = scalar.len
    if not is_unique_id(p, length, none_of):
        if length > 36 and is_uuid(p + length - 36) and is_unique_id(p + length - 36, 36, none_of):
            p += length - 36
            length = 36
        else:
            text = blake2b(p[:length], digest_size=DIGEST_BYTES).hexdigest().encode()
            p = PyBytes_AS_STRING(text)
            length = 2 * DIGEST_BYTES
    out.put_byte(c'"')
    if run.item < 0:
        out.put(p, length)
    else:
        item_len = snprintf(item, 64, b"%d", run.item)
        memcpy(item + item_len, p, length)
        if is_unique_id(item, item_len + length, none_of):
            out.put(item, item_len + length)
        elif length == 36 and item_len <= 3 and is_uuid(p):
            for i in range(36):
                if p[i] != c"-":
                    out.put_byte(p[i])
            out.put_byte(c"-")
            out.put(item, item_len)
        else:
            text = blake2b(item[:item_len + length], digest_size=DIGEST_BYTES).hexdigest().encode()
            out.put(text, 2 * DIGEST_BYTES)
    out.put_byte(c'"')
    return 1


cdef int put_ip(Buffer out, const Slot* slot) except -1:
    """Write an IPv4 or IPv6 address as a string."""
    cdef char text[MAX_IP + 1]
    cdef char address[16]
    cdef Slot plain = slot[0]
    cdef bytes _alive
    if not is_string(slot):
        return 0
    _alive = unescaped(&plain)
    if not 0 < plain.len <= MAX_IP or memchr(plain.ptr, 0, plain.len) != NULL:
        return 0
    memcpy(text, plain.ptr, plain.len)
    text[plain.len] = 0
    if inet_pton(AF_INET, text, address) != 1 and inet_pton(AF_INET6, text, address) != 1:
        return 0
    out.put_quoted(plain.ptr, plain.len)
    return 1
