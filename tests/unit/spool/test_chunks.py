import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Entry, Queue
from gateway.spool import chunks
from gateway.spool.outlet import MAX_CHUNK_BYTES, MAX_CHUNK_RECORDS

A = Queue("a", "import")
B = Queue("b", "engage")


def entry(*records: bytes, queue: Queue = A) -> Entry:
    return Entry(queue, b"".join(record + b"\n" for record in records), len(records))


def lines_of(entries: list[Entry], queue: Queue) -> list[bytes]:
    return b"".join(e.lines for e in entries if e.queue == queue).splitlines()


def test_entries_of_one_queue_become_one_chunk_in_order() -> None:
    grouped = chunks.group([entry(b"1", b"2"), entry(b"9", queue=B), entry(b"3")])
    assert grouped == [entry(b"1", b"2", b"3"), entry(b"9", queue=B)]


def test_entry_with_too_many_records_is_cut() -> None:
    big = entry(*(b"%d" % n for n in range(MAX_CHUNK_RECORDS + 5)))
    grouped = chunks.group([entry(b"first"), big])
    assert [chunk.records for chunk in grouped] == [MAX_CHUNK_RECORDS, 6]
    assert lines_of(grouped, A) == [b"first", *big.lines.splitlines()]


def test_entry_with_too_many_bytes_is_cut_at_newlines() -> None:
    record = b"x" * (MAX_CHUNK_BYTES // 2 - 1)
    grouped = chunks.group([entry(record, record, record)])
    assert [chunk.records for chunk in grouped] == [2, 1]
    assert len(grouped[0].lines) == MAX_CHUNK_BYTES


def test_record_larger_than_a_chunk_stays_alone() -> None:
    huge = b"x" * (MAX_CHUNK_BYTES + 1)
    grouped = chunks.group([entry(b"before", huge, b"after")])
    assert [chunk.lines for chunk in grouped] == [b"before\n", huge + b"\n", b"after\n"]


def test_nothing_to_group_gives_nothing() -> None:
    assert chunks.group([]) == []


@settings(max_examples=100, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.sampled_from([A, B]), st.lists(st.integers(0, 90), min_size=1, max_size=12)),
        max_size=12,
    )
)
def test_any_requests_keep_every_record_in_order_within_limits(
    requests: list[tuple[Queue, list[int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MAX_CHUNK_RECORDS", 5)
        patch.setattr(chunks, "MAX_CHUNK_BYTES", 64)
        entries = [
            entry(*(b"%d:%d:" % (i, j) + b"x" * size for j, size in enumerate(sizes)), queue=queue)
            for i, (queue, sizes) in enumerate(requests)
        ]
        grouped = chunks.group(entries)
    for queue in (A, B):
        assert lines_of(grouped, queue) == lines_of(entries, queue)
    for chunk in grouped:
        assert chunk.records == chunk.lines.count(b"\n") > 0
        assert chunk.records <= 5
        assert len(chunk.lines) <= 64 or chunk.records == 1


def test_small_chunk_is_stored_plain() -> None:
    stored = chunks.encode(entry(b'{"a":1}'))
    assert (stored.encoding, stored.payload) == ("identity", b'{"a":1}\n')


def test_large_chunk_is_stored_as_gzip_that_everyone_reads() -> None:
    chunk = entry(*(json.dumps({"n": n}).encode() for n in range(2000)))
    stored = chunks.encode(chunk)
    assert stored.encoding == "gzip"
    assert stored.raw_bytes == len(chunk.lines) > 2 * len(stored.payload)
    assert gzip.decompress(stored.payload) == chunk.lines
    assert chunks.decode("gzip", stored.payload) == chunk.lines


def test_same_records_give_the_same_bytes() -> None:
    chunk = entry(*[b"x" * 100] * 1000)
    assert chunks.encode(chunk) == chunks.encode(chunk)


@pytest.mark.parametrize(
    ("queue", "records", "raw_bytes", "encoding", "payload"),
    [
        (Queue("a", "engage"), 2, 8, "identity", b"1\n2\n"),
        (Queue("aimport", ""), 2, 8, "identity", b"1\n2\n"),
        (A, 3, 8, "identity", b"1\n2\n"),
        (A, 2, 9, "identity", b"1\n2\n"),
        (A, 28, 0, "identity", b"1\n2\n"),
        (A, 2, 8, "gzip", b"1\n2\n"),
        (A, 2, 8, "identity", b"1\n3\n"),
        (A, 2, 8, "identity", b"1\n2"),
    ],
)
def test_any_difference_changes_the_checksum(
    queue: Queue, records: int, raw_bytes: int, encoding: str, payload: bytes
) -> None:
    right = chunks.checksum(A, 2, 8, "identity", b"1\n2\n")
    assert chunks.checksum(queue, records, raw_bytes, encoding, payload) != right
