"""The values of expressions, and whether conditions hold."""

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from fastmap._buffer cimport Buffer
from fastmap._code cimport (
    AT_MOST, CONST, CONTAINS, CONVERTED, EQUALS_BOOLEAN, EQUALS_NUMBER, EQUALS_TEXT, EVERY, EXISTS,
    FILLED, FIRST, GREATER, HAS, IS_OBJECT, JOIN, LESS, LOOKUP, MATCHES, MORE_THAN, NOT, NOT_EMPTY,
    SOME, TEXT_FUNCTION, VALUE, Code, Node, Test,
)
from fastmap._convert cimport (
    NO_FAULT, TAKES_JSON, TO_BOOLEAN, TO_IP, TO_JSON, TO_NUMBER, TO_STRING, TO_TIME,
    TO_UNIQUE_ID, is_blank, is_hollow, is_json_text, is_number, is_string, is_truthy, number_of,
    numeric_value, put_boolean, put_ip, put_json, put_json_text, put_number, put_string,
    put_unique_id, text_of,
)
from fastmap._members cimport Members, value_of
from fastmap._memory cimport allocate
from fastmap._paths cimport Paths
from fastmap._scan cimport ABSENT, JSON, Slot, skip_space, skip_value, slot_of_token
from fastmap._times cimport put_time

cdef enum:
    ANY = 0xFE  # wildcards of a pattern; bytes that UTF-8 does not have
    ONE = 0xFF
    MAX_REMEMBERED = 1024  # bytes of an input that a derivation's memory keeps


@cython.final
cdef class Values:
    """What a program's expressions and conditions make of the event whose slots are filled."""

    def __cinit__(self, program, Code code, Paths paths):
        self.paths = paths
        self.slots = paths.slots
        self.code = code
        self.nodes = code.nodes
        self.tests = code.tests
        self.children = code.children
        self.scratch = Buffer()
        self.labels = tuple(program.labels)
        self.drops = <Drops*>allocate(len(self.labels), sizeof(Drops))
        self.derivations = tuple(program.derivations)
        self.functions = tuple(program.functions)
        self.memories = [{} for _ in self.derivations]

    def __dealloc__(self):
        free(self.drops)

    cdef void begin(self, int64_t received_ms, int64_t skew_ms) noexcept:
        """Turn to another event."""
        self.now.received_ms = received_ms
        self.now.skew_ms = skew_ms
        self.now.item = -1
        self.now.time_fault = NO_FAULT
        self.derived_slot = -1
        self.events += 1
        self.is_trial = False
        self.scratch.size = 0

    cdef void begin_item(self, int item) noexcept:
        """Turn to an item of an array that is expanded."""
        self.items += 1
        self.now.item = item
        self.derived_slot = -1

    cdef void end_items(self) noexcept:
        self.now.item = -1

    cdef dict dropped(self):
        """Return how many values could not be converted, by label."""
        return {
            label: self.drops[i].count
            for i, label in enumerate(self.labels)
            if self.drops[i].count
        }

    cdef int put(self, const Node* node, Buffer out) except -1:
        """Write the value of an expression; returns 0 when it has none."""
        cdef int i
        if node.kind == VALUE:
            return self._put_value(node, out)
        if node.kind == CONST:
            out.put(node.data, node.len)
            return 1
        if node.kind == FIRST:
            for i in range(node.first_child, node.first_child + node.children):
                if self.put(self.nodes + self.children[i], out):
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
        i = node.first_child if self.holds(self.tests + node.test) else node.first_child + 1
        if self.children[i] < 0:
            return 0
        return self.put(self.nodes + self.children[i], out)

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
            if not done and is_string(slot) and not node.flags & TAKES_JSON:
                return 0  # there is nothing to derive from it, so nothing of it is lost
        if done != 1 and node.label >= 0 and not is_blank(slot):
            self._count_drop(self.drops + node.label)
        return done

    cdef int _put_derived(self, const Node* node, const Slot* slot, Buffer out) except -1:
        """Write an output of a derivation, from memory where its input was seen before."""
        cdef dict memory
        cdef bytes text
        cdef tuple outputs
        cdef bytes output
        if is_hollow(slot) or not (is_string(slot) or node.flags & TAKES_JSON):
            return 0
        if node.slot >= 0 and self.derived_slot == node.slot \
                and self.derived_by == node.derivation:
            outputs = self.derived
        else:
            memory = <dict>self.memories[node.derivation]
            text = self._json_of(slot) if node.flags & TAKES_JSON else text_of(slot)
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

    cdef bytes _json_of(self, const Slot* slot):
        """Return the JSON of a value."""
        cdef Py_ssize_t mark = self.scratch.size
        cdef bytes text
        put_json(self.scratch, slot, 0)
        text = self.scratch.data[mark:self.scratch.size]
        self.scratch.size = mark
        return text

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
            if self.put(part, out):
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

    cdef bytes json_of(self, const Node* node):
        """Return the JSON of an expression's value, "" when it has none."""
        cdef Py_ssize_t mark = self.scratch.size
        cdef bytes text = b""
        if self.put(node, self.scratch):
            text = self.scratch.data[mark:self.scratch.size]
        self.scratch.size = mark
        return text

    cdef bint has(self, const Node* node) except -1:
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
        found = self.put(node, self.scratch) > 0
        self.is_trial = was_trial
        self.scratch.size = mark
        return found

    cdef bint holds(self, const Test* test) except -1:
        cdef Slot slot
        cdef bytes _alive
        cdef bint was_trial
        cdef int i
        if test.kind == HAS:
            return self.has(self.nodes + test.ref)
        if test.kind == NOT:
            return not self.holds(self.tests + self.children[test.first_child])
        if test.kind == EVERY or test.kind == SOME:
            for i in range(test.first_child, test.first_child + test.children):
                if self.holds(self.tests + self.children[i]) != (test.kind == EVERY):
                    return test.kind == SOME
            return test.kind == EVERY
        if test.kind == IS_OBJECT or test.kind == NOT_EMPTY or test.kind == MORE_THAN:
            return self._has_members(test)
        was_trial = self.is_trial
        self.is_trial = True
        _alive = self._evaluate(self.nodes + test.ref, &slot)
        self.is_trial = was_trial
        return compares(test, &slot)

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

    cdef bytes _evaluate(self, const Node* node, Slot* slot):
        """Fill a slot with the value of an expression; returns what keeps it alive."""
        cdef Py_ssize_t mark = self.scratch.size
        cdef bytes token
        if node.kind == VALUE and node.convert == TO_JSON and not node.flags:
            slot[0] = self.slots[node.slot]
            return b""
        slot.kind = ABSENT
        if not self.put(node, self.scratch):
            return b""
        token = self.scratch.data[mark:self.scratch.size]
        self.scratch.size = mark
        slot_of_token(slot, token, <const char*>token + len(token))
        return token

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


