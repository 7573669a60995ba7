"""Running compiled mappings: the slots are found, then the records are written.

``Plan`` is one mapping, ``Dispatch`` runs the events of a batch, each by the plan for its kind.
"""

from typing import NamedTuple

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memchr

from fastmap._buffer cimport Buffer, Outputs
from fastmap._code cimport Branch, Code, Part
from fastmap._convert cimport IMPOSSIBLE, UNREADABLE
from fastmap._inputs cimport Input
from fastmap._members cimport Members, value_of
from fastmap._memory cimport in_slot, slot_offset
from fastmap._objects cimport Objects
from fastmap._paths cimport Paths
from fastmap._scan cimport JSON, Slot, is_surely_deeper, is_within, skip_space, skip_value
from fastmap._values cimport Values

from fastmap import limits
from fastmap.errors import MalformedInput

cdef enum:
    MAX_ITEMS = 1000                 # records that one array can become
    MAX_EXPANDED = 32 * 1024 * 1024  # bytes in a buffer beyond which arrays are not expanded
    MIN_MEMBER = 5                   # bytes of a member, its comma included


@cython.final
cdef class Plan:
    """A mapping ready to run.  Not for use by two threads at once.

    :param program: what ``fastmap.compiler.compile_mapping`` made of a mapping or a choice.
    :param objects: inputs that are objects; others that come in their place are counted as dropped.
    """

    def __cinit__(self, program, objects=()):
        self.code = Code(program)
        self.paths = Paths(program)
        self.values = Values(program, self.code, self.paths)
        self.objects = Objects(self.code, self.paths, self.values)
        self.unmatched = program.unmatched
        for i, name in enumerate(program.inputs):
            if name in objects and self.place_count < MOST_OBJECTS:
                self.places[self.place_count] = i
                self.place_count += 1

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
        self.values.begin(received_ms, skew_ms)
        self.excess = None
        try:
            self.paths.load(event)
            self._expect_objects()
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
        cdef Py_ssize_t i
        totals = self.values.dropped()
        for i in range(self.place_count):
            if self.odd[i]:
                name = self.paths.inputs.names[self.places[i]]
                totals[name] = totals.get(name, 0) + self.odd[i]
        return totals

    cdef int _expect_objects(self) noexcept:
        """Count the inputs that are no objects, and say something all the same."""
        cdef const Input* given
        cdef Py_ssize_t i
        for i in range(self.place_count):
            given = self.paths.inputs.items + self.places[i]
            if given.kind != JSON or given.len == 0 or given.ptr[0] == c"{" or given.ptr[0] == c"n":
                continue
            if given.len > 2 or (given.ptr[0] != c"[" and given.ptr[0] != c'"'):  # not [] or ""
                self.odd[i] += 1
        return 0

    cdef str _write(self, Outputs outputs, int* records):
        """Write the records; returns the reason why there must be none."""
        cdef Py_ssize_t i
        cdef bint is_matched = False
        cdef const Branch* branch
        cdef str reason
        for i in range(self.code.skip_count):
            if self.values.holds(self.code.tests + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(self.code.branch_count):
            branch = self.code.branches + i
            if branch.test >= 0 and not self.values.holds(self.code.tests + branch.test):
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
            if not self.values.has(self.code.nodes + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(branch.first_reject, branch.first_reject + branch.rejects):
            if self.values.holds(self.code.tests + self.code.demands[i].ref):
                return self.code.reasons[self.code.demands[i].reason]
        for i in range(branch.first_part, branch.first_part + branch.parts):
            part = self.code.parts + i
            if part.when >= 0 and not self.values.holds(self.code.tests + part.when):
                continue
            if part.each >= 0:
                if not self._put_items(outputs.buffer(part.output), part, records):
                    return self.excess or "too_many_items"
            elif part.each_of >= 0:
                if not self._put_values(outputs.buffer(part.output), part, records):
                    return self.excess or "too_many_items"
            elif not self._put_record(outputs.buffer(part.output), part, records):
                return self.excess
        return None

    cdef bint _put_record(self, Buffer out, const Part* part, int* records) except -1:
        """Write one record; returns False when its receiver would not take it."""
        cdef Py_ssize_t start = out.size
        cdef char* newline
        self.objects.most_members = self.objects.largest_value = 0
        self.objects.put(out, part.shape)
        if part.max_size:
            self.excess = self._excess(part, out.data + start, out.data + out.size)
            if self.excess is not None:
                return False
        # A raw newline can only be white space between tokens; in a line-delimited file it would
        # cut the record in two.
        newline = <char*>memchr(out.data + start, c"\n", out.size - start)
        while newline != NULL:
            newline[0] = c" "
            newline = <char*>memchr(newline, c"\n", out.data + out.size - newline)
        out.put_byte(c"\n")
        out.records += 1
        records[0] += 1
        return True

    cdef str _excess(self, const Part* part, const char* record, const char* end):
        """Return in what a record exceeds its limits, None when in nothing.

        Nearly all records are known to be within them by what was noted while they were written.
        """
        cdef Py_ssize_t largest = end - record if part.is_open else self.objects.largest_value
        cdef const char* p = record
        cdef int braces = 0
        if end - record >= part.max_size:
            return limits.TOO_LARGE
        if not part.max_depth:
            return None
        if self.objects.most_members + self.code.written <= part.max_members:
            if not largest:
                return None
            while p != NULL and braces <= part.max_depth:
                p = <const char*>memchr(p, c"{", end - p)
                if p != NULL:
                    p += 1
                    braces += 1
            # The first two are the record and its only object, which the mapping wrote.
            if braces <= part.max_depth and (
                braces <= 2 and not part.is_open or largest < MIN_MEMBER * part.max_members
            ):
                return None
        if is_within(record, end, part.max_members, part.max_depth):
            return None
        if is_surely_deeper(record, end, part.max_depth):
            return limits.TOO_DEEP
        return limits.excess_of_text(
            record[:end - record], self.code.limits[part - self.code.parts], limits.TOO_DEEP
        )

    cdef bint _put_items(self, Buffer out, const Part* part, int* records) except -1:
        """Write a record for each object of an array; returns False when they are too many or too large.

        An object alone is an array of one.
        """
        cdef Slot array = self.paths.slots[part.each]
        if array.kind != JSON or (array.first != c"[" and array.first != c"{"):
            return True
        if array.first == c"[":
            return self._put_array(out, part, array.ptr, array.ptr + array.len, records)
        if self._is_numbered(part.each):
            return self._put_numbered(out, part, records)
        return self._put_item(out, part, 0, array.ptr, array.ptr + array.len, records) != NULL

    cdef bint _put_values(self, Buffer out, const Part* part, int* records) except -1:
        """Write a record for each item of the list that an expression gives, or for its one value."""
        cdef bytes text = self.values.json_of(self.code.nodes + part.each_of)
        cdef const char* p = text
        cdef const char* end = p + len(text)
        if p < end and p[0] == c"[":
            return self._put_array(out, part, p, end, records)
        return p == end or self._put_item(out, part, 0, p, end, records) != NULL

    cdef bint _put_array(
        self, Buffer out, const Part* part, const char* p, const char* end, int* records
    ) except -1:
        """Write a record for each item, or only for those that are objects."""
        cdef const char* start
        cdef int item = 0
        p = skip_space(p + 1, end)
        while p < end and p[0] != c"]":
            start = p
            if p[0] == c"{" or part.each_of >= 0:
                p = self._put_item(out, part, item, p, end, records)
                if p == NULL:
                    return False
            else:
                p = skip_value(start, end)
                if p == NULL:
                    raise MalformedInput("an array that is expanded is not JSON")
            item += 1
            p = skip_space(p, end)
            if p < end and p[0] == c",":
                p = skip_space(p + 1, end)
        return True

    cdef bint _is_numbered(self, int slot) except -1:
        """Whether an object is what PHP writes for an array with gaps: all its keys are numbers."""
        cdef Members members = self.paths.members_of(slot)
        cdef Py_ssize_t i, j
        for i in range(members.count):
            for j in range(members.items[i].key_len):
                if not c"0" <= members.items[i].key[j] <= c"9":
                    return False
            if not members.items[i].key_len:
                return False
        return members.count > 0

    cdef bint _put_numbered(self, Buffer out, const Part* part, int* records) except -1:
        """Write a record for each object that an object with numbers for keys holds."""
        cdef Members members = self.paths.members_of(part.each)
        cdef Slot value
        cdef Py_ssize_t i
        members.skip_repeated()
        for i in range(members.count):
            value_of(members.items + i, &value)
            if value.first != c"{" or members.items[i].is_repeated:
                continue
            if self._put_item(out, part, <int>i, value.ptr, members.items[i].end, records) == NULL:
                return False
        return True

    cdef const char* _put_item(
        self, Buffer out, const Part* part, int item, const char* p, const char* end, int* records
    ) except? NULL:
        """Write the record of one item; returns the place past it, NULL when it may not be there."""
        cdef const char* stop
        cdef bint is_taken
        if item >= MAX_ITEMS or out.size > MAX_EXPANDED:
            return NULL
        stop = self.paths.load_item(p, end)
        if stop == NULL:
            raise MalformedInput("an array that is expanded is not JSON")
        self.values.begin_item(item)
        is_taken = self._put_record(out, part, records)
        self.values.end_items()
        self.paths.forget_item()
        return stop if is_taken else NULL


class Reasons(NamedTuple):
    """What to call it when an event becomes no record, beside the reasons of the plans.

    :ivar unmatched: there is no plan for its kind.
    :ivar empty: none of its plan's records applied.
    :ivar malformed: an input is not JSON or not Unicode text.
    """

    unmatched: str
    empty: str
    malformed: str


@cython.final
cdef class Dispatch:
    """Plans for events of different kinds.

    :param plans: by kind; None stands for events that nothing is made of.
    :param other: the plan for all other kinds, and for what is no str.
    :param kind: the attribute of events that says their kind.
    :param skew: the attribute that says what to add to their times, in milliseconds.
    :param reasons: what to say of events that become no record.
    :ivar unreadable_times: how many events of the last run got the time of receipt because theirs
        could not be read.
    :ivar impossible_times: likewise, because theirs was too early or too late.
    """

    cdef dict plans
    cdef Plan other
    cdef str kind, skew
    cdef str last_kind   # and its plan
    cdef Plan last_plan
    cdef object reasons
    cdef object event_type
    cdef Py_ssize_t kind_offset, skew_offset  # in an event_type
    cdef readonly int unreadable_times, impossible_times

    def __cinit__(self, plans, Plan other, *, str kind, str skew, reasons):
        self.plans = dict(plans)
        self.other = other
        self.kind = kind
        self.skew = skew
        self.reasons = reasons

    def run(self, events, outputs, int64_t received_ms):
        """Write the records of events.

        :param outputs: the buffers that ``Record.output`` counts in.
        :param received_ms: time of receipt, epoch milliseconds.
        :returns: the events that became no record, in order, and the reason of each.
        """
        cdef Outputs to = Outputs(outputs)
        cdef Plan plan
        cdef list left = []
        self.unreadable_times = self.impossible_times = 0
        for event in events:
            if type(event) is not self.event_type:
                self._learn_type(type(event))
            plan = self._plan_for(event)
            if plan is None:
                left.append((event, self.reasons.unmatched))
                continue
            try:
                if not plan.write(event, to, received_ms, self._skew_of(event)):
                    left.append((event, plan.reason or self.reasons.empty))
                if plan.values.now.time_fault:
                    self.unreadable_times += plan.values.now.time_fault == UNREADABLE
                    self.impossible_times += plan.values.now.time_fault == IMPOSSIBLE
            except MalformedInput:
                left.append((event, self.reasons.malformed))
        return left

    cdef int _learn_type(self, event_type) except -1:
        self.kind_offset = slot_offset(event_type, self.kind)
        self.skew_offset = slot_offset(event_type, self.skew)
        self.event_type = event_type
        return 0

    cdef Plan _plan_for(self, event):
        cdef PyObject* found = in_slot(event, self.kind_offset)
        kind = <object>found if found != NULL else getattr(event, self.kind)
        if type(kind) is not str:
            return self.other
        if kind != self.last_kind:  # nearly always they are the same
            self.last_plan = self.plans.get(kind, self.other)
            self.last_kind = kind
        return self.last_plan

    cdef int64_t _skew_of(self, event) except? -1:
        cdef PyObject* found = in_slot(event, self.skew_offset)
        return <object>found if found != NULL else getattr(event, self.skew)
