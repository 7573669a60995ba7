"""A compiled mapping as arrays that the core can run through."""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from fastmap._buffer cimport PADDING
from fastmap._convert cimport TO_STRING, TO_TIME, Convert, Word, Words
from fastmap._memory cimport allocate, enlarge
from fastmap._scan cimport KeyTable, Table


@cython.final
cdef class Code:
    """Everything of a program but its paths.

    :param program: what ``fastmap.compiler.compile_mapping`` made of the mapping.
    """

    def __cinit__(self, program):
        self.alive = []
        self.reasons = []
        self.limits = []
        self._build_nodes(program)
        self._build_shapes(program)
        self._build_tests(program)
        self._build_branches(program)

    def __dealloc__(self):
        free(self.nodes)
        free(self.children)
        free(self.ops)
        free(self.inputs)
        free(self.shapes)
        free(self.parts)
        free(self.tests)
        free(self.branches)
        free(self.demands)
        free(self.words)
        free(self.all_words)

    cdef const Table* _table(self, dict numbers) except NULL:
        cdef KeyTable table = KeyTable(numbers)
        self.alive.append(table)
        return &table.table

    cdef const char* _keep(self, bytes data) except NULL:
        self.alive.append(data)
        return data

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
            node.convert = <Convert><int>given.convert
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
        cdef int number
        cdef const Node* node
        cdef Op* op
        cdef list inputs = []
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
                        op.is_plain_string = node.is_plain_string
                op.known = self._table(given.known)
                op.is_number = given.is_number
                op.label = given.label
                op.fields = given.fields
                if op.kind == STRETCH:
                    op.first_input = len(inputs)
                    op.inputs = len(given.inputs)
                    inputs.extend(given.inputs)
                next_op += 1
        self.written = next_written
        self.stretch_count = program.stretches
        self.inputs = <int*>allocate(len(inputs), sizeof(int))
        for i, number in enumerate(inputs):
            self.inputs[i] = number
        return 0

    cdef int _build_tests(self, program) except -1:
        cdef Py_ssize_t i
        cdef Test* test
        cdef int child
        cdef int next_child = 0
        # Children of tests lie behind those of nodes in the same array.
        cdef Py_ssize_t nodes = sum(len(node.children) for node in program.nodes)
        cdef Py_ssize_t count = nodes + sum(len(test.children) for test in program.tests)
        self.children = <int*>enlarge(self.children, count + 1, sizeof(int))
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
                self.parts[self.part_count].each_of = part.each_of
                self.parts[self.part_count].is_open = part.is_open
                self.parts[self.part_count].max_size = part.limits.size if part.limits else 0
                self.parts[self.part_count].max_members = part.limits.members if part.limits else 0
                self.parts[self.part_count].max_depth = part.limits.depth if part.limits else 0
                self.limits.append(part.limits)
                self.part_count += 1
        return 0

    cdef int _add_demands(self, demands, int* place) except -1:
        for ref, reason in demands:
            self.demands[place[0]].ref = ref
            self.demands[place[0]].reason = len(self.reasons)
            self.reasons.append(reason)
            place[0] += 1
        return 0
