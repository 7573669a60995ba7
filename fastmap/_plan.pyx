"""Running a compiled mapping: the slots are found, then the records are written."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memset

from fastmap._buffer cimport Buffer
from fastmap._code cimport (
    AT_MOST, CONST, CONTAINS, CONVERTED, EQUALS_BOOLEAN, EQUALS_NUMBER, EQUALS_TEXT, EVERY, EXISTS,
    FILLED, FIRST, GREATER, HAS, IS_OBJECT, JOIN, LESS, LOOKUP, MATCHES, MORE_THAN, NOT, NOT_EMPTY,
    OBJECT, SOME, SPREAD, STRETCH, TEXT_FUNCTION, VALUE, Branch, Code, Node, Op, Part, Shape, Test,
)
from fastmap._convert cimport (
    TO_BOOLEAN, TO_IP, TO_JSON, TO_NUMBER, TO_STRING, TO_TIME, TO_UNIQUE_ID, Run, contains_text,
    equals_text, is_blank, is_number, is_string, is_truthy, matches_pattern, number_of,
    numeric_value, put_boolean, put_ip, put_json, put_number, put_string, put_time, put_unique_id,
    text_of,
)
from fastmap._inputs cimport Input
from fastmap._members cimport Member, Members, key_end, value_of
from fastmap._memory cimport allocate, enlarge
from fastmap._outputs cimport Outputs
from fastmap._paths cimport Paths
from fastmap._scan cimport (
    ABSENT, JSON, Slot, find_hashed, skip_space, skip_value, slot_of_token,
)

from fastmap.errors import MalformedInput

cdef enum:
    MAX_ITEMS = 1000                 # records that one array can become
    MAX_EXPANDED = 32 * 1024 * 1024  # bytes in a buffer beyond which arrays are not expanded
    MAX_REMEMBERED = 1024            # bytes of an input that a derivation's memory keeps
    MAX_FRAGMENT = 8192              # bytes of a stretch of fields that are kept
    OMITTED = -2

cdef inline bint is_json_text(const Slot* slot) noexcept:
    """Whether a slot holds a string, other than "", as it was sent."""
    return slot.kind == JSON and slot.first == c'"' and slot.len


cdef inline int put_json_text(Buffer out, const Slot* slot) except -1:
    out.put(slot.ptr - 1, slot.len + 2)  # with its quotes
    return 1


@cython.final
cdef class Plan:
    """A mapping ready to run.  Not for use by two threads at once.

    :param program: what ``fastmap.compiler.compile_mapping`` made of a mapping or a choice.
    """

    def __cinit__(self, program):
        self.code = Code(program)
        self.paths = Paths(program)
        self.scratch = Buffer()
        self.slots = self.paths.slots
        self.inputs = self.paths.inputs.items
        self.nodes = self.code.nodes
        self.ops = self.code.ops
        self.shapes = self.code.shapes
        self.tests = self.code.tests
        self.children = self.code.children
        self.labels = tuple(program.labels)
        self.derivations = tuple(program.derivations)
        self.functions = tuple(program.functions)
        self.unmatched = program.unmatched
        self.memories = [{} for _ in self.derivations]
        self.written = <uint8_t*>allocate(self.code.written, 1)
        self.drops = <Drops*>allocate(len(self.labels), sizeof(Drops))
        self.fragments = <Fragment*>allocate(self.code.stretch_count, sizeof(Fragment))
        self.fragment_count = self.code.stretch_count

    def __dealloc__(self):
        cdef Py_ssize_t i
        # Nothing of the code is left when a garbage collection ends both.
        for i in range(self.fragment_count):
            free(self.fragments[i].data)
        free(self.fragments)
        free(self.written)
        free(self.drops)

    def run(self, event, outputs, int64_t received_ms, int64_t skew_ms=0):
        """Write the records of one event.

        :param event: an object with an attribute for each input: None, a str, a number, or raw JSON
            (anything with the buffer protocol; empty means absent).
        :param outputs: the buffers that ``Record.output`` counts in.
        :param received_ms: time of receipt, epoch milliseconds.
        :param skew_ms: added to times of the input, for clients whose clock is wrong.
        :returns: how many records were written, or the reason why the event was skipped or
            rejected; then nothing was written.
        :raises MalformedInput: an input is not JSON or not Unicode text; nothing was written.
        """
        cdef int records = self.write(event, Outputs(outputs), received_ms, skew_ms)
        return records if self.reason is None else self.reason

    cdef int write(
        self, event, Outputs outputs, int64_t received_ms, int64_t skew_ms
    ) except -1:
        """Write the records of one event; returns how many, and notes the reason when none may be."""
        cdef int records = 0
        cdef bint is_done = False
        if outputs.count < self.code.output_count:
            raise IndexError(f"expected {self.code.output_count} outputs (got {outputs.count})")
        outputs.mark()
        self.now.received_ms = received_ms
        self.now.skew_ms = skew_ms
        self.now.item = -1
        self.derived_slot = -1
        self.events += 1
        self.is_trial = False
        self.scratch.size = 0
        try:
            self.paths.load(event)
            self.reason = self._write(outputs, &records)
            is_done = self.reason is None
        finally:
            self.paths.inputs.release()
            if not is_done:
                outputs.rewind()
        return records if is_done else 0

    def dropped(self):
        """Return how many values could not be converted, by label.

        A value that is written to several places counts once for the event, or for the item.
        """
        return {
            label: self.drops[i].count
            for i, label in enumerate(self.labels)
            if self.drops[i].count
        }

    cdef str _write(self, Outputs outputs, int* records):
        """Write the records; returns the reason why there must be none."""
        cdef Py_ssize_t i
        cdef bint is_matched = False
        cdef const Branch* branch
        cdef str reason
        for i in range(self.code.skip_count):
            if self._holds(self.tests + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(self.code.branch_count):
            branch = self.code.branches + i
            if branch.test >= 0 and not self._holds(self.tests + branch.test):
                continue
            is_matched = True
            reason = self._write_branch(branch, outputs, records)
            if reason is not None:
                return reason
        return None if is_matched else self.unmatched

    cdef str _write_branch(self, const Branch* branch, Outputs outputs, int* records):
        """Write what one mapping makes of the event; returns the reason of a rejection."""
        cdef Py_ssize_t i
        cdef const Part* part
        for i in range(branch.first_require, branch.first_require + branch.requires):
            if not self._has(self.nodes + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(branch.first_reject, branch.first_reject + branch.rejects):
            if self._holds(self.tests + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(branch.first_part, branch.first_part + branch.parts):
            part = self.code.parts + i
            if part.when >= 0 and not self._holds(self.tests + part.when):
                continue
            if part.each < 0:
                records[0] += self._put_record(outputs.buffer(part.output), part.shape)
            elif not self._put_items(outputs.buffer(part.output), part, records):
                return "too_many_items"
        return None

    cdef bint _has(self, const Node* node) except -1:
        cdef Py_ssize_t mark = self.scratch.size
        cdef bint was_trial = self.is_trial
        cdef bint found
        cdef const Slot* slot
        if node.kind == VALUE and node.convert != TO_TIME:
            slot = self.slots + node.slot
            if slot.kind == ABSENT:
                return False
            if node.is_plain_string and is_string(slot) and slot.len:
                return True
        self.is_trial = True
        found = self._put(node, self.scratch) > 0
        self.is_trial = was_trial
        self.scratch.size = mark
        return found

    cdef bytes _evaluate(self, const Node* node, Slot* slot):
        """Fill a slot with the value of an expression; returns what keeps it alive."""
        cdef Py_ssize_t mark = self.scratch.size
        cdef bytes token
        if node.kind == VALUE and node.convert == TO_JSON and not node.flags:
            slot[0] = self.slots[node.slot]
            return b""
        slot.kind = ABSENT
        if not self._put(node, self.scratch):
            return b""
        token = self.scratch.data[mark:self.scratch.size]
        self.scratch.size = mark
        slot_of_token(slot, token, <const char*>token + len(token))
        return token

    cdef bint _holds(self, const Test* test) except -1:
        cdef Slot slot
        cdef bytes _alive
        cdef bint was_trial
        cdef int i
        if test.kind == HAS:
            return self._has(self.nodes + test.ref)
        if test.kind == NOT:
            return not self._holds(self.tests + self.children[test.first_child])
        if test.kind == EVERY or test.kind == SOME:
            for i in range(test.first_child, test.first_child + test.children):
                if self._holds(self.tests + self.children[i]) != (test.kind == EVERY):
                    return test.kind == SOME
            return test.kind == EVERY
        if test.kind == IS_OBJECT or test.kind == NOT_EMPTY or test.kind == MORE_THAN:
            return self._has_members(test)
        was_trial = self.is_trial
        self.is_trial = True
        _alive = self._evaluate(self.nodes + test.ref, &slot)
        self.is_trial = was_trial
        return self._compares(test, &slot)

    cdef bint _has_members(self, const Test* test) except -1:
        cdef const Slot* slot = self.slots + test.ref
        cdef const char* p
        cdef Members members
        cdef Py_ssize_t i, count = 0
        if slot.kind != JSON or slot.first != c"{":
            return False
        if test.kind == IS_OBJECT:
            return True
        if test.kind == NOT_EMPTY:
            p = skip_space(slot.ptr + 1, slot.ptr + slot.len)
            return p < slot.ptr + slot.len and p[0] != c"}"
        members = self.paths.members_of(test.ref)
        members.skip_repeated()
        for i in range(members.count):
            count += not members.items[i].is_repeated
        return count > test.number

    cdef bint _compares(self, const Test* test, const Slot* slot) except -1:
        """Whether a condition on one value holds."""
        cdef double number
        if test.kind == EXISTS:
            return slot.kind != ABSENT and not (slot.kind == JSON and slot.first == c"n")
        if test.kind == FILLED:
            return is_truthy(slot)
        if test.kind == EQUALS_TEXT:
            return equals_text(slot, test.text, test.len)
        if test.kind == CONTAINS:
            return contains_text(slot, test.text, test.len)
        if test.kind == MATCHES:
            return matches_pattern(slot, test.text, test.len)
        if test.kind == EQUALS_BOOLEAN:
            return slot.kind == JSON and slot.first == (c"t" if test.number else c"f")
        if test.kind == EQUALS_NUMBER:
            return is_number(slot) and number_of(slot) == test.number
        number = numeric_value(slot)  # NaN compares false with everything
        if test.kind == LESS:
            return number < test.number
        if test.kind == AT_MOST:
            return number <= test.number
        if test.kind == GREATER:
            return number > test.number
        return number >= test.number

    cdef int _put_record(self, Buffer out, int shape) except -1:
        cdef Py_ssize_t start = out.size
        cdef char* newline
        self._put_object(out, self.shapes + shape)
        # A raw newline can only be white space between tokens; in a line-delimited file it would
        # cut the record in two.
        newline = <char*>memchr(out.data + start, c"\n", out.size - start)
        while newline != NULL:
            newline[0] = c" "
            newline = <char*>memchr(newline, c"\n", out.data + out.size - newline)
        out.put_byte(c"\n")
        out.records += 1
        return 1

    cdef bint _put_items(self, Buffer out, const Part* part, int* records) except -1:
        """Write a record for each object of an array; an object alone is an array of one.

        Returns False when they would be too many or too large.
        """
        cdef Slot array = self.slots[part.each]
        cdef const char* p = array.ptr
        cdef const char* end = array.ptr + array.len
        cdef const char* start
        cdef int item = 0
        if array.kind != JSON or (array.first != c"[" and array.first != c"{"):
            return True
        if array.first == c"[":
            p = skip_space(p + 1, end)
        while p < end and p[0] != c"]":
            start = p
            if p[0] == c"{":
                if item >= MAX_ITEMS or out.size > MAX_EXPANDED:
                    return False
                p = self._put_item(out, part, item, p, end)
                records[0] += 1
            else:
                p = skip_value(start, end)
            if p == NULL:
                raise MalformedInput("an array that is expanded is not JSON")
            item += 1
            p = skip_space(p, end)
            if p < end and p[0] == c",":
                p = skip_space(p + 1, end)
        return True

    cdef const char* _put_item(
        self, Buffer out, const Part* part, int item, const char* p, const char* end
    ) except? NULL:
        cdef const char* stop = self.paths.load_item(p, end)
        if stop == NULL:
            return NULL
        self.items += 1
        self.now.item = item
        self.derived_slot = -1
        self._put_record(out, part.shape)
        self.now.item = -1
        self.paths.forget_item()
        return stop

    cdef int _put_object(self, Buffer out, const Shape* shape) except -1:
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
                self._put_object(out, self.shapes + op.ref)
            elif not self._put(self.nodes + op.ref, out):
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
        self.has_dropped = False
        self._put_ops(out, first, first + op.fields, written, start)
        if is_whole and not self.has_dropped and out.size - mark < MAX_FRAGMENT:
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

    cdef int _put(self, const Node* node, Buffer out) except -1:
        """Write the value of an expression; returns 0 when it has none."""
        cdef int i
        if node.kind == VALUE:
            return self._put_value(node, out)
        if node.kind == CONST:
            out.put(node.data, node.len)
            return 1
        if node.kind == FIRST:
            for i in range(node.first_child, node.first_child + node.children):
                if self._put(self.nodes + self.children[i], out):
                    return 1
            return 0
        if node.kind == JOIN:
            return self._put_join(node, out)
        if node.kind == LOOKUP:
            return self._put_lookup(node, out)
        if node.kind == CONVERTED:
            return self._put_converted(node, out)
        if node.kind == TEXT_FUNCTION:
            return self._put_text(node, out)
        i = node.first_child if self._holds(self.tests + node.test) else node.first_child + 1
        if self.children[i] < 0:
            return 0
        return self._put(self.nodes + self.children[i], out)

    cdef int _put_converted(self, const Node* node, Buffer out) except -1:
        cdef Slot slot
        cdef bytes _alive = self._evaluate(self.nodes + self.children[node.first_child], &slot)
        return self._convert(node, &slot, out)

    cdef int _put_text(self, const Node* node, Buffer out) except -1:
        """Write a text that a Python function changed; anything else as it is."""
        cdef Slot slot
        cdef bytes _alive = self._evaluate(self.nodes + self.children[node.first_child], &slot)
        cdef bytes changed
        if not is_string(&slot):
            return put_json(out, &slot, 0)
        text = text_of(&slot).decode("utf-8", "replace")
        changed = self.functions[node.function](text).encode()
        out.put_byte(c'"')
        out.put_escaped(changed, len(changed))
        out.put_byte(c'"')
        return 1

    cdef int _put_value(self, const Node* node, Buffer out) except -1:
        return self._convert(node, self.slots + node.slot, out)

    cdef int _convert(self, const Node* node, const Slot* slot, Buffer out) except -1:
        """Write a value as a node wants it; returns 0 when it has none for it."""
        cdef int done
        if slot.kind == ABSENT and node.convert != TO_TIME:
            return 0
        if node.is_plain_string and is_json_text(slot):
            return put_json_text(out, slot)
        if node.convert == TO_STRING:
            done = put_string(out, slot, node.flags, node.none_of, node.one_of)
        elif node.convert == TO_JSON:
            return put_json(out, slot, node.flags)
        elif node.convert == TO_NUMBER:
            done = put_number(out, slot)
        elif node.convert == TO_BOOLEAN:
            done = put_boolean(out, slot)
        elif node.convert == TO_TIME:
            done = put_time(out, slot, &self.now)
        elif node.convert == TO_UNIQUE_ID:
            done = put_unique_id(out, slot, &self.now, node.none_of)
        elif node.convert == TO_IP:
            done = put_ip(out, slot)
        else:
            done = self._put_derived(node, slot, out)
            if not done and is_string(slot):
                return 0  # there is nothing to derive from it, so nothing of it is lost
        if done != 1 and node.label >= 0 and not is_blank(slot):
            self._count_drop(self.drops + node.label)
        return done

    cdef int _count_drop(self, Drops* drops) noexcept:
        if self.is_trial:
            return 0
        self.has_dropped = True
        if self.now.item >= 0:
            drops.count += drops.item != self.items
            drops.item = self.items
        else:
            drops.count += drops.event != self.events
            drops.event = self.events
        return 0

    cdef int _put_derived(self, const Node* node, const Slot* slot, Buffer out) except -1:
        """Write an output of a derivation, from memory where its input was seen before."""
        cdef dict memory
        cdef bytes text
        cdef tuple outputs
        cdef bytes output
        if is_blank(slot) or (slot.kind == JSON and slot.first != c'"'):
            return 0
        if node.slot >= 0 and self.derived_slot == node.slot \
                and self.derived_by == node.derivation:
            outputs = self.derived
        else:
            memory = <dict>self.memories[node.derivation]
            text = text_of(slot)
            outputs = <tuple>memory.get(text)
            if outputs is None:
                outputs = self._derive(node.derivation, text)
                if len(text) <= MAX_REMEMBERED:
                    memory[text] = outputs
            self.derived_slot = node.slot
            self.derived_by = node.derivation
            self.derived = outputs
        output = <bytes>outputs[node.output]
        if output is None:
            return 0
        out.put_byte(c'"')
        out.put_escaped(output, len(output))
        out.put_byte(c'"')
        return 1

    cdef tuple _derive(self, int number, bytes text):
        derivation = self.derivations[number]
        if len(<dict>self.memories[number]) >= derivation.remembered:
            self.memories[number].clear()
        outputs = derivation.function(text.decode("utf-8", "replace"))
        return tuple([None if output is None else output.encode() for output in outputs])

    cdef int _put_join(self, const Node* node, Buffer out) except -1:
        cdef Py_ssize_t mark = out.size
        cdef Py_ssize_t before
        cdef const Node* part
        cdef int i
        out.put_byte(c'"')
        for i in range(node.first_child, node.first_child + node.children):
            part = self.nodes + self.children[i]
            if part.kind == CONST:
                out.put(part.data, part.len)
                continue
            before = out.size
            if self._put(part, out):
                # The string was written with its quotes: take them off.
                self._strip_quotes(out, before)
            elif node.every:
                out.size = mark
                return 0
        out.put_byte(c'"')
        return 1

    cdef int _strip_quotes(self, Buffer out, Py_ssize_t start) except -1:
        cdef Py_ssize_t i
        for i in range(start, out.size - 2):
            out.data[i] = out.data[i + 1]
        out.size -= 2
        return 0

    cdef int _put_lookup(self, const Node* node, Buffer out) except -1:
        """Write the last member of an object whose key is the text of an expression."""
        cdef const Slot* slot = self.slots + node.slot
        cdef Slot key, found
        cdef bytes _alive, wanted
        cdef Members members
        cdef Py_ssize_t i
        found.kind = ABSENT
        if slot.kind != JSON or slot.first != c"{":
            return 0
        _alive = self._evaluate(self.nodes + self.children[node.first_child], &key)
        if not is_string(&key):
            return 0
        wanted = text_of(&key)
        members = self.paths.members_of(node.slot)
        for i in range(members.count):
            if members.items[i].key_len == len(wanted) \
                    and memcmp(members.items[i].key, <const char*>wanted, len(wanted)) == 0:
                value_of(&members.items[i], &found)
        return put_json(out, &found, node.flags)

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
                self.drops[op.label].count += 1
        return 0
