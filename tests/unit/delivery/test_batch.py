"""Batches, what becomes of their records, and what the spool is told."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.batch import Batch, Body, Piece
from gateway.delivery.outcome import Delivered, FailedRecord, Partial, Split
from gateway.delivery.progress import Progress, RequestTally, halves
from gateway.model import Queue
from gateway.spool.chunks import NumberedChunk
from gateway.spool.outlet import Settlement
from tests.support.leases import batch_of

QUEUE = Queue("main", "import")
Encoding = Literal["gzip", "identity"]


def chunk(id: int, lines: Sequence[bytes], encoding: Encoding = "gzip") -> NumberedChunk:  # noqa: A002
    data = b"".join(lines)
    return NumberedChunk(
        id=id,
        queue=QUEUE,
        records=len(lines),
        raw_bytes=len(data),
        created_ms=1000 + id,
        encoding=encoding,
        payload=gzip.compress(data) if encoding == "gzip" else data,
    )


def records(start: int, stop: int) -> list[bytes]:
    return [b'{"n":%d}\n' % n for n in range(start, stop)]


def peek(progress: Progress) -> Piece | None:
    piece = progress.take()
    if piece is not None:
        progress.prefer(piece)
    return piece


def apply(progress: Progress, outcome: Delivered | Partial | Split) -> RequestTally:
    """What a sender does with the next piece that it can send."""
    piece = progress.take()
    assert piece is not None
    verdict = progress.apply(piece, outcome)
    if isinstance(outcome, Split) and len(piece) > 1:
        progress.prefer_halves(piece)
    return verdict


def progress_of(batch: Batch, max_records: int = 2000, max_bytes: int = 2**21) -> Progress:
    return Progress(batch, max_records=max_records, max_bytes=max_bytes)


def test_one_whole_chunk_is_sent_as_it_is_stored() -> None:
    stored = chunk(1, records(0, 5))
    body = batch_of(stored).body(range(5))
    assert body.gzipped
    assert body.data is stored.payload
    assert body.plain() == b"".join(records(0, 5))


def test_several_chunks_are_merged_in_order() -> None:
    batch = batch_of(chunk(3, records(0, 2)), chunk(7, records(2, 5), "identity"))
    assert batch.chunk_ids == (3, 7)
    assert (batch.records, batch.created_ms) == (5, 1003)
    data = b"".join(records(0, 5))
    assert batch.body(range(5)) == Body(data, False, 5, len(data))


def test_part_of_a_batch_holds_just_those_records() -> None:
    batch = batch_of(chunk(1, records(0, 5)))
    assert batch.body([1, 3]).plain() == b'{"n":1}\n{"n":3}\n'


def test_a_carriage_return_does_not_end_a_record() -> None:
    line = b'{"a":\r1}\n'
    assert batch_of(chunk(1, [line, line])).lines == [line, line]


@pytest.mark.parametrize("size", [4, 1000])
def test_a_chunk_that_does_not_inflate_to_its_size_is_an_error(size: int) -> None:
    body = Body(gzip.compress(b'{"n":1}\n'), True, 1, size)
    with pytest.raises(ValueError, match="do not inflate"):
        body.plain()
    with pytest.raises(ValueError, match="not valid gzip"):
        Body(b"garbage, not gzip", True, 1, size).plain()


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    max_records=st.integers(1, 10),
    max_bytes=st.integers(8, 120),
)
def test_pieces_cover_a_batch_in_order_within_the_limits(
    sizes: list[int], max_records: int, max_bytes: int
) -> None:
    lines = [b"1" * (size + 1) + b"\n" for size in sizes]
    batch = batch_of(chunk(1, lines))
    pieces = batch.cut(range(len(lines)), max_records, max_bytes)
    assert [index for piece in pieces for index in piece] == list(range(len(lines)))
    for piece in pieces:
        as_array = 1 + sum(len(lines[index]) for index in piece)
        assert 1 <= len(piece) <= max_records
        assert len(piece) == 1 or as_array <= max_bytes


def test_a_split_tries_the_left_half_first_and_ends_with_the_single_record() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 4))))
    sent = []
    while (piece := peek(progress)) is not None:
        sent.append(list(piece))
        apply(progress, Split("refused", "no") if 2 in piece else Delivered())
    assert sent == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    settlement = progress.conclude()
    assert settlement.delivered == 3
    assert [(d.reason, d.detail, d.payload) for d in settlement.dead] == [
        ("refused", "no", b'{"n":2}')
    ]
    assert settlement.remaining is None


def test_what_is_done_is_kept_when_the_rest_has_to_wait() -> None:
    progress = progress_of(batch_of(chunk(3, records(0, 2)), chunk(7, records(2, 4))))
    apply(progress, Split("refused", "no"))
    assert progress.keep() is None
    apply(progress, Delivered())
    kept = progress.keep()
    assert kept is not None
    assert kept.delivered == 2
    assert kept.remaining is not None
    assert kept.remaining.lines == b'{"n":2}\n{"n":3}\n'
    assert progress.left == 4
    progress.settled(kept)
    assert progress.left == 2
    assert progress.keep() is None
    apply(progress, Delivered())
    assert progress.conclude() == Settlement(delivered=2)


def test_a_new_round_sends_the_refused_records_together() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 5))))
    apply(progress, Partial((FailedRecord(1, "x"), FailedRecord(4, "y"))))
    assert (progress.refused, progress.example) == (2, "x")
    kept = progress.keep()
    assert kept is not None
    progress.settled(kept)
    progress.restart()
    assert (progress.refused, peek(progress)) == (0, [1, 4])
    apply(progress, Partial((FailedRecord(1, "y"),)))
    settlement = progress.conclude()
    assert [letter.payload for letter in settlement.dead] == [b'{"n":4}']
    assert settlement.delivered == 1


def test_some_of_the_untried_records_may_be_sent_first() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 6))))
    progress.prefer([2, 5])
    assert peek(progress) == [2, 5]
    apply(progress, Split("refused", "no"))
    assert progress.untried == [2, 5, 0, 1, 3, 4]
    apply(progress, Split("refused", "no"))
    apply(progress, Delivered())
    assert progress.reconsider() == (2,)
    assert apply(progress, Delivered()) == (1, 0)
    assert progress.reconsider() == ()
    assert peek(progress) == [0, 1, 3, 4]
    assert apply(progress, Partial((FailedRecord(1, "x"),))) == (3, 1)
    settlement = progress.conclude()
    assert (settlement.delivered, [letter.payload for letter in settlement.dead]) == (
        5,
        [b'{"n":1}'],
    )


def test_what_was_preferred_and_not_sent_goes_back_to_its_place() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 6))))
    progress.prefer([1, 4])
    piece = progress.take()
    assert piece is not None
    progress.put_back(piece)
    assert progress.untried != [0, 1, 2, 3, 4, 5]  # 4 would overtake 2
    progress.in_order()
    assert progress.untried == [0, 1, 2, 3, 4, 5]


@dataclass
class Disk:
    """What a spool makes of settlements."""

    lines: list[bytes]
    delivered: int = 0
    dead: int = 0

    def apply(self, settlement: Settlement) -> None:
        before = self.lines
        rest = settlement.remaining
        remaining = [] if rest is None else rest.lines.splitlines(keepends=True)
        assert len(remaining) == (0 if rest is None else rest.records)
        dead = [letter.payload + b"\n" for letter in settlement.dead]
        assert settlement.delivered + len(dead) + len(remaining) == len(before)
        assert not set(remaining) & set(dead)
        assert set(remaining) | set(dead) <= set(before)
        assert remaining == [line for line in before if line in set(remaining)]
        self.delivered += settlement.delivered
        self.dead += len(dead)
        self.lines = remaining


@given(data=st.data(), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_every_record_has_exactly_one_fate(data: st.DataObject, sizes: list[int]) -> None:
    total = sum(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    stored = {
        i + 1: records(start, start + size)
        for i, (start, size) in enumerate(zip(starts, sizes, strict=True))
    }
    disk = Disk([line for lines in stored.values() for line in lines])
    limit = data.draw(st.integers(1, 8))
    progress = progress_of(batch_of(*(chunk(i, lines) for i, lines in stored.items())), limit)
    accepted: list[int] = []  # what the service would have stored, without what it refused
    for _ in range(200):
        piece = peek(progress)
        if piece is None:
            break
        assert len(piece) <= limit
        step = data.draw(st.sampled_from(("ok", "ok", "some", "split", "wait", "restart")))
        if step == "ok":
            accepted += piece
            apply(progress, Delivered())
        elif step == "some":
            failed = data.draw(
                st.sets(st.integers(0, len(piece) - 1), min_size=1, max_size=len(piece))
            )
            accepted += [index for i, index in enumerate(piece) if i not in failed]
            apply(progress, Partial(tuple(FailedRecord(i, "no") for i in sorted(failed))))
        elif step == "split":
            apply(progress, Split("refused", "no"))
        else:
            if (kept := progress.keep()) is not None:
                disk.apply(kept)
                progress.settled(kept)
            if step == "restart":
                progress.restart()
    assert len(accepted) == len(set(accepted))
    if not progress.untried:
        settlement = progress.conclude()
        disk.apply(settlement)
        progress.settled(settlement)
        assert progress.is_over
        assert disk.lines == []
    on_disk = len(disk.lines)
    assert progress.left == on_disk
    assert disk.delivered + disk.dead + on_disk == total
    assert disk.delivered <= len(accepted)


def test_what_is_forgotten_is_made_again() -> None:
    batch = batch_of(chunk(1, records(0, 3)), chunk(2, records(3, 5)))
    before = batch.body([1, 4])
    batch.compact()
    assert "lines" not in vars(batch)
    assert batch.body([1, 4]) == before


def test_memory_counts_what_is_stored_its_lines_and_a_request() -> None:
    lines = [b"x" * 999 + b"\n"] * 100
    stored = chunk(1, lines)
    batch = batch_of(stored)
    small = len(stored.payload)
    assert batch.stored_bytes == small < 1000
    assert 100_000 + 2 * small < batch.memory_bytes(sent_plain=False) < 120_000
    assert 200_000 < batch.memory_bytes(sent_plain=True) < 220_000


def test_a_probe_takes_the_first_records_and_leaves_the_rest_in_order() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 10))))
    first = progress.take(4)
    assert first == range(4)
    progress.put_back(first)
    assert progress.take(4) == range(4)
    progress.apply(range(4), Delivered())
    assert progress.take() == range(4, 10)
    progress.apply(range(4, 10), Delivered())
    assert progress.take(4) is None


def test_halves_keep_records_about_the_same_together_as_long_as_possible() -> None:
    assert halves(range(5), None) == (range(2), range(2, 5), True)
    subjects = ["a", "b", "a", "c", "b", "a"]
    assert halves(range(6), subjects) == ([0, 2, 5], [1, 3, 4], True)
    assert halves([1, 3, 4], subjects) == ([1, 4], [3], True)
    assert halves([0, 2, 5], subjects) == ([0], [2, 5], False)


def test_what_is_put_back_goes_out_in_its_order() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 6))))
    assert progress.take() == range(6)
    progress.put_back([1, 4])
    progress.put_back([5], [0, 2], ())
    assert [progress.take() for _ in range(4)] == [[0, 2], [1, 4], [5], None]
    assert progress.unsettled == list(range(6))
    progress.apply([0, 2], Delivered())
    progress.apply([1], Split("refused", "no"))
    assert progress.unsettled == [0, 2, 3, 4, 5]
    kept = progress.keep()
    assert kept is not None
    progress.settled(kept)
    assert progress.unsettled == [3, 4, 5]


def test_what_is_withheld_stays_in_the_spool() -> None:
    progress = progress_of(batch_of(chunk(1, records(0, 3))))
    progress.withhold([1])
    assert progress.untried == [0, 2]
    assert apply(progress, Delivered()) == (2, 0)
    kept = progress.keep()
    assert kept is not None
    assert kept.remaining is not None
    assert kept.remaining.lines == b'{"n":1}\n'
    progress.put_back([1])
    assert progress.untried == [1]
