"""Running a compiled mapping: find the slots, then write the records."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memset

from fastmap._buffer cimport Buffer
from fastmap._convert cimport (
    TO_BOOLEAN, TO_DERIVED, TO_IP, TO_JSON, TO_NUMBER, TO_STRING, TO_TIME, TO_UNIQUE_ID,
    Conversion, Run, Word, Words, is_blank, put_boolean, put_ip, put_json, put_number, put_string,
    put_text, put_time, put_unique_id, text_of,
)
from fastmap._scan cimport (
    ABSENT, HASH_SEED, JSON, TEXT, KeyTable, Member, Slot, Table, find_hashed, fm_hash, skip_space,
    skip_value, slot_of_token, string_end, unescape,
)

from fastmap.errors import MalformedInput

cdef enum:
    MAX_ITEMS = 1000                # records that one array can become
    MAX_OUTPUT = 8 * 1024 * 1024    # bytes that one event can become
    FEW_MEMBERS = 8                 # compared pair by pair; more go through a table
    OMITTED = -2

cdef enum NodeKind:
    VALUE = 0
    CONST = 1
    FIRST = 2
    JOIN = 3
    LOOKUP = 4

cdef enum OpKind:
    FIELD = 0
    OBJECT = 1
    SPREAD = 2

cdef enum Condition:
    HAS = 0
    IS_OBJECT = 1
    NOT_EMPTY = 2

cdef struct Place:
    const Table* members  # NULL when no path goes further
    int first_member      # offset into Plan.targets
    int slot
    int first
    int last

cdef struct Node:
    NodeKind kind
    int slot
    Conversion convert
    int flags
    const Words* none_of
    const Words* one_of
    int derivation
    int output
    int first_child
    int children
    const char* data
    Py_ssize_t len
    bint every
    int label

cdef struct Op:
    OpKind kind
    int key
    const char* prefix
    Py_ssize_t prefix_len
    int ref
    const Table* known

cdef struct Shape:
    int keys
    int first_written  # offset into Plan.written
    int first_op
    int ops

cdef struct Part:
    int output
    int shape
    int first_condition
    int conditions
    int each

cdef struct Test:
    Condition kind
    int ref


cdef void* allocate(Py_ssize_t count, Py_ssize_t size) except NULL:
    cdef void* memory = calloc(count + 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


@cython.final
cdef class Plan:
    """A mapping ready to run.  Not for use by two threads at once.

    :param program: what ``fastmap.compiler.compile_mapping`` made of the mapping.
    """

    cdef Place* places
    cdef int* targets
    cdef Slot* slots
    cdef Node* nodes
    cdef int* children
    cdef Op* ops
    cdef Shape* shapes
    cdef Part* parts
    cdef Test* tests
    cdef Words* words
    cdef Word* all_words
    cdef uint8_t* written
    cdef uint64_t* drops
    cdef int* roots
    cdef int* required
    cdef Py_buffer* views
    cdef uint8_t* viewed
    cdef Member* members
    cdef Py_ssize_t members_capacity
    cdef int* index
    cdef Py_ssize_t index_capacity
    cdef Py_ssize_t slot_count, root_count, part_count, required_count, item_root
    cdef tuple inputs, reasons, labels, derivations
    cdef list memories, found, held, alive
    cdef bytearray arena
    cdef Buffer scratch
    cdef Run now

    def __cinit__(self, program):
        self.alive = []
        self.scratch = Buffer()
        self.arena = bytearray(256)
        self.inputs = tuple(program.inputs)
        self.labels = tuple(program.labels)
        self.derivations = tuple(program.derivations)
        self.memories = [{} for _ in self.derivations]
        self.found = [None] * len(self.derivations)
        self.held = [None] * len(self.inputs)
        self.slot_count = program.slots
        self.root_count = len(self.inputs)
        self.item_root = program.item_root
        self.slots = <Slot*>allocate(program.slots, sizeof(Slot))
        self.views = <Py_buffer*>allocate(self.root_count, sizeof(Py_buffer))
        self.viewed = <uint8_t*>allocate(self.root_count, 1)
        self.drops = <uint64_t*>allocate(len(self.labels), sizeof(uint64_t))
        self._build_places(program)
        self._build_nodes(program)
        self._build_shapes(program)
        self._build_parts(program)

    def __dealloc__(self):
        free(self.places)
        free(self.targets)
        free(self.slots)
        free(self.nodes)
        free(self.children)
        free(self.ops)
        free(self.shapes)
        free(self.parts)
        free(self.tests)
        free(self.words)
        free(self.all_words)
        free(self.written)
        free(self.drops)
        free(self.roots)
        free(self.required)
        free(self.views)
        free(self.viewed)
        free(self.members)
        free(self.index)

    cdef const Table* _table(self, dict numbers) except NULL:
        cdef KeyTable table = KeyTable(numbers)
        self.alive.append(table)
        return &table.table

    cdef const char* _keep(self, bytes data) except NULL:
        self.alive.append(data)
        return data

    cdef int _build_places(self, program) except -1:
        cdef Py_ssize_t i, target
        cdef list targets = []
        self.places = <Place*>allocate(len(program.places), sizeof(Place))
        for i, place in enumerate(program.places):
            self.places[i].slot = place.slot
            self.places[i].first = place.first
            self.places[i].last = place.last
            self.places[i].members = NULL
            if place.members:
                self.places[i].first_member = len(targets)
                self.places[i].members = self._table(
                    {key: number for number, key in enumerate(place.members)}
                )
                targets.extend(place.members.values())
        self.targets = <int*>allocate(len(targets), sizeof(int))
        for i, target in enumerate(targets):
            self.targets[i] = target
        self.roots = <int*>allocate(len(program.roots), sizeof(int))
        for i, target in enumerate(program.roots):
            self.roots[i] = target
        return 0

    cdef int _build_words(self, program) except -1:
        cdef Py_ssize_t i, next_word = 0
        cdef bytes word
        self.words = <Words*>allocate(len(program.words), sizeof(Words))
        self.all_words = <Word*>allocate(sum(map(len, program.words)), sizeof(Word))
        for i, words in enumerate(program.words):
            self.words[i].count = len(words)
            self.words[i].words = self.all_words + next_word
            for word in words:
                self.all_words[next_word].text = self._keep(word)
                self.all_words[next_word].len = len(word)
                next_word += 1
        return 0

    cdef int _build_nodes(self, program) except -1:
        cdef Py_ssize_t i
        cdef int child
        cdef Node* node
        cdef list children = []
        self._build_words(program)
        self.nodes = <Node*>allocate(len(program.nodes), sizeof(Node))
        for i, given in enumerate(program.nodes):
            node = self.nodes + i
            node.kind = <NodeKind><int>given.kind
            node.slot = given.slot
            node.convert = <Conversion><int>given.convert
            node.flags = given.flags
            node.none_of = NULL if given.none_of < 0 else self.words + <int>given.none_of
            node.one_of = NULL if given.one_of < 0 else self.words + <int>given.one_of
            node.derivation = given.derivation
            node.output = given.output
            node.first_child = len(children)
            node.children = len(given.children)
            children.extend(given.children)
            node.data = self._keep(given.data)
            node.len = len(given.data)
            node.every = given.every
            node.label = given.label
        self.children = <int*>allocate(len(children), sizeof(int))
        for i, child in enumerate(children):
            self.children[i] = child
        return 0

    cdef int _build_shapes(self, program) except -1:
        cdef Py_ssize_t i
        cdef int next_op = 0, next_written = 0
        cdef Op* op
        self.shapes = <Shape*>allocate(len(program.shapes), sizeof(Shape))
        self.ops = <Op*>allocate(sum(len(shape.ops) for shape in program.shapes), sizeof(Op))
        for i, shape in enumerate(program.shapes):
            self.shapes[i].keys = shape.keys
            self.shapes[i].first_written = next_written
            self.shapes[i].first_op = next_op
            self.shapes[i].ops = len(shape.ops)
            next_written += shape.keys
            for given in shape.ops:
                op = self.ops + next_op
                op.kind = <OpKind><int>given.kind
                op.key = given.key
                op.prefix = self._keep(given.prefix)
                op.prefix_len = len(given.prefix)
                op.ref = given.ref
                op.known = self._table(given.known)
                next_op += 1
        self.written = <uint8_t*>allocate(next_written, 1)
        return 0

    cdef int _build_parts(self, program) except -1:
        cdef Py_ssize_t i
        cdef int next_test = 0
        self.part_count = len(program.parts)
        self.parts = <Part*>allocate(self.part_count, sizeof(Part))
        self.tests = <Test*>allocate(sum(len(part.when) for part in program.parts), sizeof(Test))
        for i, part in enumerate(program.parts):
            self.parts[i].output = part.output
            self.parts[i].shape = part.shape
            self.parts[i].each = part.each
            self.parts[i].first_condition = next_test
            self.parts[i].conditions = len(part.when)
            for kind, ref in part.when:
                self.tests[next_test].kind = <Condition><int>kind
                self.tests[next_test].ref = ref
                next_test += 1
        self.reasons = tuple(reason for _, reason in program.require)
        self.required_count = len(program.require)
        self.required = <int*>allocate(self.required_count, sizeof(int))
        for i in range(self.required_count):
            self.required[i] = program.require[i][0]
        return 0

    def run(self, event, outputs, int64_t received_ms, int64_t skew_ms=0):
        """Write the records of one event.

        :param event: an object with an attribute for each input: None, a str, a number, or raw JSON
            (anything with the buffer protocol; empty means absent).
        :param outputs: the buffers that ``Record.output`` counts in.
        :param received_ms: time of receipt, epoch milliseconds.
        :param skew_ms: added to times of the input, for clients whose clock is wrong.
        :returns: how many records were written, or the reason of the rejection; then nothing was
            written.
        :raises MalformedInput: an input is not JSON; nothing was written.
        """
        cdef list marks = [(out, (<Buffer?>out).size, (<Buffer>out).records) for out in outputs]
        cdef Py_ssize_t loaded = 0
        cdef object result = None
        self.now.received_ms = received_ms
        self.now.skew_ms = skew_ms
        self.now.item = -1
        memset(self.slots, 0, self.slot_count * sizeof(Slot))
        try:
            while loaded < self.root_count:
                self._load(loaded, getattr(event, <str>self.inputs[loaded]))
                loaded += 1
            result = self._write(outputs)
            return result
        finally:
            for i in range(self.root_count):
                if self.viewed[i]:
                    PyBuffer_Release(&self.views[i])
                    self.viewed[i] = 0
            if type(result) is not int:
                for out, size, records in marks:
                    (<Buffer>out).size = size
                    (<Buffer>out).records = records

    def dropped(self):
        """Return how many values could not be converted, by label."""
        return {label: self.drops[i] for i, label in enumerate(self.labels) if self.drops[i]}

    cdef int _load(self, Py_ssize_t i, value) except -1:
        """Take one input: text becomes a slot, raw JSON is searched for the wanted places."""
        cdef Place* place = self.places + self.roots[i]
        cdef const char* p
        cdef const char* end
        cdef const char* stop
        cdef Slot* slot
        cdef Py_ssize_t length
        if value is None:
            return 0
        if type(value) is str:
            if place.slot >= 0:
                slot = self.slots + place.slot
                slot.ptr = PyUnicode_AsUTF8AndSize(value, &slot.len)
                slot.kind = TEXT
                slot.first = c'"'
            return 0
        if not PyObject_CheckBuffer(value):
            value = str(value).lower().encode() if isinstance(value, (bool, int, float)) else b""
            self.held[i] = value
        PyObject_GetBuffer(value, &self.views[i], PyBUF_SIMPLE)
        self.viewed[i] = 1
        p = <const char*>self.views[i].buf
        length = self.views[i].len
        end = p + length
        p = skip_space(p, end)
        if p == end:
            return 0
        if place.members != NULL and p[0] == c"{":
            stop = self._search(place, p, end)
        else:
            stop = skip_value(p, end)
        if stop == NULL or skip_space(stop, end) != end:
            raise MalformedInput(f"{self.inputs[i]} is not JSON")
        if place.slot >= 0:
            slot_of_token(self.slots + place.slot, p, stop)
        return 0

    cdef const char* _search(self, const Place* place, const char* p, const char* end) noexcept:
        """Fill the slots below an object; returns the place past it, NULL when malformed."""
        cdef const char* key
        cdef const char* start
        cdef const Place* target
        cdef bint escaped
        cdef int found
        p = skip_space(p + 1, end)
        if p < end and p[0] == c"}":
            return p + 1
        while True:
            p = skip_space(p, end)
            if p >= end or p[0] != c'"':
                return NULL
            key = p + 1
            escaped = False
            p = string_end(key, end, &escaped)
            if p == NULL:
                return NULL
            found = self._find(place.members, key, p - key, escaped)
            p = skip_space(p + 1, end)
            if p >= end or p[0] != c":":
                return NULL
            start = skip_space(p + 1, end)
            if found < 0:
                p = skip_value(start, end)
            else:
                # A repeated key replaces what the earlier one held, as every JSON reader does.
                target = self.places + self.targets[place.first_member + found]
                memset(self.slots + target.first, 0, (target.last - target.first) * sizeof(Slot))
                if target.members != NULL and start < end and start[0] == c"{":
                    p = self._search(target, start, end)
                else:
                    p = skip_value(start, end)
                if p != NULL and target.slot >= 0:
                    slot_of_token(self.slots + target.slot, start, p)
            if p == NULL:
                return NULL
            p = skip_space(p, end)
            if p >= end:
                return NULL
            if p[0] == c"}":
                return p + 1
            if p[0] != c",":
                return NULL
            p += 1

    cdef int _find(self, const Table* table, const char* key, Py_ssize_t length, bint escaped) noexcept:
        cdef char plain[256]
        if escaped:
            if length > 256:  # longer than any key of a mapping, even with every character escaped
                return -1
            length = unescape(key, length, plain)
            key = plain
        return find_hashed(table, key, length, fm_hash(key, length, HASH_SEED))

    cdef object _write(self, outputs):
        cdef Py_ssize_t i, j
        cdef int records = 0
        cdef bint wanted
        cdef Part* part
        for i in range(self.required_count):
            if not self._has(self.required[i]):
                return self.reasons[i]
        for i in range(self.part_count):
            part = self.parts + i
            wanted = True
            for j in range(part.first_condition, part.first_condition + part.conditions):
                if not self._holds(self.tests + j):
                    wanted = False
                    break
            if not wanted:
                continue
            if part.each < 0:
                records += self._put_record(outputs[part.output], part.shape)
            else:
                wanted = self._put_items(outputs[part.output], part, &records)
                if not wanted:
                    return "too_many_items"
        return records

    cdef bint _has(self, int node) except -1:
        cdef bint found = self._put(self.nodes + node, self.scratch) > 0
        self.scratch.size = 0
        return found

    cdef bint _holds(self, const Test* test) except -1:
        cdef Slot* slot
        cdef const char* p
        if test.kind == HAS:
            return self._has(test.ref)
        slot = self.slots + test.ref
        if slot.kind != JSON or slot.first != c"{":
            return False
        if test.kind == IS_OBJECT:
            return True
        p = skip_space(slot.ptr + 1, slot.ptr + slot.len)
        return p < slot.ptr + slot.len and p[0] != c"}"

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
        cdef Py_ssize_t before = out.size
        cdef int item = 0
        if array.kind != JSON or (array.first != c"[" and array.first != c"{"):
            return True
        if array.first == c"[":
            p = skip_space(p + 1, end)
        while p < end and p[0] != c"]":
            start = p
            if p[0] == c"{":
                if item >= MAX_ITEMS or out.size - before > MAX_OUTPUT:
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
        cdef const Place* root = self.places + self.item_root
        cdef const char* stop
        memset(self.slots + root.first, 0, (root.last - root.first) * sizeof(Slot))
        stop = self._search(root, p, end) if root.members != NULL else skip_value(p, end)
        if stop == NULL:
            return NULL
        self.now.item = item
        self._put_record(out, part.shape)
        self.now.item = -1
        return stop

    cdef int _put_object(self, Buffer out, const Shape* shape) except -1:
        cdef int i
        cdef const Op* op
        cdef Py_ssize_t mark
        cdef Py_ssize_t start
        cdef uint8_t* written = self.written + shape.first_written
        memset(written, 0, shape.keys)
        out.put_byte(c"{")
        start = out.size
        for i in range(shape.first_op, shape.first_op + shape.ops):
            op = self.ops + i
            if op.kind == SPREAD:
                self._put_members(out, op, written, start)
                continue
            if written[op.key]:
                continue
            mark = out.size
            if mark != start:
                out.put_byte(c",")
            out.put(op.prefix, op.prefix_len)
            if op.kind == OBJECT:
                self._put_object(out, self.shapes + op.ref)
            elif not self._put(self.nodes + op.ref, out):
                out.size = mark
                continue
            written[op.key] = 1
        out.put_byte(c"}")
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
        return self._put_lookup(node, out)

    cdef int _put_value(self, const Node* node, Buffer out) except -1:
        cdef const Slot* slot = self.slots + node.slot
        cdef int done
        if slot.kind == ABSENT and node.convert != TO_TIME:
            return 0
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
        if done != 1 and node.label >= 0 and not is_blank(slot):
            self.drops[node.label] += 1
        return done

    cdef int _put_derived(self, const Node* node, const Slot* slot, Buffer out) except -1:
        """Write an output of a derivation, from memory where its input was seen before."""
        cdef dict memory = <dict>self.memories[node.derivation]
        cdef bytes text
        cdef tuple outputs
        cdef bytes output
        if is_blank(slot) or (slot.kind == JSON and slot.first != c'"'):
            return 0
        text = text_of(slot)
        outputs = <tuple>memory.get(text)
        if outputs is None:
            outputs = self._derive(node.derivation, text)
            memory[text] = outputs
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
            if self._put_value(part, out):
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
        cdef Slot* slot = self.slots + node.slot
        cdef Slot key, found
        cdef bytes wanted
        cdef Py_ssize_t i, count
        found.kind = ABSENT
        if slot.kind != JSON or slot.first != c"{":
            return 0
        if not self._put(self.nodes + self.children[node.first_child], self.scratch):
            return 0
        slot_of_token(&key, self.scratch.data, self.scratch.data + self.scratch.size)
        wanted = text_of(&key)
        self.scratch.size = 0
        count = self._list_members(slot)
        for i in range(count):
            if self.members[i].key_len == len(wanted) \
                    and memcmp(self.members[i].key, <const char*>wanted, len(wanted)) == 0:
                self._value_of(&self.members[i], &found)
        return put_json(out, &found, node.flags)

    cdef int _value_of(self, const Member* member, Slot* slot) noexcept:
        cdef bint escaped = False
        cdef const char* p = string_end(member.start + 1, member.end, &escaped)
        p = skip_space(p + 1, member.end)
        p = skip_space(p + 1, member.end)
        slot_of_token(slot, p, member.end)
        return 0

    cdef Py_ssize_t _list_members(self, const Slot* slot) except -1:
        """Find the members of an object; returns how many."""
        cdef const char* p = slot.ptr + 1
        cdef const char* end = slot.ptr + slot.len
        cdef Py_ssize_t count = 0
        cdef char* arena
        cdef Member* member
        cdef bint escaped
        if len(self.arena) < slot.len:  # keys without escapes are never longer than with them
            self.arena = bytearray(2 * slot.len)
        arena = self.arena
        p = skip_space(p, end)
        if p < end and p[0] == c"}":
            return 0
        while True:
            if count == self.members_capacity:
                self._grow_members()
            member = self.members + count
            p = skip_space(p, end)
            if p >= end or p[0] != c'"':
                raise MalformedInput("an object that is copied is not JSON")
            member.start = p
            member.key = p + 1
            member.skipped = False
            escaped = False
            p = string_end(p + 1, end, &escaped)
            if p == NULL:
                raise MalformedInput("an object that is copied is not JSON")
            member.key_len = p - member.key
            if escaped:
                member.key_len = unescape(member.key, member.key_len, arena)
                member.key = arena
                arena += member.key_len
            member.hash = fm_hash(member.key, member.key_len, HASH_SEED)
            p = skip_space(p + 1, end)
            if p >= end or p[0] != c":":
                raise MalformedInput("an object that is copied is not JSON")
            p = skip_value(skip_space(p + 1, end), end)
            if p == NULL:
                raise MalformedInput("an object that is copied is not JSON")
            member.end = p
            count += 1
            p = skip_space(p, end)
            if p < end and p[0] == c"}":
                return count
            if p >= end or p[0] != c",":
                raise MalformedInput("an object that is copied is not JSON")
            p += 1

    cdef int _grow_members(self) except -1:
        cdef Py_ssize_t capacity = max(64, 2 * self.members_capacity)
        cdef void* larger = realloc(self.members, capacity * sizeof(Member))
        if larger == NULL:
            raise MemoryError
        self.members = <Member*>larger
        self.members_capacity = capacity
        return 0

    cdef int _put_members(self, Buffer out, const Op* op, uint8_t* written, Py_ssize_t start) except -1:
        """Copy the members of an object, but for omitted, written and repeated keys.

        Neighbours are copied together, with the white space and commas between them.
        """
        cdef Slot* slot = self.slots + op.ref
        cdef Py_ssize_t i, count, first
        cdef int known
        if slot.kind != JSON or slot.first != c"{":
            return 0
        count = self._list_members(slot)
        self._skip_repeated(count)
        for i in range(count):
            if self.members[i].skipped:
                continue
            known = find_hashed(op.known, self.members[i].key, self.members[i].key_len, self.members[i].hash)
            if known == OMITTED or (known >= 0 and written[known]):
                self.members[i].skipped = True
            elif known >= 0:
                written[known] = 1
        i = 0
        while i < count:
            if self.members[i].skipped:
                i += 1
                continue
            first = i
            while i < count and not self.members[i].skipped:
                i += 1
            if out.size != start:
                out.put_byte(c",")
            out.put(self.members[first].start, self.members[i - 1].end - self.members[first].start)
        return 0

    cdef int _skip_repeated(self, Py_ssize_t count) except -1:
        """Keep the last of members with the same key."""
        cdef Py_ssize_t i, j
        if count > FEW_MEMBERS:
            return self._skip_repeated_by_table(count)
        for i in range(count):
            for j in range(i + 1, count):
                if same_key(self.members + i, self.members + j):
                    self.members[i].skipped = True
                    break
        return 0

    cdef int _skip_repeated_by_table(self, Py_ssize_t count) except -1:
        cdef Py_ssize_t size = 32
        cdef Py_ssize_t i, place
        cdef void* larger
        while size < 2 * count:
            size *= 2
        if size > self.index_capacity:
            larger = realloc(self.index, size * sizeof(int))
            if larger == NULL:
                raise MemoryError
            self.index = <int*>larger
            self.index_capacity = size
        memset(self.index, 0xFF, size * sizeof(int))
        for i in range(count - 1, -1, -1):
            place = <Py_ssize_t>(self.members[i].hash & <uint64_t>(size - 1))
            while self.index[place] != -1:
                if same_key(self.members + i, self.members + self.index[place]):
                    self.members[i].skipped = True
                    break
                place = (place + 1) & (size - 1)
            else:
                self.index[place] = <int>i
        return 0


cdef inline bint same_key(const Member* a, const Member* b) noexcept:
    return a.hash == b.hash and a.key_len == b.key_len and memcmp(a.key, b.key, a.key_len) == 0
