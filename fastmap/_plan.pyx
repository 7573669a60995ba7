"""Running a compiled mapping: find the slots, then write the records."""

from math import isfinite
from types import MemberDescriptorType

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from fastmap._buffer cimport PADDING, Buffer
from fastmap._convert cimport (
    TO_BOOLEAN, TO_IP, TO_JSON, TO_NUMBER, TO_STRING, TO_TIME, TO_UNIQUE_ID, Conversion, Run, Word,
    Words, contains_text, equals_text, is_blank, is_number, is_string, is_truthy, matches_pattern,
    number_of, numeric_value, put_boolean, put_ip, put_json, put_number, put_string, put_time,
    put_unique_id, text_of,
)
from fastmap._scan cimport (
    ABSENT, HASH_SEED, JSON, TEXT, KeyTable, Member, Slot, Table, find_hashed, fm_equal, fm_hash,
    skip_space, skip_value, slot_of_token, string_end, unescape,
)

from fastmap.errors import MalformedInput

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    int T_OBJECT_EX

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member

cdef enum:
    MAX_ITEMS = 1000                # records that one array can become
    MAX_EXPANDED = 32 * 1024 * 1024  # bytes in a buffer beyond which arrays are not expanded
    MAX_REMEMBERED = 1024           # bytes of an input that a derivation's memory keeps
    GUESSES = 32                    # members of an object that are recognised by position
    GUESSED_KEY = 32                # bytes of a key, with its closing quote
    FEW_MEMBERS = 8                 # compared pair by pair; more go through a table
    OMITTED = -2

cdef enum NodeKind:
    VALUE = 0
    CONST = 1
    FIRST = 2
    JOIN = 3
    LOOKUP = 4
    CONVERTED = 5
    IF_ELSE = 6
    TEXT_FUNCTION = 7

cdef enum OpKind:
    FIELD = 0
    OBJECT = 1
    SPREAD = 2

cdef enum TestKind:
    HAS = 0
    IS_OBJECT = 1
    NOT_EMPTY = 2
    MORE_THAN = 3
    EXISTS = 4
    FILLED = 5
    EQUALS_TEXT = 6
    EQUALS_NUMBER = 7
    EQUALS_BOOLEAN = 8
    LESS = 9
    AT_MOST = 10
    GREATER = 11
    AT_LEAST = 12
    CONTAINS = 13
    MATCHES = 14
    NOT = 15
    EVERY = 16
    SOME = 17

cdef struct Guess:
    # A key where it was seen last: SDKs write the members of an object in the same order each time.
    char key[GUESSED_KEY]  # with its closing quote
    int len                # of that, 0 when nothing is known
    int found              # what the table said of it

cdef struct Place:
    const Table* members  # NULL when no path names a member
    Guess* guesses        # GUESSES of them, by the position of the member
    int first_member      # offset into Plan.targets
    int first_item        # offset into Plan.items
    int items             # how many items of an array paths name
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
    bint is_plain_string  # a string that needs no other test than not to be empty
    int label
    int test
    int function

cdef struct Item:
    Py_ssize_t index
    int target

cdef struct Op:
    OpKind kind
    int key
    const char* prefix
    Py_ssize_t prefix_len
    int ref
    int slot  # without which the field has no value, or -1
    const Table* known
    bint is_number  # SPREAD: values become numbers
    int label

cdef struct Shape:
    int keys
    int first_written  # offset into Plan.written
    int first_op
    int ops

cdef struct Part:
    int output
    int shape
    int when  # a test, or -1
    int each

cdef struct Test:
    TestKind kind
    int ref
    int first_child
    int children
    const char* text
    Py_ssize_t len
    double number

cdef struct Demand:
    # What an event must have (a node), or must not be (a test).
    int ref
    int reason

cdef struct Branch:
    int test  # or -1
    int first_require
    int requires
    int first_reject
    int rejects
    int first_part
    int parts


cdef struct Mark:
    # Where a buffer stood before a run.
    Py_ssize_t size
    Py_ssize_t records


cdef void* reallocate(void* memory, Py_ssize_t count, Py_ssize_t size) except NULL:
    memory = realloc(memory, (count + 1) * size)
    if memory == NULL:
        raise MemoryError
    return memory

cdef struct Drops:
    uint64_t count
    uint64_t turn  # in which the last one was counted


