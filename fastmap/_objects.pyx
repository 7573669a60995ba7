"""Writing objects: the fields that have a value, and the members of others."""

cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcpy, memset

from fastmap._buffer cimport Buffer
from fastmap._code cimport OBJECT, SPREAD, STRETCH, Code, Op, Shape
from fastmap._convert cimport is_blank, is_json_text, put_json_text, put_number
from fastmap._members cimport Member, Members, key_end, value_of
from fastmap._memory cimport allocate, enlarge
from fastmap._paths cimport Paths
from fastmap._scan cimport ABSENT, JSON, Slot, find_hashed
from fastmap._values cimport Values

cdef enum:
    MAX_FRAGMENT = 8192  # bytes of a stretch of fields that are kept
    OMITTED = -2


@cython.final
cdef class Objects:
    """Writes the objects of a program."""

    def __cinit__(self, Code code, Paths paths, Values values):
        self.values = values
        self.paths = paths
        self.slots = paths.slots
        self.inputs = paths.inputs.items
        self.code = code
        self.nodes = code.nodes
        self.ops = code.ops
        self.shapes = code.shapes
        self.written = <uint8_t*>allocate(code.written, 1)
        self.fragments = <Fragment*>allocate(code.stretch_count, sizeof(Fragment))
        self.fragment_count = code.stretch_count

    def __dealloc__(self):
        cdef Py_ssize_t i
        # Nothing of the code is left when a garbage collection ends both.
        for i in range(self.fragment_count):
            free(self.fragments[i].data)
        free(self.fragments)
        free(self.written)

    cdef int put(self, Buffer out, int number) except -1:
        """Write an object; its shape is given by number."""
        cdef const Shape* shape = self.shapes + number
        cdef uint8_t* written = self.written + shape.first_written
        memset(written, 0, shape.keys)
        out.put_byte(c"{")
        self._put_ops(out, shape.first_op, shape.first_op + shape.ops, written, out.size)
        out.put_byte(c"}")
        return 0

    cdef int _put_ops(
        self, Buffer out, int first, int last, uint8_t* written, Py_ssize_t start
    ) except -1:
        """Do some operations of an object whose first member is or will be at start."""
        cdef const Op* op
        cdef Py_ssize_t mark
        while first < last:
            op = self.ops + first
            first += 1
            if op.kind == STRETCH:
                self._put_stretch(out, op, first, written, start)
                first += op.fields
                continue
            if op.kind == SPREAD:
                self._put_members(out, op, written, start)
                continue
            if written[op.key]:
                continue
            # Most fields are absent from most events: see that before anything is written.
            if op.slot >= 0 and self.slots[op.slot].kind == ABSENT:
                continue
            mark = out.size
            if mark != start:
                out.put_padded(op.prefix, op.prefix_len)
            else:
                out.put_padded(op.prefix + 1, op.prefix_len - 1)
            if op.is_plain_string and is_json_text(self.slots + op.slot):
                put_json_text(out, self.slots + op.slot)
            elif op.kind == OBJECT:
                self.put(out, op.ref)
            elif not self.values.put(self.nodes + op.ref, out):
                out.size = mark
                continue
            written[op.key] = 1
        return 0

    cdef int _put_stretch(
        self, Buffer out, const Op* op, int first, uint8_t* written, Py_ssize_t start
    ) except -1:
        """Write the fields of a stretch, as before when nothing that they read has changed.

        Nothing is kept, or taken from there, where a field is left out because its key is written
        already, or where a value could not be converted: that has to be counted each time.
        """
        cdef Fragment* fragment = self.fragments + op.ref
        cdef bint is_whole = memchr(written + op.key, 1, op.fields) == NULL
        cdef Py_ssize_t mark = out.size
        if is_whole and self._is_current(op, fragment):
            if fragment.len and mark == start:
                out.put(fragment.data + 1, fragment.len - 1)
            elif fragment.len:
                out.put(fragment.data, fragment.len)
            return 0
        self.values.has_dropped = False
        self._put_ops(out, first, first + op.fields, written, start)
        if is_whole and not self.values.has_dropped and out.size - mark < MAX_FRAGMENT:
            self._keep(fragment, out, mark, start)
        return 0

    cdef bint _is_current(self, const Op* op, const Fragment* fragment) noexcept:
        """Whether no input of a stretch has changed since it was kept."""
        cdef int i
        for i in range(op.first_input, op.first_input + op.inputs):
            if self.inputs[self.code.inputs[i]].changed > fragment.event:
                return False
        return fragment.event > 0

    cdef int _keep(
        self, Fragment* fragment, Buffer out, Py_ssize_t mark, Py_ssize_t start
    ) except -1:
        """Keep the fields that were written since mark."""
        cdef Py_ssize_t length = out.size - mark
        fragment.event = 0
        fragment.len = 0
        if length:
            if fragment.capacity <= length:
                fragment.data = <char*>enlarge(fragment.data, 2 * length + 1, 1)
                fragment.capacity = 2 * length + 1
            if mark == start:  # the first member came without its comma
                fragment.data[0] = c","
                fragment.len = 1
            memcpy(fragment.data + fragment.len, out.data + mark, length)
            fragment.len += length
        fragment.event = self.paths.inputs.events
        return 0

    cdef int _put_members(
        self, Buffer out, const Op* op, uint8_t* written, Py_ssize_t start
    ) except -1:
        """Copy the members of an object, but for omitted, written and repeated keys.

        Neighbours are copied together, with the white space and commas between them.
        """
        cdef const Slot* slot = self.slots + op.ref
        cdef Members members
        cdef const Member* member
        cdef const Member* last
        cdef const char* first = NULL  # of the neighbours that are to be copied
        cdef int known
        if slot.kind != JSON or slot.first != c"{":
            return 0
        members = self.paths.members_of(op.ref)
        members.skip_repeated()
        if members.count > self.most_members:
            self.most_members = members.count
        if members.largest > self.largest_value:
            self.largest_value = members.largest
        if op.is_number:
            return self._put_numbers(out, op, members, written, start)
        member = members.items
        last = member + members.count
        while member < last:
            known = find_hashed(op.known, member.key, member.key_len, member.hash)
            if member.is_repeated or known == OMITTED or (known >= 0 and written[known]):
                if first != NULL:
                    self._put_neighbours(out, first, (member - 1).end, start)
                    first = NULL
            else:
                if first == NULL:
                    first = member.start
                if known >= 0:
                    written[known] = 1
            member += 1
        if first != NULL:
            self._put_neighbours(out, first, (member - 1).end, start)
        return 0

    cdef int _put_neighbours(
        self, Buffer out, const char* first, const char* end, Py_ssize_t start
    ) except -1:
        if out.size != start:
            out.put_byte(c",")
        return out.put(first, end - first)

    cdef int _put_numbers(
        self, Buffer out, const Op* op, Members members, uint8_t* written, Py_ssize_t start
    ) except -1:
        """Copy members whose values are numbers, but for omitted, written and repeated keys."""
        cdef Slot slot
        cdef Py_ssize_t i, mark
        cdef const Member* member
        cdef int known
        for i in range(members.count):
            member = members.items + i
            known = find_hashed(op.known, member.key, member.key_len, member.hash)
            if member.is_repeated or known == OMITTED or (known >= 0 and written[known]):
                continue
            value_of(member, &slot)
            mark = out.size
            if mark != start:
                out.put_byte(c",")
            out.put(member.start, key_end(member) - member.start)
            out.put_byte(c":")
            if put_number(out, &slot):
                if known >= 0:
                    written[known] = 1
                continue
            out.size = mark
            if op.label >= 0 and not is_blank(&slot):
                self.values.drops[op.label].count += 1
        return 0
