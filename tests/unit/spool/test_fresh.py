"""What delivery takes from memory is what the file would have given it."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model import Queue
from gateway.spool.chunks import NumberedChunk
from gateway.spool.recent_chunks import Fresh
from tests.unit.spool.test_faults import refused
from tests.unit.spool.test_spool import OTHER, QUEUE, Bench, Disk, bench, entry, fail_at, names

__all__ = ["bench"]

QUEUES = (Queue("main", "import"), Queue("main", "engage"), Queue("other", "import"))
MAX_BYTES = 40

IDS = (
    "SELECT id, records FROM chunks WHERE id > ? AND queue_id ="
    " (SELECT id FROM queues NOT INDEXED WHERE destination = ? AND endpoint = ?)"
    " ORDER BY id"
)
"""What is asked of the file."""


def chunk(
    chunk_id: int, queue: Queue = QUEUE, *, records: int = 1, size: int = 10
) -> NumberedChunk:
    return NumberedChunk(
        id=chunk_id,
        queue=queue,
        records=records,
        raw_bytes=2 * size,
        created_ms=chunk_id,
        encoding="identity",
        payload=bytes(size),
    )


def within(
    chunks: Sequence[NumberedChunk], max_records: int, max_bytes: int
) -> list[NumberedChunk]:
    """The chunks that a read returns, the plain way."""
    for count in range(len(chunks), 1, -1):
        first = chunks[:count]
        records = sum(each.records for each in first)
        if records <= max_records and sum(each.raw_bytes for each in first) <= max_bytes:
            return list(first)
    return list(chunks[:1])


class Spool(RuleBasedStateMachine):
    """A file, what is published of it, and readers that do whatever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = Fresh(MAX_BYTES)
        self.file: dict[int, NumberedChunk] = {}
        self.unpublished: list[NumberedChunk] = []
        self.last_id = 0
        self.read: set[int] = set()

    def publish(self) -> None:
        self.fresh.add(self.unpublished)
        self.unpublished.clear()

    def waiting(self, queue: Queue, after: int) -> list[NumberedChunk]:
        return [each for each in self.file.values() if each.queue == queue and each.id > after]

    @rule(
        added=st.lists(
            st.tuples(st.sampled_from(QUEUES), st.integers(1, 5), st.integers(1, 30)), max_size=4
        ),
        publish=st.booleans(),
    )
    def commit(self, added: list[tuple[Queue, int, int]], publish: bool) -> None:
        self.publish()  # one commit after the other
        for queue, records, size in added:
            self.last_id += 1
            new = chunk(self.last_id, queue, records=records, size=size)
            self.file[new.id] = new
            self.unpublished.append(new)
        if publish:
            self.publish()

    @rule()
    def lose_count(self) -> None:
        self.unpublished.clear()  # a commit of which nobody knows whether it happened
        self.fresh.forget()

    @rule(
        queue=st.sampled_from(QUEUES),
        back=st.integers(0, 9),
        max_records=st.integers(1, 12),
        max_bytes=st.integers(1, 120),
    )
    def look(self, queue: Queue, back: int, max_records: int, max_bytes: int) -> None:
        after = max(0, self.last_id - back)
        expected = within(self.waiting(queue, after), max_records, max_bytes)
        hidden = set(map(id, self.unpublished))
        published = [each for each in self.waiting(queue, after) if id(each) not in hidden]
        taken = self.fresh.take(queue, after=after, max_records=max_records, max_bytes=max_bytes)
        if taken is None:
            taken = expected
            self.fresh.note_read(queue, max((each.id for each in taken), default=after))
        else:
            assert taken == within(published, max_records, max_bytes)
            assert self.read.isdisjoint(each.id for each in taken)
        self.read.update(each.id for each in taken)

    @rule(queue=st.sampled_from(QUEUES), count=st.integers(1, 3))
    def settle(self, queue: Queue, count: int) -> None:
        """Only what was read is settled, and in any order with reads."""
        known = [each for each in self.waiting(queue, 0) if each.id in self.read][:count]
        for each in known:
            self.fresh.note_read(queue, each.id)
            del self.file[each.id]

    @invariant()
    def keeps_within_its_bound(self) -> None:
        assert 0 <= self.fresh.held_bytes <= MAX_BYTES


TestSpool = Spool.TestCase


def take(fresh: Fresh, after: int, *, max_records: int = 100) -> list[int] | None:
    taken = fresh.take(QUEUE, after=after, max_records=max_records, max_bytes=1 << 20)
    return None if taken is None else [each.id for each in taken]


def test_chunks_are_taken_once_and_in_order() -> None:
    fresh = Fresh()
    fresh.add([chunk(5), chunk(7), chunk(8)])
    assert take(fresh, 4, max_records=2) == [5, 7]
    assert take(fresh, 4) is None  # given back: the file has it
    assert take(fresh, 7) == [8]
    assert take(fresh, 8) == []  # and nobody needs to look into the file
    assert fresh.held_bytes == 0


def test_what_came_before_is_in_the_file_alone() -> None:
    fresh = Fresh()
    fresh.add([chunk(5)])
    assert take(fresh, 3) is None
    assert take(Fresh(), 0) is None


def test_what_a_reader_of_the_file_saw_first_stays_there() -> None:
    fresh = Fresh()
    fresh.add([chunk(1)])
    assert take(fresh, 0) == [1]
    fresh.note_read(QUEUE, 2)  # it was committed, and nobody had said so yet
    fresh.add([chunk(2), chunk(3)])
    assert take(fresh, 1) is None
    assert take(fresh, 2) == [3]


def test_the_oldest_makes_room() -> None:
    fresh = Fresh(max_bytes=25)
    fresh.add([chunk(1), chunk(2, QUEUES[2]), chunk(3)])
    assert take(fresh, 0) is None
    assert take(fresh, 1) == [3]


async def test_delivery_reads_what_was_just_committed_without_the_file(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("a")])
    await spool.append([entry("b")])
    assert names(await spool.read(QUEUE)) == ["a", "b"]
    assert disk.count(IDS) == 0
    assert names(await spool.read(QUEUE)) == ["a", "b"]  # again: from the file
    assert disk.count(IDS) == 1


async def test_what_was_read_from_the_file_is_not_taken_from_memory_later(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("x", queue=OTHER)])
    await spool.append([entry("a")])
    for after, reads in ((0, 1), (1, 2)):  # nobody knows whether there was one before the first
        assert names(await spool.read(QUEUE, after=after)) == ["a"]
        assert disk.count(IDS) == reads


async def test_the_chunk_that_is_too_much_is_not_read(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect, fresh_bytes=0)
    for name in "abc":
        await spool.append([entry(name, name)])
    before = len(disk.statements)
    assert names(await spool.read(QUEUE, max_records=4)) == ["a", "a", "b", "b"]
    assert sum("payload" in sql for sql in disk.statements[before:]) == 2
    assert names(await spool.read(QUEUE, max_records=5)) == ["a", "a", "b", "b"]


async def test_a_commit_that_happened_although_it_failed_is_read_from_the_file(
    bench: Bench,
) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("a")])
    assert names(await spool.read(QUEUE)) == ["a"]
    disk.after = fail_at("COMMIT")
    await refused(spool, "nobody knows")
    disk.after = lambda sql: None
    await spool.append([entry("b")])
    assert names(await spool.read(QUEUE, after=1)) == ["nobody knows", "b"]