cdef bytes token_of(value):
    """Return the JSON of a number or boolean, nothing for what JSON cannot express."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return str(value).encode()
    return b""


cdef void* allocate(Py_ssize_t count, Py_ssize_t size) except NULL:
    cdef void* memory = calloc(count + 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


@cython.final
cdef class Plan:
    """A mapping ready to run.  Not for use by two threads at once.

    :param program: what ``fastmap.compiler.compile_mapping`` made of a mapping or a choice.
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
    cdef Branch* branches
    cdef Demand* demands
    cdef Item* items
    cdef Mark* marks
    cdef Words* words
    cdef Word* all_words
    cdef uint8_t* written
    cdef Drops* drops
    cdef uint64_t turn  # an event, or an item of an array: a label is counted once in each
    cdef int* roots
    cdef Py_ssize_t* offsets  # of the inputs in an event_type, 0 where that is not known
    cdef object event_type
    cdef Py_buffer* views
    cdef uint8_t* viewed
    cdef Member* members
    cdef Py_ssize_t members_capacity
    cdef int* index
    cdef Py_ssize_t index_capacity
    cdef Py_ssize_t slot_count, root_count, part_count, branch_count, skip_count, item_root
    cdef Py_ssize_t output_count, place_count
    cdef tuple inputs, labels, derivations, functions
    cdef list reasons
    cdef str unmatched
    cdef list memories, held, alive
    cdef tuple derived  # what the last derivation of this run gave, for its other outputs
    cdef int derived_slot, derived_by
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
        self.functions = tuple(program.functions)
        self.unmatched = program.unmatched
        self.reasons = []
        self.memories = [{} for _ in self.derivations]
        self.held = []
        self.slot_count = program.slots
        self.root_count = len(self.inputs)
        self.item_root = program.item_root
        self.slots = <Slot*>allocate(program.slots, sizeof(Slot))
        self.offsets = <Py_ssize_t*>allocate(self.root_count, sizeof(Py_ssize_t))
        self.views = <Py_buffer*>allocate(self.root_count, sizeof(Py_buffer))
        self.viewed = <uint8_t*>allocate(self.root_count, 1)
        self.drops = <Drops*>allocate(len(self.labels), sizeof(Drops))
        self._build_places(program)
        self._build_nodes(program)
        self._build_shapes(program)
        self._build_tests(program)
        self._build_branches(program)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.place_count):
            free(self.places[i].guesses)
        free(self.places)
        free(self.targets)
        free(self.slots)
        free(self.nodes)
        free(self.children)
        free(self.ops)
        free(self.shapes)
        free(self.parts)
        free(self.tests)
        free(self.marks)
        free(self.words)
        free(self.all_words)
        free(self.written)
        free(self.drops)
        free(self.roots)
        free(self.branches)
        free(self.demands)
        free(self.items)
        free(self.offsets)
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
        cdef Py_ssize_t i, target, index
        cdef list targets = []
        cdef list items = []
        self.places = <Place*>allocate(len(program.places), sizeof(Place))
        self.place_count = len(program.places)
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
                self.places[i].guesses = <Guess*>allocate(GUESSES, sizeof(Guess))
            self.places[i].first_item = len(items)
            self.places[i].items = len(place.items)
            items.extend(place.items.items())
        self.items = <Item*>allocate(len(items), sizeof(Item))
        for i, (index, target) in enumerate(items):
            self.items[i].index = index
            self.items[i].target = target
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
            self.words[i].lengths = 0
            self.words[i].words = self.all_words + next_word
            for word in words:
                self.all_words[next_word].text = self._keep(word)
                self.all_words[next_word].len = len(word)
                self.words[i].lengths |= <uint64_t>1 << min(len(word), 63)
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
            node.test = given.test
            node.function = given.function
            node.is_plain_string = (
                node.convert == TO_STRING and node.none_of == NULL and node.one_of == NULL
            )
        self.children = <int*>allocate(len(children), sizeof(int))
        for i, child in enumerate(children):
            self.children[i] = child
        return 0

    cdef int _build_shapes(self, program) except -1:
        cdef Py_ssize_t i
        cdef int next_op = 0, next_written = 0
        cdef const Node* node
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
                op.prefix = self._keep(given.prefix + bytes(PADDING + 1))
                op.prefix_len = len(given.prefix)
                op.ref = given.ref
                op.slot = -1
                if op.kind == FIELD:
                    node = self.nodes + op.ref
                    if node.kind == VALUE and node.convert != TO_TIME:
                        op.slot = node.slot
                op.known = self._table(given.known)
                op.is_number = given.is_number
                op.label = given.label
                next_op += 1
        self.written = <uint8_t*>allocate(next_written, 1)
        return 0

    cdef int _build_tests(self, program) except -1:
        cdef Py_ssize_t i
        cdef Test* test
        cdef int child
        cdef int next_child = 0
        # Children of tests lie behind those of nodes in the same array.
        cdef Py_ssize_t nodes = sum(len(node.children) for node in program.nodes)
        cdef Py_ssize_t count = nodes + sum(len(test.children) for test in program.tests)
        self.children = <int*>reallocate(self.children, count, sizeof(int))
        next_child = nodes
        self.tests = <Test*>allocate(len(program.tests), sizeof(Test))
        for i, given in enumerate(program.tests):
            test = self.tests + i
            test.kind = <TestKind><int>given.kind
            test.ref = given.ref
            test.first_child = next_child
            test.children = len(given.children)
            for child in given.children:
                self.children[next_child] = child
                next_child += 1
            test.text = self._keep(given.text)
            test.len = len(given.text)
            test.number = given.number
        return 0

    cdef int _build_branches(self, program) except -1:
        cdef Py_ssize_t i
        cdef int next_demand = 0
        cdef Branch* branch
        self.part_count = sum(len(given.parts) for given in program.branches)
        self.parts = <Part*>allocate(self.part_count, sizeof(Part))
        self.marks = <Mark*>allocate(self.part_count, sizeof(Mark))
        self.part_count = 0
        self.branch_count = len(program.branches)
        self.branches = <Branch*>allocate(self.branch_count, sizeof(Branch))
        self.skip_count = len(program.skip)
        self.demands = <Demand*>allocate(
            self.skip_count + sum(len(b.require) + len(b.reject) for b in program.branches),
            sizeof(Demand),
        )
        self._add_demands(program.skip, &next_demand)
        for i, given in enumerate(program.branches):
            branch = self.branches + i
            branch.test = given.test
            branch.first_require = next_demand
            branch.requires = len(given.require)
            self._add_demands(given.require, &next_demand)
            branch.first_reject = next_demand
            branch.rejects = len(given.reject)
            self._add_demands(given.reject, &next_demand)
            branch.first_part = self.part_count
            branch.parts = len(given.parts)
            for part in given.parts:
                self.parts[self.part_count].output = part.output
                self.output_count = max(self.output_count, part.output + 1)
                self.parts[self.part_count].shape = part.shape
                self.parts[self.part_count].when = part.when
                self.parts[self.part_count].each = part.each
                self.part_count += 1
        return 0

    cdef int _add_demands(self, demands, int* place) except -1:
        for ref, reason in demands:
            self.demands[place[0]].ref = ref
            self.demands[place[0]].reason = len(self.reasons)
            self.reasons.append(reason)
            place[0] += 1
        return 0

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
        cdef Py_ssize_t i
        cdef Py_ssize_t loaded = 0
        cdef Buffer out
        cdef object result = None
        cdef object value
        cdef Py_ssize_t offset
        if type(event) is not self.event_type:
            self._learn_type(type(event))
        if len(outputs) < self.output_count:
            raise IndexError(f"expected {self.output_count} outputs (got {len(outputs)})")
        for i in range(self.part_count):
            given = outputs[self.parts[i].output]
            if type(given) is not Buffer:
                raise TypeError(f"an output must be a Buffer (got {type(given).__name__})")
            out = <Buffer>given
            self.marks[i].size = out.size
            self.marks[i].records = out.records
        self.now.received_ms = received_ms
        self.now.skew_ms = skew_ms
        self.now.item = -1
        self.derived_slot = -1
        self.turn += 1
        self.scratch.size = 0
        memset(self.slots, 0, self.slot_count * sizeof(Slot))
        try:
            while loaded < self.root_count:
                offset = self.offsets[loaded]
                if offset and (<PyObject**>(<char*><PyObject*>event + offset))[0] != NULL:
                    value = <object>(<PyObject**>(<char*><PyObject*>event + offset))[0]
                else:
                    value = getattr(event, <str>self.inputs[loaded])
                self._load(loaded, value)
                loaded += 1
            result = self._write(outputs)
            return result
        finally:
            for i in range(self.root_count):
                if self.viewed[i]:
                    PyBuffer_Release(&self.views[i])
                    self.viewed[i] = 0
            self.held.clear()
            if type(result) is not int:
                for i in range(self.part_count):
                    out = outputs[self.parts[i].output]
                    out.size = self.marks[i].size
                    out.records = self.marks[i].records

    cdef int _learn_type(self, event_type) except -1:
        """Note where objects of a type keep the inputs.

        Types with slots, such as structs, keep each attribute at a fixed place, and reading it
        there costs a tenth of asking for it by name.
        """
        cdef Py_ssize_t i
        for i in range(self.root_count):
            descriptor = getattr(event_type, <str>self.inputs[i], None)
            self.offsets[i] = 0
            if type(descriptor) is MemberDescriptorType \
                    and (<PyMemberDescrObject*>descriptor).d_member.type == T_OBJECT_EX:
                self.offsets[i] = (<PyMemberDescrObject*>descriptor).d_member.offset
        self.event_type = event_type
        return 0

    def dropped(self):
        """Return how many values could not be converted, by label.

        A value that is written to several places counts once for the event, or for the item.
        """
        return {
            label: self.drops[i].count
            for i, label in enumerate(self.labels)
            if self.drops[i].count
        }

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
                try:
                    slot.ptr = PyUnicode_AsUTF8AndSize(value, &slot.len)
                except UnicodeEncodeError:
                    raise MalformedInput(f"{self.inputs[i]} holds half a surrogate pair") from None
                self.held.append(value)  # the slot points into it
                slot.kind = TEXT
                slot.first = c'"'
            return 0
        if not PyObject_CheckBuffer(value):
            value = token_of(value)
        PyObject_GetBuffer(value, &self.views[i], PyBUF_SIMPLE)
        self.viewed[i] = 1
        p = <const char*>self.views[i].buf
        length = self.views[i].len
        end = p + length
        p = skip_space(p, end)
        if p == end:
            return 0
        stop = self._search(place, p, end)
        if stop == NULL or skip_space(stop, end) != end:
            raise MalformedInput(f"{self.inputs[i]} is not JSON")
        if place.slot >= 0:
            slot_of_token(self.slots + place.slot, p, stop)
        return 0

    cdef const char* _search(self, const Place* place, const char* p, const char* end) noexcept:
        """Fill the slots below a value; returns the place past it, NULL when malformed.

        Goes only as deep as paths go, not as deep as the input.
        """
        if p < end and p[0] == c"{" and place.members != NULL:
            return self._search_object(place, p, end)
        if p < end and p[0] == c"[" and place.items:
            return self._search_array(place, p, end)
        return skip_value(p, end)

    cdef const char* _take(self, const Place* target, const char* start, const char* end) noexcept:
        """Fill the slots of a value and below it; returns the place past it."""
        cdef const char* p
        cdef Slot* slot
        cdef bint escaped = False
        if target.slot >= 0 and start < end and start[0] == c'"' \
                and target.last - target.first == 1:
            p = string_end(start + 1, end, &escaped)
            if p == NULL:
                return NULL
            slot = self.slots + target.slot
            slot.kind = JSON
            slot.first = c'"'
            slot.escaped = escaped
            slot.ptr = start + 1
            slot.len = p - slot.ptr
            return p + 1
        if target.last - target.first > 1:
            # A repeated key replaces what the earlier one held, as every JSON reader does.
            memset(self.slots + target.first, 0, (target.last - target.first) * sizeof(Slot))
        p = self._search(target, start, end)
        if p != NULL and target.slot >= 0:
            slot_of_token(self.slots + target.slot, start, p)
        return p

    cdef const char* _search_object(
        self, const Place* place, const char* p, const char* end
    ) noexcept:
        cdef const char* key
        cdef Guess* guess
        cdef bint escaped
        cdef int found
        cdef int index = 0
        p = skip_space(p + 1, end)
        if p < end and p[0] == c"}":
            return p + 1
        while True:
            p = skip_space(p, end)
            if p >= end or p[0] != c'"':
                return NULL
            key = p + 1
            guess = place.guesses + index if index < GUESSES else NULL
            index += 1
            if guess != NULL and guess.len and guess.len < end - key \
                    and fm_equal(key, guess.key, guess.len):
                found = guess.found
                p = key + guess.len
            else:
                escaped = False
                p = string_end(key, end, &escaped)
                if p == NULL:
                    return NULL
                found = self._find(place.members, key, p - key, escaped)
                p += 1
                if guess != NULL and not escaped and p - key <= GUESSED_KEY:
                    memcpy(guess.key, key, p - key)
                    guess.len = <int>(p - key)
                    guess.found = found
            p = skip_space(p, end)
            if p >= end or p[0] != c":":
                return NULL
            p = skip_space(p + 1, end)
            if found < 0:
                p = skip_value(p, end)
            else:
                p = self._take(self.places + self.targets[place.first_member + found], p, end)
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

    cdef const char* _search_array(
        self, const Place* place, const char* p, const char* end
    ) noexcept:
        cdef const Item* item
        cdef const Place* target
        cdef Py_ssize_t index = 0
        cdef int i
        p = skip_space(p + 1, end)
        if p < end and p[0] == c"]":
            return p + 1
        while True:
            p = skip_space(p, end)
            target = NULL
            for i in range(place.first_item, place.first_item + place.items):
                item = self.items + i
                if item.index == index:
                    target = self.places + item.target
            p = skip_value(p, end) if target == NULL else self._take(target, p, end)
            if p == NULL:
                return NULL
            p = skip_space(p, end)
            if p >= end:
                return NULL
            if p[0] == c"]":
                return p + 1
            if p[0] != c",":
                return NULL
            p += 1
            index += 1

    cdef inline int _find(self, const Table* table, const char* key, Py_ssize_t length, bint escaped) noexcept:
        cdef char plain[256]
        if escaped:
            if length > 256:  # longer than any key of a mapping, even with every character escaped
                return -1
            length = unescape(key, length, plain)
            key = plain
        return find_hashed(table, key, length, fm_hash(key, length, HASH_SEED))

    cdef object _write(self, outputs):
        cdef Py_ssize_t i
        cdef int records = 0
        cdef bint is_matched = False
        cdef object reason
        for i in range(self.skip_count):
            if self._holds(self.tests + self.demands[i].ref):
                return self.reasons[self.demands[i].reason]
        for i in range(self.branch_count):
            if self.branches[i].test >= 0 and not self._holds(self.tests + self.branches[i].test):
                continue
            is_matched = True
            reason = self._write_branch(self.branches + i, outputs, &records)
            if reason is not None:
                return reason
        return records if is_matched else self.unmatched

    cdef object _write_branch(self, const Branch* branch, outputs, int* records):
        """Write what one mapping makes of the event; returns the reason of a rejection."""
        cdef Py_ssize_t i
        cdef const Part* part
        for i in range(branch.first_require, branch.first_require + branch.requires):
            if not self._has(self.nodes + self.demands[i].ref):
                return self.reasons[self.demands[i].reason]
        for i in range(branch.first_reject, branch.first_reject + branch.rejects):
            if self._holds(self.tests + self.demands[i].ref):
                return self.reasons[self.demands[i].reason]
        for i in range(branch.first_part, branch.first_part + branch.parts):
            part = self.parts + i
            if part.when >= 0 and not self._holds(self.tests + part.when):
                continue
            if part.each < 0:
                records[0] += self._put_record(outputs[part.output], part.shape)
            elif not self._put_items(outputs[part.output], part, records):
                return "too_many_items"
        return None

    cdef bint _has(self, const Node* node) except -1:
        cdef Py_ssize_t mark = self.scratch.size
        cdef bint found
        if node.kind == VALUE and self.slots[node.slot].kind == ABSENT and node.convert != TO_TIME:
            return False
        found = self._put(node, self.scratch) > 0
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
        _alive = self._evaluate(self.nodes + test.ref, &slot)
        return self._compares(test, &slot)

    cdef bint _has_members(self, const Test* test) except -1:
        cdef const Slot* slot = self.slots + test.ref
        cdef const char* p
        cdef Py_ssize_t i, count
        if slot.kind != JSON or slot.first != c"{":
            return False
        if test.kind == IS_OBJECT:
            return True
        if test.kind == NOT_EMPTY:
            p = skip_space(slot.ptr + 1, slot.ptr + slot.len)
            return p < slot.ptr + slot.len and p[0] != c"}"
        count = self._list_members(slot)
        self._skip_repeated(count)
        return sum([not self.members[i].skipped for i in range(count)]) > test.number

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
        cdef const Place* root = self.places + self.item_root
        cdef const char* stop
        memset(self.slots + root.first, 0, (root.last - root.first) * sizeof(Slot))
        stop = self._search(root, p, end)
        if stop == NULL:
            return NULL
        if root.slot >= 0:
            slot_of_token(self.slots + root.slot, p, stop)
        self.turn += 1
        self.now.item = item
        self.derived_slot = -1
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
            # Most fields are absent from most events: see that before anything is written.
            if op.slot >= 0 and self.slots[op.slot].kind == ABSENT:
                continue
            mark = out.size
            if mark != start:
                out.put_padded(op.prefix, op.prefix_len)
            else:
                out.put_padded(op.prefix + 1, op.prefix_len - 1)
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
        if node.is_plain_string and slot.kind == JSON and slot.first == c'"' and slot.len:
            out.put(slot.ptr - 1, slot.len + 2)  # with its quotes
            return 1
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
            self._count_drop(self.drops + node.label)
        return done

    cdef int _count_drop(self, Drops* drops) noexcept:
        if drops.turn != self.turn:
            drops.turn = self.turn
            drops.count += 1
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
        cdef Py_ssize_t i, count
        found.kind = ABSENT
        if slot.kind != JSON or slot.first != c"{":
            return 0
        _alive = self._evaluate(self.nodes + self.children[node.first_child], &key)
        if not is_string(&key):
            return 0
        wanted = text_of(&key)
        count = self._list_members(slot)
        for i in range(count):
            if self.members[i].key_len == len(wanted) \
                    and memcmp(self.members[i].key, <const char*>wanted, len(wanted)) == 0:
                self._value_of(&self.members[i], &found)
        return put_json(out, &found, node.flags)

    cdef int _value_of(self, const Member* member, Slot* slot) noexcept:
        cdef const char* p = skip_space(key_end(member), member.end)
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

    cdef int _put_members(
        self, Buffer out, const Op* op, uint8_t* written, Py_ssize_t start
    ) except -1:
        """Copy the members of an object, but for omitted, written and repeated keys.

        Neighbours are copied together, with the white space and commas between them.
        """
        cdef Slot* slot = self.slots + op.ref
        cdef Py_ssize_t i, count, first
        cdef const Member* member
        cdef int known
        if slot.kind != JSON or slot.first != c"{":
            return 0
        count = self._list_members(slot)
        self._skip_repeated(count)
        for i in range(count):
            if self.members[i].skipped:
                continue
            member = self.members + i
            known = find_hashed(op.known, member.key, member.key_len, member.hash)
            if known == OMITTED or (known >= 0 and written[known]):
                self.members[i].skipped = True
            elif known >= 0:
                written[known] = 1
        if op.is_number:
            return self._put_numbers(out, op, count, start)
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

    cdef int _put_numbers(
        self, Buffer out, const Op* op, Py_ssize_t count, Py_ssize_t start
    ) except -1:
        """Copy members whose values are numbers."""
        cdef Slot slot
        cdef Py_ssize_t i, mark
        cdef Member* member
        for i in range(count):
            member = self.members + i
            if member.skipped:
                continue
            self._value_of(member, &slot)
            mark = out.size
            if mark != start:
                out.put_byte(c",")
            out.put(member.start, key_end(member) - member.start)
            out.put_byte(c":")
            if not put_number(out, &slot):
                out.size = mark
                if op.label >= 0 and not is_blank(&slot):
                    self.drops[op.label].count += 1
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


cdef inline const char* key_end(const Member* member) noexcept:
    """Return the place past the closing quote of a member's key."""
    cdef bint escaped = False
    return string_end(member.start + 1, member.end, &escaped) + 1


cdef inline bint same_key(const Member* a, const Member* b) noexcept:
    return a.hash == b.hash and a.key_len == b.key_len and fm_equal(a.key, b.key, a.key_len)
