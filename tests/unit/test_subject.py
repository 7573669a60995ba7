"""What records are about: the same for the same profile, whatever is written around it."""

import json
from collections.abc import Mapping, Sequence

import pytest

from gateway.model import Entry, Queue
from gateway.subject import keys_of, subject_of

Some = list[Mapping[str, object]]

A: Some = [
    {"$token": "t", "$distinct_id": "a", "$set": {"n": 1}},
    {"$unset": ["n"], "$distinct_id": "a"},
    {"$distinct_id": "\u0061", "properties": {"distinct_id": "other"}},
]
NUMBER: Some = [{"$distinct_id": 7}, {"$distinct_id": "7"}]
GROUP: Some = [
    {"$group_key": "company", "$group_id": "a", "$set": {"n": 1}},
    {"$group_id": "a", "$group_key": "company"},
]
OTHER_GROUP: Some = [{"$group_key": "team", "$group_id": "a"}]
EVENTS: Some = [
    {"event": "A", "properties": {"distinct_id": "a", "time": 1}},
    {"properties": {"time": 2, "distinct_id": "a"}, "event": "B"},
]
GARBAGE = (b"no JSON", b"[]", b'{"$distinct_id"', b"\xff", b'{"$distinct_id":"\\ud800"}')


def lines(*records: Mapping[str, object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize(
    ("endpoint", "records"),
    [("engage", A), ("engage", NUMBER), ("groups", GROUP), ("import", EVENTS), ("track", EVENTS)],
)
def test_records_about_the_same_have_the_same_key(
    endpoint: str, records: Sequence[Mapping[str, object]]
) -> None:
    keys = keys_of(endpoint, lines(*records))
    assert len(keys) == len(records)
    assert len(set(keys)) == 1


def test_records_about_others_have_other_keys() -> None:
    updates = [A[0], NUMBER[0], GROUP[0], OTHER_GROUP[0]]
    assert len(set(keys_of("engage", lines(*updates)))) == 4
    events: list[Mapping[str, object]] = [
        EVENTS[0],
        {"event": "A", "properties": {"distinct_id": "b"}},
    ]
    assert len(set(keys_of("import", lines(*events)))) == 2


@pytest.mark.parametrize("endpoint", ["engage", "import"])
def test_record_that_cannot_be_read_has_a_key_all_the_same(endpoint: str) -> None:
    for record in GARBAGE:
        (key,) = keys_of(endpoint, record + b"\n")
        assert isinstance(key, bytes)
        hash(subject_of(record))
    deep = b'{"$distinct_id":' + b"[" * 100_000 + b"\n"
    assert len(keys_of(endpoint, deep)) == 1


def test_key_is_the_same_in_every_process() -> None:
    """A log goes by it for longer than a process lives."""
    entry = Entry(Queue("main", "engage"), lines(A[0], GROUP[0]), 2)
    assert entry.keys() == [b"a\0None\0None", b"None\0company\0a"]
    event = Entry(Queue("main", "import"), lines(EVENTS[0]), 1)
    assert event.keys() == [b"a"]
