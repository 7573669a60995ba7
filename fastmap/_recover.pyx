"""Recovering values from text that was to be JSON.

Tokens that are no JSON, but whose meaning is plain, are mended.  Around all other damage what is
whole is kept: the elements of a list, and the members of the object that the list lies in.

One quote too many or too few turns strings inside out, for all that follows.  But an object begins
with ``{"``: whatever the quotes were taken for, the brace is then the last character of a string,
and the string the last one before the error.  So nobody has to go back further than that string,
and the time is linear in the length of the text.
"""

from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from fastmap._memory cimport enlarge
from fastmap._scan cimport (
    KeyTable, HASH_SEED, find_hashed, fm_ends_scalar, fm_hash, fm_must_escape, fm_quote_or_backslash,
    hex_value, skip_space,
)

cdef enum:
    MAX_MENDS = 65_536   # of one text; an element that needs more is lost
    LONGEST_MEND = 7     # bytes
    LONGEST_TOKEN = 64   # bytes of a number that is mended
    LONGEST_KIND = 32    # bytes of an object's kind
    MOST_MEMBERS = 64    # known members of one object
    MOST_OBJECTS = 64    # that are looked for
    MOST_ASTRAY = 2      # strings where none can be, in a lost element whose end is known
    TIMES = 6            # the text's length that is looked at again

cdef enum Outcome:
    FAILED = 0
    DONE = 1
    OPENED = 2

cdef struct Mend:
    const char* at      # what stands there is replaced,
    int skip            # so many bytes,
    int length          # by so many of these
    bint is_null        # whether a number that is none becomes null
    char text[LONGEST_MEND]

cdef struct Found:
    int number          # of the member's name
    const char* at
    const char* past
    Py_ssize_t mends    # before it
    Py_ssize_t until    # and those with it

cdef const char* WORDS[12]
WORDS[:] = [
    "nan", "null", "inf", "null", "infinity", "null", "undefined", "null", "none", "null",
    "true", "true",
]


class Group(NamedTuple):
    """What belongs together: a list and the members beside it, or objects without either.

    :ivar name: of the member that the list is; None where it is none.
    :ivar members: the known ones that lie beside the list, by name.
    :ivar items: elements in order, each with whether it is whole; what is not is as it came.
    :ivar gaps: what is lost beside the list.
    """

    name: bytes | None
    members: dict[bytes, bytes]
    items: list[tuple[bytes, bool]]
    gaps: list[bytes]


@cython.final
cdef class Shapes:
    """What objects and lists are looked for.

    :param lists: names of the member that may be the list.
    :param members: names of those that may lie beside it.
    :param objects: sets of names; an object that has all members of one, not null, is looked for.
    :param kind: one of those names: its value must be one of ``kinds``, in any case.
    :param beside: names in ``objects`` that the object around a list may have as well.
    """

    cdef KeyTable names
    cdef KeyTable kinds
    cdef list spelled
    cdef list lists                # numbers of their names,
    cdef unsigned long long list_bits, member_bits
    cdef unsigned long long masks[MOST_OBJECTS]
    cdef int mask_count
    cdef int kind
    cdef unsigned long long own

    def __cinit__(self, *, lists, members, objects, bytes kind=None, kinds=(), beside=()):
        names = dict.fromkeys([*lists, *members, *(name for each in objects for name in sorted(each))])
        if len(names) > MOST_MEMBERS:
            raise ValueError("too many names")
        self.spelled = list(names)
        numbers = {name: number for number, name in enumerate(self.spelled)}
        self.names = KeyTable(numbers)
        self.kinds = KeyTable({each: number for number, each in enumerate(kinds)})
        self.lists = [numbers[name] for name in lists]
        self.list_bits = sum(1 << number for number in self.lists)
        self.member_bits = sum(1 << numbers[name] for name in set(members))
        masks = [sum(1 << numbers[name] for name in each) for each in objects]
        if len(masks) > MOST_OBJECTS:
            raise ValueError("too many objects")
        for self.mask_count, mask in enumerate(masks, 1):
            self.masks[self.mask_count - 1] = mask
        self.kind = numbers[kind] if kind is not None else -1
        whole = {name for each in objects for name in each} - set(beside)
        self.own = sum(1 << numbers[name] for name in whole)


cdef inline bint is_separator(char c) noexcept nogil:
    return c == c" " or c == c"\n" or c == c"\r" or c == c"\t" or c == c"," or c == 0


