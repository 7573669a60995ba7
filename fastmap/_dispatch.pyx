"""Running the events of a batch, each by the plan for its kind."""

from typing import NamedTuple

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from fastmap._attributes cimport in_slot, slot_offset
from fastmap._convert cimport IMPOSSIBLE, UNREADABLE
from fastmap._outputs cimport Outputs
from fastmap._plan cimport Plan

from fastmap.errors import MalformedInput


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
