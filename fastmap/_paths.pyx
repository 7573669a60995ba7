"""Finding the wanted places of an event's inputs.

A tree of places, made of all paths of a mapping, is followed through the raw JSON of each input
once.  Where a path ends the value's span becomes a slot; nothing is decoded.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdlib cimport free
from libc.string cimport memset

from fastmap._inputs cimport Input, Inputs
from fastmap._keys cimport Key, begin_object, follows, free_keys, new_keys, remember
from fastmap._members cimport Member, Members
from fastmap._memory cimport allocate
from fastmap._scan cimport (
    HASH_SEED, JSON, TEXT, KeyTable, Slot, find_hashed, fm_hash, skip_space, skip_value,
    slot_of_token, string_end, unescape,
)

from fastmap.errors import MalformedInput


@cython.final
cdef class Paths:
    """The slots of a mapping, filled from one event after the other.

    :param program: what ``fastmap.compiler.compile_mapping`` made of the mapping.
    """

    def __cinit__(self, program):
        self.alive = []
        self.inputs = Inputs(program)
        self.root_count = len(program.roots)
        self.item_root = program.item_root
        self.slot_count = program.slots
        self.slots = <Slot*>allocate(program.slots, sizeof(Slot))
        self.listed = <PyObject**>allocate(program.slots, sizeof(PyObject*))
        self._build(program)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.place_count):
            free_keys(self.places[i].keys)
        free(self.places)
        free(self.listed)
        free(self.targets)
        free(self.items)
        free(self.roots)
        free(self.slots)

    cdef int _build(self, program) except -1:
        cdef Py_ssize_t i, target, index
        cdef list targets = []
        cdef list items = []
        cdef KeyTable table
        cdef Members members
        self.places = <Place*>allocate(len(program.places), sizeof(Place))
        self.place_count = len(program.places)
        for i, place in enumerate(program.places):
            self.places[i].slot = place.slot
            self.places[i].first = place.first
            self.places[i].last = place.last
            self.places[i].members = NULL
            if place.members or place.is_listed:
                self.places[i].first_member = len(targets)
                table = KeyTable({key: number for number, key in enumerate(place.members)})
                self.alive.append(table)
                self.places[i].members = &table.table
                targets.extend(place.members.values())
            if place.is_listed:
                members = Members()
                self.alive.append(members)
                self.places[i].listed = self.listed[<int>place.slot] = <PyObject*>members
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
        if self.has_item:  # of an event that failed
            self.forget_item()
        self.inputs.begin(event)
        for i in range(self.root_count):
            if self.inputs.read(i, event):
                self._load(i)
        return 0

    cdef const char* load_item(self, const char* p, const char* end) except? NULL:
        """Fill the slots of paths into an item; returns the place past it, NULL when malformed."""
        self.forget_item()
        self.has_item = True
        return self._take(self.places + self.item_root, p, end)

    cdef void forget_item(self) noexcept:
        """Empty the slots of paths into an item: outside of the array there is none."""
        cdef const Place* root = self.places + self.item_root
        self.has_item = False
        memset(self.slots + root.first, 0, (root.last - root.first) * sizeof(Slot))

    cdef int _load(self, Py_ssize_t i) except -1:
        """Fill the slots of one input: text becomes one, raw JSON is searched for all of them."""
        cdef Place* place = self.places + self.roots[i]
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

    cdef Members members_of(self, int slot):
        """Return the members of the object in a slot."""
        return <Members>self.listed[slot]

    cdef const char* _search(self, Place* place, const char* p, const char* end) except? NULL:
        """Fill the slots below a value; returns the place past it, NULL when malformed.

        Goes only as deep as paths go, not as deep as the input.
        """
        if p < end and p[0] == c"{" and place.members != NULL:
            return self._search_object(place, p, end)
        if p < end and p[0] == c"[" and place.items:
            return self._search_array(place, p, end)
        return skip_value(p, end)

    cdef const char* _take(self, Place* target, const char* start, const char* end) except? NULL:
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

    cdef const char* _search_object(self, Place* place, const char* p, const char* end) except? NULL:
        cdef Members members = None
        cdef Member other
        cdef Member* member = &other
        cdef Key* key
        cdef const char* value
        cdef int found
        if place.keys == NULL:
            place.keys = new_keys(OTHER_KEYS if place.listed == NULL else LISTED_KEYS)
        key = begin_object(place.keys)
        if place.listed != NULL:
            members = <Members>place.listed
            members.begin()
        p = skip_space(p + 1, end)
        if p < end and p[0] == c"}":
            return p + 1
        while True:
            p = skip_space(p, end)
            if p >= end or p[0] != c'"':
                return NULL
            if members is not None:
                member = members.add()
                member.is_repeated = False
            member.start = p
            if follows(key, p + 1, end):
                key = key.next
                found = key.found
                member.key = p + 1
                member.key_len = key.len - 1
                member.hash = key.hash
                p += key.len + 1
            else:
                key = self._read_key(place, key, member, end, &found)
                if key == NULL:
                    return NULL
                p = member.end
            p = skip_space(p, end)
            if p >= end or p[0] != c":":
                return NULL
            p = value = skip_space(p + 1, end)
            if found < 0:
                p = skip_value(p, end)
            else:
                p = self._take(self.places + self.targets[place.first_member + found], p, end)
            if p == NULL:
                return NULL
            if members is not None:
                member.end = p
                # In the case of braces, brackets are braces.
                if (value[0] | 32) == c"{" and p - value > members.largest:
                    members.largest = p - value
                if key.seen == place.keys.objects or key == &place.keys.stranger:
                    members.may_repeat = True
                key.seen = place.keys.objects
            p = skip_space(p, end)
            if p >= end:
                return NULL
            if p[0] == c"}":
                return p + 1
            if p[0] != c",":
                return NULL
            p += 1

    cdef Key* _read_key(
        self, const Place* place, Key* last, Member* member, const char* end, int* found
    ) except? NULL:
        """Read the key of a member whose start is given, and remember that it follows the last one.

        ``member.end`` becomes the place past the key.  NULL when it is malformed.
        """
        cdef char plain[MAX_ESCAPED_KEY]
        cdef bint escaped = False
        cdef const char* p = string_end(member.start + 1, end, &escaped)
        if p == NULL:
            return NULL
        member.end = p + 1
        member.key = member.start + 1
        member.key_len = p - member.key
        found[0] = -1
        if not escaped:
            member.hash = fm_hash(member.key, member.key_len, HASH_SEED)
            found[0] = find_hashed(place.members, member.key, member.key_len, member.hash)
            return remember(
                place.keys, last, member.key, member.key_len, member.hash, found[0]
            )
        last.next = NULL
        if place.listed != NULL:
            (<Members>place.listed).unescape_key(member, end)
        elif member.key_len <= MAX_ESCAPED_KEY:
            member.key_len = unescape(member.key, member.key_len, plain)
            member.key = plain
        else:
            return &place.keys.stranger
        member.hash = fm_hash(member.key, member.key_len, HASH_SEED)
        found[0] = find_hashed(place.members, member.key, member.key_len, member.hash)
        return &place.keys.stranger

    cdef const char* _search_array(self, Place* place, const char* p, const char* end) except? NULL:
        cdef const Item* item
        cdef Place* target
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