cdef bint compares(const Test* test, const Slot* slot) except -1:
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


cdef bint equals_text(const Slot* slot, const char* text, Py_ssize_t length) except -1:
    """Whether a value is the string with this text."""
    cdef bytes plain
    if not is_string(slot):
        return False
    if slot.escaped:
        plain = text_of(slot)
        return len(plain) == length and memcmp(<const char*>plain, text, length) == 0
    return slot.len == length and memcmp(slot.ptr, text, length) == 0


cdef bint contains_text(const Slot* slot, const char* text, Py_ssize_t length) except -1:
    """Whether a string holds a text, or a list a string that equals it."""
    cdef Slot item
    cdef const char* p
    cdef const char* end
    cdef const char* start
    if is_string(slot):
        return text[:length] in text_of(slot)
    if slot.kind != JSON or slot.first != c"[":
        return False
    end = slot.ptr + slot.len
    p = skip_space(slot.ptr + 1, end)
    while p < end and p[0] != c"]":
        start = p
        p = skip_value(p, end)
        if p == NULL:
            return False
        slot_of_token(&item, start, p)
        if equals_text(&item, text, length):
            return True
        p = skip_space(p, end)
        if p < end and p[0] == c",":
            p = skip_space(p + 1, end)
    return False


cdef inline const char* next_character(const char* p, const char* end) noexcept nogil:
    p += 1
    while p < end and (p[0] & 0xC0) == 0x80:
        p += 1
    return p


cdef bint matches_pattern(const Slot* slot, const char* pattern, Py_ssize_t length) except -1:
    """Whether the whole of a string matches; the wildcards are the bytes ANY and ONE."""
    cdef bytes plain
    cdef const char* p
    cdef const char* end
    cdef const char* pattern_end = pattern + length
    cdef const char* star = NULL  # the last ANY, and how far it has been tried
    cdef const char* tried = NULL
    if not is_string(slot):
        return False
    plain = text_of(slot)
    p = plain
    end = p + len(plain)
    while p < end:
        if pattern < pattern_end and <unsigned char>pattern[0] == ANY:
            star = pattern
            tried = p
            pattern += 1
        elif pattern < pattern_end and <unsigned char>pattern[0] == ONE:
            pattern += 1
            p = next_character(p, end)
        elif pattern < pattern_end and pattern[0] == p[0]:
            pattern += 1
            p += 1
        elif star != NULL:
            tried = next_character(tried, end)
            p = tried
            pattern = star + 1
        else:
            return False
    while pattern < pattern_end and <unsigned char>pattern[0] == ANY:
        pattern += 1
    return pattern == pattern_end
