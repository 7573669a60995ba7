"""Finding the wanted places of an event's inputs.

A tree of places, made of all paths of a mapping, is followed through the raw JSON of each input
once.  Where a path ends the value's span becomes a slot; nothing is decoded.
"""

cimport cython
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastmap._inputs cimport Input, Inputs
from fastmap._memory cimport allocate
from fastmap._scan cimport (
    HASH_SEED, JSON, TEXT, KeyTable, Slot, Table, find_hashed, fm_equal, fm_hash,
    skip_space, skip_value, slot_of_token, string_end, unescape,
)

from fastmap.errors import MalformedInput


cdef inline int find(
    const Table* table, const char* key, Py_ssize_t length, bint escaped
) noexcept:
    cdef char plain[MAX_ESCAPED_KEY]
    if escaped:
        if length > MAX_ESCAPED_KEY:
            return -1
        length = unescape(key, length, plain)
        key = plain
    return find_hashed(table, key, length, fm_hash(key, length, HASH_SEED))


@cython.final
cdef class Paths:
    """The slots of a mapping, filled from one event after the other.

    :param program: what ``fastmap.compiler.compile_mapping`` made of the mapping.
    """

    def __cinit__(self, program):
        self.tables = []
        self.inputs = Inputs(program)
        self.root_count = len(program.roots)
        self.item_root = program.item_root
        self.slot_count = program.slots
        self.slots = <Slot*>allocate(program.slots, sizeof(Slot))
        self._build(program)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.place_count):
            free(self.places[i].guesses)
        free(self.places)
        free(self.targets)
        free(self.items)
        free(self.roots)
        free(self.slots)

    cdef int _build(self, program) except -1:
        cdef Py_ssize_t i, target, index
        cdef list targets = []
        cdef list items = []
        cdef KeyTable table
        self.places = <Place*>allocate(len(program.places), sizeof(Place))
        self.place_count = len(program.places)
        for i, place in enumerate(program.places):
            self.places[i].slot = place.slot
            self.places[i].first = place.first
            self.places[i].last = place.last
            self.places[i].members = NULL
            if place.members:
                self.places[i].first_member = len(targets)
                table = KeyTable({key: number for number, key in enumerate(place.members)})
                self.tables.append(table)
                self.places[i].members = &table.table
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

    cdef int load(self, event) except -1:
        """Fill the slots from the inputs of an event; ``inputs.release`` has to follow.

        Inputs that are the same as in the event before keep their slots.
        """
        cdef Py_ssize_t i
        self.forget_item()
        self.inputs.begin(event)
        for i in range(self.root_count):
            if self.inputs.read(i, event):
                self._load(i)
        return 0

    cdef const char* load_item(self, const char* p, const char* end) noexcept:
        """Fill the slots of paths into an item; returns the place past it, NULL when malformed."""
        self.forget_item()
        return self._take(self.places + self.item_root, p, end)

    cdef void forget_item(self) noexcept:
        """Empty the slots of paths into an item: outside of the array there is none."""
        cdef const Place* root = self.places + self.item_root
        memset(self.slots + root.first, 0, (root.last - root.first) * sizeof(Slot))

    cdef int _load(self, Py_ssize_t i) except -1:
        """Fill the slots of one input: text becomes one, raw JSON is searched for all of them."""
        cdef const Place* place = self.places + self.roots[i]
        cdef Input* given = self.inputs.items + i
        cdef const char* p = given.ptr
        cdef const char* end = given.ptr + given.len
        cdef const char* stop
        cdef Slot* slot
        memset(self.slots + place.first, 0, (place.last - place.first) * sizeof(Slot))
        if given.kind == TEXT and place.slot >= 0:
            slot = self.slots + place.slot
            slot.kind = TEXT
            slot.first = c'"'
            slot.ptr = given.ptr
            slot.len = given.len
        elif given.kind == JSON:
            p = skip_space(p, end)
            if p != end:
                stop = self._search(place, p, end)
                if stop == NULL or skip_space(stop, end) != end:
                    raise MalformedInput(f"{self.inputs.names[i]} is not JSON")
                if place.slot >= 0:
                    slot_of_token(self.slots + place.slot, p, stop)
        given.is_searched = True
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
        if target.last - target.first > (target.slot >= 0):
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
                found = find(place.members, key, p - key, escaped)
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