cdef inline bint is_blank(char c) noexcept nogil:
    return c == c" " or c == c"\n" or c == c"\r" or c == c"\t" or c == 0


cdef inline const char* skip_blanks(const char* p, const char* end) noexcept nogil:
    while p < end and is_blank(p[0]):
        p += 1
    return p


cdef inline const char* skip_separators(const char* p, const char* end) noexcept nogil:
    while p < end and is_separator(p[0]):
        p += 1
    return p


cdef inline char lower(char c) noexcept nogil:
    return c + 32 if c"A" <= c <= c"Z" else c


cdef inline bint is_digit(char c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef bint is_word(const char* p, Py_ssize_t length, const char* word) noexcept nogil:
    """Return whether a text is a word, in any case."""
    cdef Py_ssize_t i
    for i in range(length):
        if word[i] == 0 or lower(p[i]) != word[i]:
            return False
    return word[length] == 0


cdef const char* past_digits(const char* p, const char* end) noexcept nogil:
    while p < end and is_digit(p[0]):
        p += 1
    return p


cdef const char* past_zeros(const char* p, const char* end) noexcept nogil:
    while p < end and p[0] == c"0":
        p += 1
    return p


@cython.final
cdef class _Recovery:
    """One pass over a text."""

    cdef Shapes shapes
    cdef const char* start
    cdef const char* end
    cdef Py_ssize_t limit

    cdef Mend* mends
    cdef Py_ssize_t mend_count, mend_capacity
    cdef char* stack
    cdef Py_ssize_t stack_capacity
    cdef Py_ssize_t budget         # bytes that may still be looked at again

    # Of the object read last:
    cdef const char* at            # past it, the bracket of its list, or the error
    cdef unsigned long long bits   # its members that are not null
    cdef unsigned long long named  # and those whose names have come
    cdef bint is_repeating         # one of them is there twice
    cdef int opening               # the number of its list
    cdef Found found[MOST_MEMBERS]
    cdef int found_count

    # The string read last:
    cdef const char* quote
    cdef const char* unquote

    cdef const char* lost          # since where nothing is whole; NULL where all is
    cdef bint is_unclosed          # and what is lost there did not end before the text
    cdef bint is_gap               # what is lost there lies beside a list
    cdef bint is_open              # a list is
    cdef bint is_doubtful          # there was damage in it: elements have to be looked for
    cdef dict pending              # members of an object that may be the one around a list,
    cdef list gaps                 # and what is lost beside them
    cdef object group
    cdef list groups
    cdef Py_ssize_t count
    cdef Py_ssize_t nulls
    cdef bint has_doubtful         # something that is looked for may or may not be whole

    def __cinit__(self, Shapes shapes, bytes text, Py_ssize_t limit):
        self.shapes = shapes
        self.start = text
        self.end = self.start + len(text)
        self.limit = limit
        self.budget = TIMES * len(text)
        self.groups = []
        self.gaps = []
        self.pending = {}

    def __dealloc__(self):
        free(self.mends)
        free(self.stack)

    # Reading: what is well-formed, or can be made so.

    cdef int mend(
        self, const char* at, int skip, const char* text, int length, bint is_null=False
    ) except -1:
        """Note what a place is replaced by; returns 0 when there are too many."""
        cdef Mend* mend
        if self.mend_count == self.mend_capacity:
            if self.mend_capacity == MAX_MENDS:
                return 0
            self.mend_capacity = min(2 * self.mend_capacity + 64, MAX_MENDS)
            self.mends = <Mend*>enlarge(self.mends, self.mend_capacity, sizeof(Mend))
        mend = &self.mends[self.mend_count]
        self.mend_count += 1
        mend.at = at
        mend.skip = skip
        mend.length = length
        mend.is_null = is_null
        memcpy(mend.text, text, length)
        return 1

    cdef const char* fail(self, const char* at) noexcept:
        self.at = at
        return NULL

    cdef inline const char* space(self, const char* p) except? NULL:
        """Return the place past white space; zeros that lie in it are left out."""
        if p < self.end and <unsigned char>p[0] > c" ":
            return p
        return self.long_space(p)

    cdef const char* long_space(self, const char* p) except? NULL:
        cdef const char* zero
        while True:
            p = skip_space(p, self.end)
            if p == self.end or p[0] != 0:
                return p
            zero = p
            while p < self.end and p[0] == 0:
                p += 1
            if not self.mend(zero, <int>(p - zero), b"", 0):
                return self.fail(zero)

    cdef const char* string(self, const char* p) except? NULL:
        """Return the place past the string that begins at p."""
        cdef char text[LONGEST_MEND]
        cdef int length, skip
        cdef char c
        self.quote = p
        self.unquote = NULL
        p += 1
        while True:
            p = fm_must_escape(p, self.end)
            if p >= self.end:
                return self.fail(self.end)
            c = p[0]
            if c == c'"':
                self.unquote = p
                return p + 1
            skip = 1
            length = 0
            if c != c"\\":
                length = self.escape(<unsigned char>c, text)
            else:
                if self.end - p < 2:
                    return self.fail(self.end)
                c = p[1]
                if c in b'"\\/bfnrt':
                    p += 2
                    continue
                if c == c"u" and self.has_digits(p + 2, 4):
                    p += 6
                    continue
                if c == c"x" and self.has_digits(p + 2, 2):
                    length = self.escape(hex_value(p[2]) * 16 + hex_value(p[3]), text)
                    skip = 4
                elif c == c"'":
                    text[0] = c
                    length = 1
                    skip = 2
                elif c == c"v":
                    length = self.escape(11, text)
                    skip = 2
                elif c == c"0" and not (self.end - p > 2 and is_digit(p[2])):
                    length = self.escape(0, text)
                    skip = 2
                else:  # it stands for itself
                    text[0] = text[1] = c"\\"
                    length = 2
            if not self.mend(p, skip, text, length):
                return self.fail(p)
            p += skip

    cdef int escape(self, int code, char* text) noexcept:
        """Write the escape of a code below 256; returns its length."""
        memcpy(text, b"\\u00", 4)
        text[4] = b"0123456789abcdef"[code >> 4]
        text[5] = b"0123456789abcdef"[code & 15]
        return 6

    cdef bint has_digits(self, const char* p, int count) noexcept:
        cdef int i
        if self.end - p < count:
            return False
        for i in range(count):
            if hex_value(p[i]) < 0:
                return False
        return True

    cdef const char* scalar(self, const char* p) except? NULL:
        """Return the place past a number or word."""
        cdef const char* past = p
        cdef const char* unsigned_ = p
        cdef const char* to = NULL
        cdef Py_ssize_t length
        cdef int i
        while past < self.end and past[0] != 0 and not fm_ends_scalar(past[0]):
            if past[0] == c'"' or past[0] == c"{" or past[0] == c"[" or past[0] == c":":
                return self.fail(past)
            past += 1
        if past == p:
            return self.fail(p)
        if is_digit(p[0]) or p[0] == c"-" or p[0] == c"+" or p[0] == c".":
            if self.number(p, past):
                return past
            if p[0] == c"-" or p[0] == c"+":
                unsigned_ = p + 1
        length = past - unsigned_
        for i in range(0, 12, 2):
            if is_word(unsigned_, length, WORDS[i]) and (unsigned_ == p or i < 6):
                to = WORDS[i + 1]
                break
        if to != NULL:
            if i == 10 and memcmp(p, b"true", 4) == 0:
                return past
            if not self.mend(p, <int>(past - p), to, 4, i < 6):
                return self.fail(p)
            return past
        if is_word(p, length, b"null"):
            to = b"null"
        elif is_word(p, length, b"false"):
            to = b"false"
        if to == NULL:
            return self.fail(p)
        if memcmp(p, to, length) != 0 and not self.mend(p, <int>length, to, <int>length):
            return self.fail(p)
        return past

    cdef bint number(self, const char* p, const char* past) except -1:
        """Return whether a token is a number, or could be made one."""
        cdef Py_ssize_t count = self.mend_count
        cdef const char* token = p
        cdef const char* digits
        cdef bint has_digits
        if p[0] == c"+":
            self.mend(p, 1, b"", 0)
        if p[0] == c"-" or p[0] == c"+":
            p += 1
        digits = p
        p = past_digits(p, past)
        has_digits = p > digits
        if p - digits > 1 and digits[0] == c"0":
            self.mend(digits, <int>(past_zeros(digits, p - 1) - digits), b"", 0)
        if p < past and p[0] == c".":
            digits = p
            p = past_digits(p + 1, past)
            if not has_digits:
                self.mend(digits, 0, b"0", 1)
                has_digits = p > digits + 1
            elif p == digits + 1:
                self.mend(digits, 1, b"", 0)
        if has_digits and p < past and (p[0] == c"e" or p[0] == c"E"):
            p += 1
            if p < past and (p[0] == c"+" or p[0] == c"-"):
                p += 1
            digits = p
            p = past_digits(p, past)
            has_digits = p > digits
        if has_digits and p == past and (
            self.mend_count == count
            or (self.mend_count < MAX_MENDS and past - token <= LONGEST_TOKEN)
        ):
            return True
        self.mend_count = count
        return False

    cdef const char* key(self, const char* p) except? NULL:
        """Return the place of the value whose key begins at p."""
        if p == self.end or p[0] != c'"':
            return self.fail(p)
        p = self.string(p)
        if p == NULL:
            return NULL
        p = self.space(p)
        if p == NULL:
            return NULL
        if p == self.end or p[0] != c":":
            return self.fail(p)
        return self.space(p + 1)

    cdef const char* value(self, const char* p) except? NULL:
        """Return the place past the value that begins at p."""
        cdef Py_ssize_t depth = 0
        while True:
            if p == self.end:
                return self.fail(p)
            if p[0] == c"{" or p[0] == c"[":
                self.push(depth, p[0] + 2)  # what closes it
                depth += 1
                p = self.space(p + 1)
                if p == NULL:
                    return NULL
                if p == self.end or p[0] != self.stack[depth - 1]:
                    if self.stack[depth - 1] == c"}":
                        p = self.key(p)
                        if p == NULL:
                            return NULL
                    continue
            elif p[0] == c'"':
                p = self.string(p)
            else:
                p = self.scalar(p)
            if p == NULL:
                return NULL
            while depth:
                p = self.space(p)
                if p == NULL:
                    return NULL
                if p == self.end:
                    return self.fail(p)
                if p[0] == self.stack[depth - 1]:
                    depth -= 1
                    p += 1
                    continue
                if p[0] != c",":
                    return self.fail(p)
                p = self.space(p + 1)
                if p != NULL and self.stack[depth - 1] == c"}":
                    p = self.key(p)
                if p == NULL:
                    return NULL
                break
            else:
                return p

    cdef int push(self, Py_ssize_t depth, char closing) except -1:
        if depth == self.stack_capacity:
            self.stack = <char*>enlarge(self.stack, 2 * depth + 64, 1)
            self.stack_capacity = 2 * depth + 64
        self.stack[depth] = closing
        return 0

    cdef Outcome read(self, const char* p, bint opens) except? FAILED:
        """Read an object's members from a key on, or what closes it.

        :param opens: whether to stop at a list that has one of the names for it.
        """
        cdef const char* name
        cdef const char* value
        cdef Py_ssize_t mends
        cdef int number
        self.bits = self.named = 0
        self.is_repeating = False
        self.found_count = 0
        if p < self.end and p[0] == c"}":
            self.at = p + 1
            return DONE
        while True:
            name = p + 1
            value = self.key(p)
            if value == NULL:
                return FAILED
            number = find_hashed(
                &self.shapes.names.table, name, self.unquote - name,
                fm_hash(name, self.unquote - name, HASH_SEED),
            )
            if opens and number >= 0 and self.is_list(number, value):
                self.opening = number
                self.at = value
                return OPENED
            if number >= 0:
                self.named |= <unsigned long long>1 << number
            mends = self.mend_count
            p = self.value(value)
            if p == NULL:
                return FAILED
            if number >= 0:
                self.note(number, value, p, mends)
            p = self.space(p)
            if p == NULL:
                return FAILED
            if p == self.end:
                self.at = p
                return FAILED
            if p[0] == c"}":
                self.at = p + 1
                return DONE
            if p[0] != c",":
                self.at = p
                return FAILED
            p = self.space(p + 1)
            if p == NULL:
                return FAILED

    cdef bint is_list(self, int number, const char* value) noexcept:
        """Return whether a value is the list that an object is there for."""
        if value == self.end or value[0] != c"[" or not self.shapes.list_bits >> number & 1:
            return False
        return not self.bits & self.shapes.own

    cdef int note(self, int number, const char* at, const char* past, Py_ssize_t mends) except -1:
        cdef unsigned long long bit = <unsigned long long>1 << number
        cdef Found* found
        if self.bits & bit:
            self.is_repeating = True
        if at[0] != c"n" and (number != self.shapes.kind or self.is_kind(at, past)):
            self.bits |= bit
        if self.shapes.member_bits >> number & 1 and self.found_count < MOST_MEMBERS:
            found = &self.found[self.found_count]
            self.found_count += 1
            found.number = number
            found.at = at
            found.past = past
            found.mends = mends
            found.until = self.mend_count
        return 0

    cdef bint is_kind(self, const char* p, const char* past) noexcept:
        """Return whether a value is one of the kinds, in any case, blanks aside."""
        cdef char text[LONGEST_KIND]
        cdef Py_ssize_t i, length
        if p[0] != c'"':
            return False
        p = skip_blanks(p + 1, past - 1)
        past -= 1
        while past > p and is_blank((past - 1)[0]):
            past -= 1
        length = past - p
        if length > LONGEST_KIND:
            return False
        for i in range(length):
            text[i] = lower(p[i])
        return find_hashed(&self.shapes.kinds.table, text, length, fm_hash(text, length, HASH_SEED)) >= 0

    cdef Outcome read_object(self, const char* p, bint opens) except? FAILED:
        self.mend_count = 0
        self.quote = self.unquote = NULL
        self.found_count = 0
        self.bits = self.named = 0
        p = self.space(p + 1)
        if p == NULL:
            return FAILED
        return self.read(p, opens)

    cdef bint is_wanted(self) noexcept:
        """Return whether the object read last is one of those looked for."""
        cdef int i
        if self.is_repeating:
            return False
        for i in range(self.shapes.mask_count):
            if self.bits & self.shapes.masks[i] == self.shapes.masks[i]:
                return True
        return False

    cdef bint is_wanted_at(self, const char* p) except -1:
        """Return whether an object that is looked for begins at p."""
        cdef Outcome outcome
        if p == self.end or p[0] != c"{" or self.budget <= 0:
            return False
        outcome = self.read_object(p, False)
        self.budget -= self.at - p
        return outcome == DONE and self.is_wanted()

    # Telling what is around.

    cdef const char* again(self, const char* p) noexcept:
        """Return where to go on after an error in what begins at p."""
        cdef const char* brace
        if self.unquote != NULL and self.unquote > p:
            brace = self.unquote - 1
            while brace > self.quote and is_blank(brace[0]):
                brace -= 1
            if brace > self.quote and brace > p and brace[0] == c"{":
                return brace
            if self.unquote + 1 == self.at and not self.is_open:
                return self.unquote  # it may be what a member begins with
        return self.at if self.at > p else p + 1

    cdef const char* inside(self, const char* p) noexcept:
        """Return where to go on after what is no element, and begins at p.

        Where something has lost its end, others lie in it, and are well-formed: then it is searched
        as long as there is time.  Else what follows the error is.
        """
        if not self.is_unclosed or self.budget <= 0:
            return self.again(p)
        self.budget -= self.at - p
        return p + 1

    cdef int note_end(self) noexcept:
        """Note whether the error is that something has lost its end, and was not cut off."""
        cdef const char* last = self.end - 1
        if self.at == self.end:
            while is_separator(last[0]):
                last -= 1
            self.is_unclosed = last[0] == c"}" or last[0] == c"]"
        return 0

    cdef bint is_followed(self, const char* p) noexcept:
        """Return whether what ends at p is an element, for all that follows tells.

        What follows an object that has lost its end, and was closed by another's, is what follows
        a member.  Anything else is damage that lies behind it.
        """
        p = skip_blanks(p, self.end)
        if p < self.end and p[0] == c",":
            p = skip_separators(p, self.end)
            if p < self.end and p[0] == c'"':
                return not self.is_key(p)
        return p == self.end or p[0] != c"}"

    cdef bint is_key(self, const char* p) noexcept:
        p += 1
        while True:
            p = fm_quote_or_backslash(p, self.end)
            if self.end - p < 2:
                return False
            if p[0] == c'"':
                break
            p += 2
        p = skip_blanks(p + 1, self.end)
        return p < self.end and p[0] == c":"

    cdef bint is_value(self, const char* p) noexcept:
        """Return whether a colon is before p."""
        while p > self.start and is_blank((p - 1)[0]):
            p -= 1
        return p > self.start and (p - 1)[0] == c":"

    cdef bint is_end(self, const char* p) noexcept:
        """Return whether nothing but what stands for itself follows."""
        p = skip_separators(p, self.end)
        return p == self.end or p[0] == c"{" or p[0] == c"["

    cdef const char* balanced(self, const char* p) except? NULL:
        """Return the place past the container at p, whatever is in it; NULL when it has no end.

        Where more than a few strings stand where none can, what is taken for strings are none.
        """
        cdef const char* begin = p
        cdef Py_ssize_t depth = 0
        cdef int astray = 0
        cdef const char* found = NULL
        cdef char before = 0
        if p[0] != c"{" and p[0] != c"[":
            return NULL
        while p < self.end and p - begin < self.budget and astray <= MOST_ASTRAY:
            if p[0] == c'"':
                astray += before not in b"{[,:"
                p += 1
                while True:
                    p = fm_quote_or_backslash(p, self.end)
                    if p >= self.end or p[0] == c'"':
                        break
                    p += 2
                if p >= self.end:
                    break
            elif p[0] == c"{" or p[0] == c"[":
                self.push(depth, p[0] + 2)
                depth += 1
            elif p[0] == c"}" or p[0] == c"]":
                if self.stack[depth - 1] != p[0]:
                    break
                depth -= 1
                if depth == 0:
                    found = p + 1
                    break
            elif before == c'"' and p[0] != c"," and p[0] != c":" and not is_blank(p[0]):
                astray += 1
            if not is_blank(p[0]):
                before = p[0]
            p += 1
        self.budget -= p - begin
        return found

    cdef int list_before(self, const char* p) except -2:
        """Return the number of the list's name that is before a bracket, or its end, or -1."""
        cdef const char* name
        cdef Py_ssize_t length
        while p > self.start and is_blank((p - 1)[0]):
            p -= 1
        if p == self.start or (p - 1)[0] != c":":
            return -1
        p -= 1
        while p > self.start and is_blank((p - 1)[0]):
            p -= 1
        if p > self.start and (p - 1)[0] != c'"':
            return -1
        p -= p > self.start
        for number in self.shapes.lists:
            name = <bytes>self.shapes.spelled[number]
            length = len(<bytes>self.shapes.spelled[number])
            if p - self.start < length:  # the rest may have been cut off
                name += length - (p - self.start)
                length = p - self.start
            if memcmp(p - length, name, length) == 0:
                return number
        return -1

    # Keeping what was found.

    cdef bytes written(self, const char* p, const char* past, Py_ssize_t mend, Py_ssize_t until):
        """Return a text with what was mended in it."""
        cdef Py_ssize_t i, size = past - p
        cdef bytes text
        cdef char* to
        for i in range(mend, until):
            size += self.mends[i].length - self.mends[i].skip
        text = PyBytes_FromStringAndSize(NULL, size)
        to = PyBytes_AS_STRING(text)
        for i in range(mend, until):
            memcpy(to, p, self.mends[i].at - p)
            to += self.mends[i].at - p
            memcpy(to, self.mends[i].text, self.mends[i].length)
            to += self.mends[i].length
            p = self.mends[i].at + self.mends[i].skip
            self.nulls += self.mends[i].is_null
        memcpy(to, p, past - p)
        return text

    cdef int keep(self, const char* p, const char* past) except -1:
        """Keep a whole element."""
        self.flush(p)
        if self.group is None:
            self.begin(None)
        self.group.items.append((self.written(p, past, 0, self.mend_count), True))
        self.count += 1
        return 0

    cdef int lose(self, const char* p, const char* past) except -1:
        """Keep what is not whole, as it came."""
        cdef const char* each
        cdef bint is_something = False
        while p < past and is_separator(p[0]):
            p += 1
        while p < past and is_separator((past - 1)[0]):
            past -= 1
        each = p
        while each < past and not is_something:
            is_something = each[0] not in b",:{}[] \t\r\n\0"
            each += 1
        if not is_something:
            return 0
        self.count += 1
        if self.is_gap:
            (self.gaps if self.group is None else self.group.gaps).append(p[:past - p])
            return 0
        if self.group is None:
            self.begin(None)
        self.group.items.append((p[:past - p], False))
        return 0

    cdef int flush(self, const char* p) except -1:
        """End what is lost, if anything is."""
        if self.lost != NULL:
            self.lose(self.lost, p)
            self.lost = NULL
            self.is_gap = False
        return 0

    cdef int begin(self, name) except -1:
        """Begin another group."""
        self.count += 1
        self.group = Group(name, self.pending, [], self.gaps)
        self.pending = {}
        self.gaps = []
        self.groups.append(self.group)
        return 0

    cdef int take_members(self, dict members) except -1:
        """Keep the members of the object read last that may lie beside a list."""
        cdef Found* found
        cdef int i
        for i in range(self.found_count):
            found = &self.found[i]
            members[self.shapes.spelled[found.number]] = self.written(
                found.at, found.past, found.mends, found.until
            )
        return 0

    cdef int go_on(self) except -1:
        """Have the list that begins next share what lies beside both with the one before."""
        self.group.members.update(self.pending)
        self.pending = self.group.members
        self.gaps = self.group.gaps
        return 0

    cdef const char* open(self, const char* p, name) except? NULL:
        """Begin a group with the list at p."""
        self.group = None
        self.begin(name)
        self.is_open = True
        return p + 1

    # Going through the text.

    cdef int run(self) except -1:
        cdef const char* p = self.start
        while p < self.end and self.count <= self.limit:
            if is_separator(p[0]):
                p += 1
            elif p[0] == c"{":
                p = self.object_at(p)
            elif p[0] == c"[":
                p = self.list_at(p)
            elif p[0] == c"]":
                p = self.closing_at(p)
            elif p[0] == c'"' and (self.lost == NULL or not self.is_open):
                p = self.quote_at(p)
            elif self.lost == NULL:
                p = self.stray_at(p)
            else:
                p += 1
        self.flush(self.end)
        return 0

    cdef const char* object_at(self, const char* p) except? NULL:
        cdef bint is_searching = self.lost != NULL
        cdef bint is_value = is_searching and self.is_value(p)
        cdef Outcome outcome = self.read_object(p, is_searching and not is_value or not self.is_open)
        cdef const char* past = self.at
        cdef bint is_kept
        if outcome == OPENED:
            self.flush(p)
            self.pending = {}
            self.take_members(self.pending)
            self.is_doubtful = is_searching
            return self.open(past, self.shapes.spelled[self.opening])
        if outcome == DONE:
            is_kept = not is_value and self.is_followed(past)
            if is_kept and not self.is_wanted():
                is_kept = not is_searching and not self.is_repeating and (
                    self.is_open and not self.is_doubtful or self.is_alone(p, past)
                )
            if is_kept:
                self.is_doubtful = self.is_doubtful or is_searching
                self.keep(p, past)
                return past
            self.has_doubtful = self.has_doubtful or not is_value and self.is_wanted()
            if is_searching:
                return self.inside(p)
            self.lost = p
            self.is_unclosed = False
            return past
        if is_searching:
            self.note_end()
            return self.inside(p)
        return self.lose_at(p)

    cdef bint is_alone(self, const char* p, const char* past) noexcept:
        """Return whether nothing else is in the text."""
        return skip_separators(self.start, self.end) == p and skip_separators(past, self.end) == self.end

    cdef const char* lose_at(self, const char* p) except? NULL:
        """Go on after an error in the element, or in the object around the list, that begins at p."""
        cdef const char* again = self.again(p)
        cdef const char* inside
        cdef const char* past
        self.is_unclosed = False
        self.note_end()
        inside = self.inside(p)
        self.is_doubtful = True
        self.pending = {}
        if not self.is_open and not self.named & self.shapes.own:
            self.take_members(self.pending)
            self.is_gap = p[0] == c"{"
        elif p[0] == c"{" and not self.is_wanted_at(again):
            past = self.balanced(p)
            if past != NULL and self.is_followed(past):
                self.lose(p, past)
                return past
        self.lost = p
        return inside

    cdef const char* list_at(self, const char* p) except? NULL:
        cdef int number
        cdef const char* past
        cdef bint is_beside
        if self.lost == NULL and not self.is_open:
            self.is_doubtful = False
            return self.open(p, None)
        if self.lost == NULL:
            return self.element_at(p)
        number = self.list_before(p)
        past = skip_blanks(p + 1, self.end)
        if number >= 0 and not self.is_open or (
            past < self.end and past[0] == c"{" and (
                not self.is_open and not self.is_value(p)
                or (number >= 0 or self.is_gap) and self.is_wanted_at(past)
            )
        ):
            is_beside = self.is_gap and self.group is not None
            self.flush(p)
            self.is_doubtful = True
            if is_beside:
                self.go_on()
            return self.open(p, self.shapes.spelled[number] if number >= 0 else None)
        self.mend_count = 0
        self.quote = self.unquote = NULL
        past = self.value(p)
        if past != NULL and not self.is_mixed(p):
            return past
        if past != NULL:
            self.at = past
        else:
            self.note_end()
        return self.inside(p)

    cdef bint is_mixed(self, const char* p) except -1:
        """Return whether a list begins with others than those that are looked for."""
        p = skip_blanks(p + 1, self.end)
        return p < self.end and p[0] == c"{" and not self.is_wanted_at(p)

    cdef const char* element_at(self, const char* p) except? NULL:
        """Take an element that is no object."""
        cdef const char* past
        cdef const char* end
        self.mend_count = 0
        self.quote = self.unquote = NULL
        self.found_count = 0
        self.bits = self.named = 0
        past = self.value(p)
        if past == NULL:
            return self.lose_at(p)
        end = skip_blanks(past, self.end)
        if self.is_doubtful or not self.is_followed(past) or (
            end < self.end and end[0] != c"," and end[0] != c"]"
        ):
            self.at = past
            return self.lose_at(p)
        self.keep(p, past)
        return past

    cdef const char* quote_at(self, const char* p) except? NULL:
        cdef const char* name = p + 1
        cdef const char* end
        cdef Outcome outcome
        cdef bint is_beside
        if self.lost == NULL:
            if self.is_open:
                return self.element_at(p)
            self.lost = p
        end = fm_quote_or_backslash(name, self.end)
        if not self.is_key(p) or find_hashed(
            &self.shapes.names.table, name, end - name, fm_hash(name, end - name, HASH_SEED)
        ) < 0:
            return p + 1
        self.mend_count = 0
        outcome = self.read(p, True)
        if outcome == OPENED:
            is_beside = self.is_gap and self.group is not None
            self.flush(p)
            self.take_members(self.pending)
            self.is_doubtful = True
            if is_beside:
                self.go_on()
            return self.open(self.at, self.shapes.spelled[self.opening])
        if outcome == DONE:
            end = self.at
            if self.group is not None and self.is_end(end) and not self.bits & self.shapes.own:
                self.flush(p)
                self.take_members(self.group.members)
                self.group = None
            return end
        return self.again(p)

    cdef const char* stray_at(self, const char* p) except? NULL:
        if self.is_open and p[0] != c"}" and p[0] != c":":
            return self.element_at(p)
        if self.is_open or self.group is None or p[0] != c"}":
            self.lost = p
        return p + 1

    cdef const char* closing_at(self, const char* p) except? NULL:
        """Take a bracket for the end of the list, if what follows lets it."""
        cdef bint is_certain = self.lost == NULL
        cdef const char* past = skip_blanks(p + 1, self.end)
        cdef Outcome outcome
        if self.group is None:
            if is_certain:
                self.lost = p
            return p + 1
        self.mend_count = 0
        self.found_count = 0
        self.bits = self.named = 0
        self.quote = self.unquote = NULL
        outcome = DONE
        self.at = past
        if past < self.end and past[0] == c"}":
            self.at = past + 1
        elif past < self.end and past[0] == c",":
            past = skip_separators(past, self.end)
            if past < self.end and past[0] == c'"':
                outcome = self.read(past, True)
        if outcome == OPENED:
            return self.list_beside(p)
        if (not is_certain or self.is_doubtful) and (
            outcome == FAILED or not self.is_end(self.at) or self.bits & self.shapes.own
            or (self.at - 1)[0] != c"}" and self.at < self.end
        ):
            if is_certain:
                self.lost = p
            return self.again(p)
        self.flush(p)
        self.is_open = False
        self.take_members(self.group.members)
        if outcome == FAILED:
            self.lost = past
            self.is_gap = True
            return self.again(p)
        self.group = None
        return self.at

    cdef const char* list_beside(self, const char* p) except? NULL:
        """Begin with another list of the same object, behind the bracket at p."""
        cdef const char* at = self.at
        cdef int number = self.opening
        cdef bint is_certain = self.lost == NULL
        cdef dict members = {}
        self.take_members(members)
        if (not is_certain or self.is_doubtful) and not self.is_wanted_at(
            skip_blanks(at + 1, self.end)
        ):
            if is_certain:
                self.lost = p
            return at
        self.flush(p)
        self.pending = members
        self.go_on()
        return self.open(at, self.shapes.spelled[number])


def recover(bytes text not None, Shapes shapes not None, Py_ssize_t limit):
    """Return what is whole in a text that was to be JSON, and what is not.

    It is an object, a list of objects, an object around such a list, or several of them.  What is
    whole is JSON; tokens whose meaning is plain are mended in it, and numbers that are none, as
    NaN, are null.  Nothing is ever put together of what did not lie together.

    The time is linear in the text's length, whatever it holds.

    :param shapes: what the objects look like.  Where nothing is damaged but tokens, objects that
        look otherwise are taken as well.
    :param limit: of elements, gaps and groups; of what comes after as many, nothing is said.
    :returns: the groups, in order, how many numbers became null, and whether something that is
        lost looks whole, but for a brace too many behind it.
    """
    cdef _Recovery recovery = _Recovery(shapes, text, limit)
    recovery.run()
    return recovery.groups, recovery.nulls, recovery.has_doubtful
