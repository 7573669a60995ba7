"""The SQLite spool on real files; failures are injected at the connection."""

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import SpoolError, SpoolLocked, SpoolUnavailable
from gateway.model import DeadLetter, Entry, Ledger, Queue, QueueState
from gateway.spool.chunks import NumberedChunk, decode
from gateway.spool.dead_letters import Filter
from gateway.spool.outlet import MAX_CHUNK_BYTES, MAX_CHUNK_RECORDS
from gateway.spool.sqlite import SqliteSpool, group_commit, space
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.format import FORMAT
from gateway.telemetry import Telemetry
from tests.support.leases import Listener

QUEUE = Queue("mixpanel", "import")
OTHER = Queue("mixpanel", "engage")
ELSEWHERE = Queue("second", "import")


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass
class Disk:
    """A connection factory that holds or fails chosen statements, and remembers all of them."""

    gate: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    statements: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda sql: None
    after: Callable[[str], None] = lambda sql: None

    def __post_init__(self) -> None:
        self.gate.set()

    def connect(self, path: Path) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
                disk.statements.append(sql)
                if sql == "COMMIT":
                    disk.reached.set()
                    assert disk.gate.wait(20)
                disk.before(sql)
                cursor = super().execute(sql, parameters)
                disk.after(sql)
                return cursor

        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    def count(self, sql: str) -> int:
        return self.statements.count(sql)


def fail_at(*statements: str) -> Callable[[str], None]:
    def check(sql: str) -> None:
        if sql.startswith(statements):
            raise sqlite3.OperationalError("disk I/O error")

    return check


class Bench:
    """Makes spools in one directory, and closes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.telemetry = Telemetry()
        self.spools: list[SqliteSpool] = []

    def new(self, **options: Any) -> SqliteSpool:
        arguments: dict[str, Any] = {"max_bytes": 1 << 40, "min_free_bytes": 0, **options}
        spool = SqliteSpool(self.directory, clock=self.clock, telemetry=self.telemetry, **arguments)
        self.spools.append(spool)
        return spool

    async def open(self, **options: Any) -> SqliteSpool:
        spool = self.new(**options)
        await spool.open()
        return spool

    async def reopen(self, spool: SqliteSpool) -> SqliteSpool:
        await spool.close()
        return await self.open()

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement from outside, as an operator or a broken disk would."""
        connection = sqlite3.connect(self.directory / "worker-0.db", isolation_level=None)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        return self.telemetry.registry.get_sample_value(name) or 0.0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "spool")
    yield bench
    for spool in bench.spools:
        await spool.close()


def entry(*names: object, queue: Queue = QUEUE) -> Entry:
    return Entry(queue, b"".join(b'{"n":"%s"}\n' % str(n).encode() for n in names), len(names))


def letter(reason: str = "refused", queue: Queue = QUEUE) -> DeadLetter:
    return DeadLetter(
        queue=queue, kind="record", reason=reason, detail="no such project", payload=b'{"n":1}'
    )


def names(chunks: Sequence[NumberedChunk]) -> list[str]:
    lines = b"".join(decode(chunk.encoding, chunk.payload) for chunk in chunks).splitlines()
    return [line[6:-2].decode() for line in lines]


async def drain(spool: SqliteSpool, queue: Queue = QUEUE) -> list[NumberedChunk]:
    chunks: list[NumberedChunk] = []
    while more := await spool.read(queue, after=chunks[-1].id if chunks else 0):
        chunks += more
    return chunks


async def append(spool: SqliteSpool, *entries: Entry) -> None:
    """Append from a task of its own, as a request does."""
    await spool.append(entries)


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.005)


def total(spool: SqliteSpool) -> Ledger:
    return sum(spool.ledger().values(), Ledger())


# Durability and grouping


async def test_append_is_not_done_before_the_commit(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    disk.gate.clear()
    done = asyncio.ensure_future(spool.append([entry(1)]))
    await reached(disk.reached)
    assert not done.done()
    assert total(spool) == Ledger()
    assert bench.sql("SELECT COUNT(*) FROM chunks") == [(0,)]
    disk.gate.set()
    await done
    assert bench.sql("SELECT COUNT(*) FROM chunks") == [(1,)]
    assert total(spool) == Ledger(accepted=1, pending=1)


async def test_settle_is_not_done_before_the_commit(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry(1)])
    disk.gate.clear()
    disk.reached.clear()
    done = asyncio.create_task(spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1)))
    await reached(disk.reached)
    assert not done.done()
    assert total(spool).delivered == 0
    disk.gate.set()
    await done
    assert total(spool) == Ledger(accepted=1, delivered=1)


async def test_requests_that_are_on_their_way_share_one_commit(bench: Bench) -> None:
    spool = await bench.open()
    before = bench.metric("gateway_spool_commits_total")
    accepted = []
    for n in range(30):
        accepted.append(asyncio.ensure_future(spool.append([entry(n)])))
        for _ in range(n % 3):  # turns without a request
            await asyncio.sleep(0)
    await asyncio.gather(*accepted)
    assert bench.metric("gateway_spool_commits_total") == before + 1


@pytest.mark.parametrize(
    ("bound", "value"), [("GATHER_S", 0.05), ("GROUP_REQUESTS", 50), ("GROUP_BYTES", 1000)]
)
async def test_a_commit_does_not_wait_for_ever_for_requests_that_come_and_come(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, bound: str, value: float
) -> None:
    for each in ("GATHER_S", "GROUP_REQUESTS", "GROUP_BYTES"):
        monkeypatch.setattr(group_commit, each, value if each == bound else 1 << 40)
    spool = await bench.open()
    first = asyncio.ensure_future(spool.append([entry("first")]))
    others = []
    async with asyncio.timeout(60):
        while not first.done():
            others.append(asyncio.ensure_future(spool.append([entry("other")])))
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)


async def test_requests_of_one_turn_of_the_loop_share_one_commit(bench: Bench) -> None:
    spool = await bench.open()
    await asyncio.gather(*(spool.append([entry(n)]) for n in range(100)))
    assert bench.metric("gateway_spool_commits_total") == 1
    assert names(await spool.read(QUEUE)) == [str(n) for n in range(100)]


async def test_requests_that_arrive_during_a_commit_form_the_next(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    disk.gate.clear()
    first = asyncio.ensure_future(spool.append([entry("first")]))
    await reached(disk.reached)
    later = [asyncio.ensure_future(spool.append([entry(n)])) for n in range(50)]
    disk.gate.set()
    await asyncio.gather(first, *later)
    assert disk.count("COMMIT") == 2
    assert [chunk.records for chunk in await spool.read(QUEUE)] == [1, 50]


async def test_large_backlog_is_committed_in_bounded_groups(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_TIMES", 1)  # this disk may be slow, too
    spool = await bench.open()
    requests = group_commit.GROUP_REQUESTS * 2 + 1
    await asyncio.gather(*(spool.append([entry(n)]) for n in range(requests)))
    assert bench.metric("gateway_spool_commits_total") == 3
    assert names(await drain(spool)) == [str(n) for n in range(requests)]


async def test_appends_keep_their_order_in_each_queue(bench: Bench) -> None:
    spool = await bench.open()
    await asyncio.gather(*(spool.append([entry(n), entry(-n, queue=OTHER)]) for n in range(700)))
    assert names(await drain(spool)) == [str(n) for n in range(700)]
    assert names(await drain(spool, OTHER)) == [str(-n) for n in range(700)]


async def test_cancelled_caller_does_not_disturb_the_group(bench: Bench) -> None:
    spool = await bench.open()
    gone = asyncio.ensure_future(spool.append([entry("gone")]))
    stays = asyncio.ensure_future(spool.append([entry("stays")]))
    gone.cancel()
    await stays
    assert total(spool).pending == 2


async def test_append_of_nothing_succeeds(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([])
    assert (spool.ledger(), spool.queues()) == ({}, {})


async def test_listener_hears_of_queues_that_grew(bench: Bench) -> None:
    spool = await bench.open()
    heard = Listener.at(spool, QUEUE, OTHER, ELSEWHERE)
    await spool.append([entry(1), entry(2, queue=ELSEWHERE)])
    await eventually(lambda: bool(heard))
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1))
    await spool.append([], [letter()])
    await asyncio.sleep(0)
    assert heard == [QUEUE, ELSEWHERE]


async def test_listener_that_raises_hurts_nobody(bench: Bench) -> None:
    spool = await bench.open()
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    def fail(queue: Queue) -> None:
        raise RuntimeError(queue)

    spool.outlet(QUEUE).attach(Listener(QUEUE, fail))
    await spool.append([entry(1)])
    await spool.append([entry(2)])
    await eventually(lambda: len(errors) == 2)


# Limits of a chunk, and reading


async def test_entry_larger_than_a_chunk_is_cut(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(*range(MAX_CHUNK_RECORDS + 1))])
    chunks = await drain(spool)
    assert [chunk.records for chunk in chunks] == [MAX_CHUNK_RECORDS, 1]
    assert names(chunks) == [str(n) for n in range(MAX_CHUNK_RECORDS + 1)]
    assert spool.queues()[QUEUE].chunks == 2


async def test_read_stays_within_both_limits(bench: Bench) -> None:
    spool = await bench.open()
    for n in range(5):
        await spool.append([entry(n, n)])  # 10 bytes a record
    ids = [chunk.id for chunk in await spool.read(QUEUE)]
    assert ids == [1, 2, 3, 4, 5]
    assert len(await spool.read(QUEUE, max_records=5)) == 2
    assert len(await spool.read(QUEUE, max_bytes=60)) == 3
    assert [chunk.id for chunk in await spool.read(QUEUE, after=3)] == [4, 5]
    assert await spool.read(QUEUE, after=5) == []
    assert await spool.read(OTHER) == []


async def test_first_chunk_is_read_even_when_it_exceeds_the_limits(bench: Bench) -> None:
    spool = await bench.open()
    huge = b'{"n":"' + b"x" * MAX_CHUNK_BYTES + b'"}\n'
    await spool.append([Entry(QUEUE, huge, 1), entry("next")])
    (chunk,) = await spool.read(QUEUE)
    assert decode(chunk.encoding, chunk.payload) == huge
    assert len(await spool.read(QUEUE, max_records=0, max_bytes=0)) == 1


async def test_chunk_tells_what_it_holds(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry("a", "b")])
    assert await spool.read(QUEUE) == [
        NumberedChunk(
            id=1,
            queue=QUEUE,
            records=2,
            raw_bytes=20,
            created_ms=bench.clock.ms,
            encoding="identity",
            payload=b'{"n":"a"}\n{"n":"b"}\n',
        )
    ]


# Settling


async def test_delivered_chunks_are_gone(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1, 2)])
    await spool.append([entry(3)])
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1, 2), delivered=3))
    assert await spool.read(QUEUE) == []
    assert total(spool) == Ledger(accepted=3, delivered=3)
    assert spool.queues() == {QUEUE: QueueState(pending=0, chunks=0, oldest_ms=None)}


async def test_dead_records_are_kept_with_their_reason(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1, 2, 3)])
    bench.clock.ms += 5
    dead = [letter("refused"), letter("too_large")]
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1, dead=dead))
    assert total(spool) == Ledger(accepted=3, delivered=1, dead_lettered=2)
    stored = await spool.dead_letters.page(Filter())
    assert [kept.letter for kept in stored] == dead
    now_ms = bench.clock.ms
    assert [(kept.id, kept.created_ms) for kept in stored] == [("1", now_ms), ("2", now_ms)]
    assert [kept.id for kept in await spool.dead_letters.page(Filter(), after="1")] == ["2"]
    assert len(await spool.dead_letters.page(Filter(), limit=1)) == 1


async def test_remaining_records_keep_place_and_age_of_the_first_chunk(bench: Bench) -> None:
    spool = await bench.open()
    born = bench.clock.ms
    for name in ("a", "b", "c"):
        await spool.append([entry(name, name)])
        bench.clock.ms += 1000
    rest = entry("rest", "rest")
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1, 2), delivered=2, remaining=rest))
    first, last = await spool.read(QUEUE)
    assert (first.id, first.created_ms, names([first])) == (1, born, ["rest", "rest"])
    assert names([last]) == ["c", "c"]
    assert spool.queues()[QUEUE] == QueueState(pending=4, chunks=2, oldest_ms=born)
    assert total(spool) == Ledger(accepted=6, delivered=2, pending=4)


async def test_settlement_of_every_kind_at_once_adds_up(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(*range(10))])
    await spool.settle(
        Settle(queue=QUEUE, chunk_ids=(1,), delivered=4, dead=[letter()], remaining=entry(*"abcde"))
    )
    assert total(spool) == Ledger(accepted=10, delivered=4, dead_lettered=1, pending=5)


@pytest.mark.parametrize(
    "wrong",
    [
        Settle(queue=QUEUE, chunk_ids=(1,), delivered=1),
        Settle(queue=QUEUE, chunk_ids=(1,), delivered=2, dead=[letter()]),
        Settle(queue=QUEUE, chunk_ids=(1,), delivered=2, remaining=entry("x")),
        Settle(queue=QUEUE, chunk_ids=(1, 1), delivered=4),
        Settle(queue=QUEUE, chunk_ids=(1, 99), delivered=2),
        Settle(queue=QUEUE, chunk_ids=(), delivered=0),
        Settle(queue=OTHER, chunk_ids=(1,), delivered=2),
        Settle(queue=ELSEWHERE, chunk_ids=(1,), delivered=2),
    ],
)
async def test_settlement_that_does_not_add_up_is_refused_alone(
    bench: Bench, wrong: Settle
) -> None:
    spool = await bench.open()
    await spool.append([entry(1, 2), entry(3, queue=OTHER)])
    results = await asyncio.gather(
        append(spool, entry("same group")),
        spool.settle(wrong),
        spool.settle(Settle(queue=OTHER, chunk_ids=(2,), delivered=1)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), SpoolError, type(None)]
    assert total(spool) == Ledger(accepted=4, delivered=1, pending=3)
    assert bench.metric("gateway_spool_commits_total") == 2
    assert names(await spool.read(QUEUE)) == ["1", "2", "same group"]
    assert spool.health().accepting


async def test_chunk_settled_twice_in_one_group_counts_once(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    once = Settle(queue=QUEUE, chunk_ids=(1,), delivered=1)
    results = await asyncio.gather(spool.settle(once), spool.settle(once), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), SpoolError]
    assert total(spool) == Ledger(accepted=1, delivered=1)


async def test_ids_are_never_used_again(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1))
    spool = await bench.reopen(spool)
    await spool.append([entry(2)])
    assert [chunk.id for chunk in await spool.read(QUEUE, after=1)] == [2]


# Counters


async def test_oldest_record_follows_the_queue(bench: Bench) -> None:
    spool = await bench.open()
    born = bench.clock.ms
    for _ in range(2):
        await spool.append([entry(1)])
        bench.clock.ms += 10
    assert spool.queues()[QUEUE].oldest_ms == born
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1))
    assert spool.queues()[QUEUE].oldest_ms == born + 10
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(2,), delivered=1))
    assert spool.queues()[QUEUE].oldest_ms is None


async def test_oldest_record_is_known_whatever_comes_and_goes(bench: Bench) -> None:
    rng = random.Random(1)
    spool = await bench.open()
    for step in range(300):
        works: list[Awaitable[None]] = []
        for queue in rng.sample((QUEUE, OTHER), rng.randint(1, 2)):
            there = await spool.read(queue)
            ended = rng.sample(there, rng.randint(0, len(there)))
            if ended:
                ids = tuple(sorted(chunk.id for chunk in ended))
                rest = entry("rest", queue=queue) if rng.random() < 0.3 else None
                gone = sum(chunk.records for chunk in ended) - (rest is not None)
                works.append(
                    spool.settle(Settle(queue=queue, chunk_ids=ids, delivered=gone, remaining=rest))
                )
            if rng.random() < 0.5:
                works.append(spool.append([entry(step, queue=queue)]))
        await asyncio.gather(*works)
        bench.clock.ms += 10
        if rng.random() < 0.05:
            spool = await bench.reopen(spool)
        for queue, state in spool.queues().items():
            chunks = await spool.read(queue)
            assert state.oldest_ms == min((c.created_ms for c in chunks), default=None)


async def test_letters_of_an_append_count_as_accepted_and_dead(bench: Bench) -> None:
    spool = await bench.open()
    rejected = letter("missing_event_name", Queue("mixpanel", ""))
    await spool.append([entry(1)], [rejected])
    assert total(spool) == Ledger(accepted=2, dead_lettered=1, pending=1)
    assert list(spool.queues()) == [QUEUE]
    assert [kept.letter for kept in await spool.dead_letters.page(Filter())] == [rejected]


async def test_letter_with_broken_text_is_kept(bench: Bench) -> None:
    spool = await bench.open()
    broken = DeadLetter(queue=QUEUE, kind="event", reason="x", detail="\ud800!", payload=b"{}")
    await spool.append([entry(1)], [broken])
    assert [kept.letter.detail for kept in await spool.dead_letters.page(Filter())] == ["?!"]


async def test_restart_finds_everything_and_counts_the_same(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1, 2), entry(3, queue=ELSEWHERE)], [letter()])
    await spool.append([entry(4)], [letter(queue=Queue("mixpanel", ""))])
    await spool.append([entry(5, queue=OTHER)])
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1, dead=[letter()]))
    await spool.settle(Settle(queue=OTHER, chunk_ids=(4,), delivered=1))
    before = (
        spool.ledger(),
        spool.queues(),
        await drain(spool),
        await spool.dead_letters.page(Filter()),
    )
    spool = await bench.reopen(spool)
    after = (
        spool.ledger(),
        spool.queues(),
        await drain(spool),
        await spool.dead_letters.page(Filter()),
    )
    assert after == before
    assert {name: ledger.gap for name, ledger in spool.ledger().items()} == {
        "mixpanel": 0,
        "second": 0,
    }


async def test_close_commits_what_was_appended(bench: Bench) -> None:
    spool = await bench.open()
    waiting = [asyncio.ensure_future(spool.append([entry(n)])) for n in range(600)]
    await asyncio.gather(spool.close(), spool.close())
    await asyncio.gather(*waiting)
    await spool.close()
    assert sorted(path.name for path in bench.directory.iterdir()) == [
        "worker-0.db",
        "worker-0.ledger",
        "worker-0.lock",
        "worker-0.reserve",
    ]
    spool = await bench.open()
    assert total(spool) == Ledger(accepted=600, pending=600)


async def test_closed_spool_refuses_everything(bench: Bench) -> None:
    spool = await bench.open()
    await spool.close()
    assert not spool.health().accepting
    calls: list[Awaitable[object]] = [
        spool.append([entry(1)]),
        spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1)),
        spool.read(QUEUE),
        spool.dead_letters.page(Filter()),
    ]
    for call in calls:
        with pytest.raises(SpoolUnavailable, match="not open"):
            await call


# Failing disks


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO chunks", "COMMIT"])
async def test_failing_commit_keeps_nothing_and_heals(bench: Bench, statement: str) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("before")])
    disk.before = fail_at(statement)
    results = await asyncio.gather(
        append(spool, entry("lost")),
        append(spool, entry("lost", queue=ELSEWHERE)),
        spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [SpoolUnavailable] * 3
    assert total(spool) == Ledger(accepted=1, pending=1)
    assert "disk I/O error" in spool.health().detail
    assert str(bench.directory) in spool.health().detail
    disk.before = lambda sql: None
    await spool.append([entry("after"), entry("after", queue=ELSEWHERE)])
    assert spool.health().accepting
    assert names(await spool.read(QUEUE)) == ["before", "after"]
    assert total(spool) == Ledger(accepted=3, pending=3)
    before = (spool.ledger(), spool.queues())
    spool = await bench.reopen(spool)
    assert (spool.ledger(), spool.queues()) == before


async def test_health_question_heals_without_an_append(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    disk.before = fail_at("COMMIT")
    with pytest.raises(SpoolUnavailable):
        await spool.append([entry(1)])
    failures = bench.metric("gateway_spool_failures_total")
    assert not spool.health().accepting
    await eventually(lambda: bench.metric("gateway_spool_failures_total") > failures)
    disk.before = lambda sql: None
    await eventually(lambda: spool.health().accepting)
    assert total(spool) == Ledger()


async def test_commit_that_worked_and_still_raised_is_counted_as_it_is_on_disk(
    bench: Bench,
) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    heard = Listener.at(spool, QUEUE, OTHER)
    disk.after = fail_at("COMMIT")
    with pytest.raises(SpoolUnavailable):
        await spool.append([entry(1)])
    disk.after = lambda sql: None
    assert total(spool) == Ledger(accepted=1, pending=1)
    assert names(await spool.read(QUEUE)) == ["1"]
    await eventually(lambda: heard == [QUEUE])


async def test_disk_that_cannot_even_be_read_is_counted_again_when_it_can(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect, fresh_bytes=0)
    await spool.append([entry(1)])
    disk.after = fail_at("COMMIT")
    disk.before = fail_at("PRAGMA", "SELECT")
    with pytest.raises(SpoolUnavailable):
        await spool.append([entry(2)])
    with pytest.raises(SpoolUnavailable):
        await spool.append([entry(3)])
    with pytest.raises(SpoolUnavailable, match="cannot read"):
        await spool.read(QUEUE)
    disk.before = disk.after = lambda sql: None
    await spool.append([entry(4)])
    chunks = await spool.read(QUEUE)
    assert total(spool) == Ledger(accepted=len(names(chunks)), pending=len(names(chunks)))
    assert {"1", "4"} <= set(names(chunks))


async def test_bug_in_the_writer_leaves_nobody_waiting(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await bench.open()
    wrong = Entry(QUEUE, "not bytes\n", 1)  # type: ignore[arg-type]
    with pytest.raises(SpoolUnavailable):
        await spool.append([wrong])
    assert "Traceback" in caplog.text
    await spool.append([entry(1)])


# Limits of the spool


async def test_full_spool_refuses_appends_and_still_settles(bench: Bench) -> None:
    spool = await bench.open(max_bytes=200_000)
    noise = random.Random(1)
    refusal: SpoolUnavailable | None = None
    while refusal is None:
        line = noise.randbytes(15_000).replace(b"\n", b"") + b"\n"
        try:
            await spool.append([Entry(QUEUE, line, 1)])
        except SpoolUnavailable as error:
            refusal = error
    assert refusal.retry_after_s == 30
    assert "200000" in refusal.detail
    assert not spool.health().accepting
    kept = total(spool).pending
    assert 8 < kept < 14
    chunks = await drain(spool)
    ids = tuple(chunk.id for chunk in chunks)
    await spool.settle(Settle(queue=QUEUE, chunk_ids=ids, delivered=kept))
    assert spool.health().accepting
    await spool.append([entry("fits again")])
    assert total(spool) == Ledger(accepted=kept + 1, delivered=kept, pending=1)


async def test_nearly_full_disk_refuses_appends(bench: Bench) -> None:
    spool = await bench.open(min_free_bytes=1 << 60)
    with pytest.raises(SpoolUnavailable, match="disk") as refused:
        await spool.append([entry(1)], [letter()])
    assert refused.value.retry_after_s == 30
    assert not spool.health().accepting
    assert spool.ledger() == {}


async def test_room_is_looked_at_now_and_then_while_there_is_plenty(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    least = 1 << 20
    free = space.PLENTY_BYTES + least

    def statvfs(path: object) -> SimpleNamespace:
        looks.append(path)
        return SimpleNamespace(f_bavail=free, f_frsize=1)

    spool = await bench.open(min_free_bytes=least)
    await spool.append([entry(0)])
    monkeypatch.setattr(os, "statvfs", statvfs)
    bench.clock.ms += 100
    for n in range(10):
        await spool.append([entry(n)])
    assert len(looks) == 1
    bench.clock.ms += 100
    await spool.append([entry(10)])
    assert len(looks) == 2
    bench.clock.ms += 100
    free -= 1  # little enough for everybody to look
    for n in range(10):
        await spool.append([entry(n)])
    assert len(looks) == 12
    free = least - 1
    with pytest.raises(SpoolUnavailable, match="nearly full"):
        await spool.append([entry("too much")])


async def test_overload_is_refused_at_once(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect, max_waiting_bytes=10_000)
    disk.gate.clear()
    accepted = [asyncio.ensure_future(spool.append([entry(n)])) for n in range(9)]
    with pytest.raises(SpoolUnavailable, match="overloaded") as refused:
        await spool.append([entry("too many")])
    assert refused.value.retry_after_s == 2
    disk.gate.set()
    await asyncio.gather(*accepted)
    await spool.append([entry("welcome")])
    assert total(spool).accepted == 10


async def test_request_larger_than_what_may_wait_is_accepted_when_nothing_waits(
    bench: Bench,
) -> None:
    spool = await bench.open(max_waiting_bytes=10_000)
    await spool.append([Entry(QUEUE, b"x" * 20_000 + b"\n", 1)])
    assert total(spool).accepted == 1


async def test_space_is_given_back_after_a_backlog(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "KEPT_FREE_PAGES", 16)
    monkeypatch.setattr(space, "VACUUM_PAGES", 64)
    spool = await bench.open()
    for n in range(20):
        line = random.Random(n).randbytes(100_000).replace(b"\n", b"") + b"\n"
        await spool.append([Entry(QUEUE, line, 1)])
    path = bench.directory / "worker-0.db"
    while chunks := await spool.read(QUEUE):
        bench.clock.ms += 100  # nobody looks for room all the time
        await spool.settle(Settle(queue=QUEUE, chunk_ids=(chunks[0].id,), delivered=1))
    await spool.close()
    assert path.stat().st_size < 300_000


# The file


async def test_second_instance_is_refused(bench: Bench) -> None:
    first = await bench.open()
    with pytest.raises(SpoolLocked, match=r"worker-0\.lock"):
        await bench.open()
    await first.append([entry(1)])
    await bench.open(name="worker-1")


OPEN = """
import asyncio, sys
from pathlib import Path
from tests.support.specimens import new_spool
asyncio.run(new_spool(Path(sys.argv[1])).open())
"""


async def test_second_process_is_refused(bench: Bench) -> None:
    await bench.open()
    child = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", OPEN, str(bench.directory)],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert child.returncode == 1
    assert b"SpoolLocked: the spool" in child.stderr


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_files_are_private_whatever_the_umask(bench: Bench, umask: int) -> None:
    before = os.umask(umask)
    try:
        spool = await bench.open()
        await spool.append([entry(1)])
        await spool.read(QUEUE)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in bench.directory.iterdir()}
    endings = ("db", "db-wal", "db-shm", "lock", "ledger", "reserve")
    assert modes == {f"worker-0.{ending}": 0o600 for ending in endings}
    assert stat.S_IMODE(bench.directory.stat().st_mode) == 0o700


async def test_newer_format_is_refused_and_left_alone(bench: Bench) -> None:
    await (await bench.open()).close()
    (bench.directory / "worker-0.ledger").unlink()  # it tells a newer file from a damaged one
    bench.sql(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(SpoolError, match="newer"):
        await bench.open()
    bench.sql(f"PRAGMA user_version = {FORMAT}")
    await bench.open()


async def test_file_that_is_no_database_is_set_aside(bench: Bench) -> None:
    bench.directory.mkdir()
    (bench.directory / "worker-0.db").write_bytes(b"hello" * 10_000)
    spool = await bench.open()
    await spool.append([entry(1)])
    (aside,) = bench.directory.glob("worker-0.damaged-*.db")
    assert b"hello" * 9_000 in aside.read_bytes()


async def test_directory_that_cannot_be_made_is_refused(bench: Bench) -> None:
    bench.directory.write_bytes(b"")
    with pytest.raises(SpoolError, match="is a file and no folder"):
        await bench.open()


async def test_durability_settings_are_what_the_design_says(bench: Bench) -> None:
    disk = Disk()
    await bench.open(connect=disk.connect)
    assert "PRAGMA synchronous = FULL" in disk.statements
    assert bench.sql("PRAGMA journal_mode") == [("wal",)]
    assert bench.sql("PRAGMA auto_vacuum") == [(2,)]


# Damage

DAMAGE = {
    "payload": "UPDATE chunks SET payload = CAST('x' || substr(payload, 2) AS BLOB) WHERE id = 2",
    "shorter": "UPDATE chunks SET payload = substr(payload, 1, 7) WHERE id = 2",
    "text": "UPDATE chunks SET payload = CAST(payload AS TEXT) WHERE id = 2",
    "empty": "UPDATE chunks SET payload = '' WHERE id = 2",
    "fewer": "UPDATE chunks SET records = 1 WHERE id = 2",
    "more": "UPDATE chunks SET records = 1000 WHERE id = 2",
    "size": "UPDATE chunks SET raw_bytes = 1 << 40 WHERE id = 2",
    "encoding": "UPDATE chunks SET encoding = CAST(X'FF80' AS TEXT) WHERE id = 2",
    "queue": "UPDATE chunks SET queue_id = 1 WHERE id = 4",
    "destination": "UPDATE chunks SET queue_id = 1 WHERE id = 5",
}

MISCOUNTED = ("fewer", "more", "destination")
"""What an opened spool notices by its counts alone: see test_spool_damage.py."""

FOUND_WHEN_READ = [
    pytest.param(statement, restart, id=f"{name}-{'restarted' if restart else 'running'}")
    for name, statement in DAMAGE.items()
    for restart in (False, True)
    if not (restart and name in MISCOUNTED)
]


@pytest.mark.parametrize(("statement", "restart"), FOUND_WHEN_READ)
async def test_damaged_chunk_is_set_aside_and_counted(
    bench: Bench, statement: str, restart: bool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await bench.open(fresh_bytes=0)
    for name in ("a", "b", "c"):
        await spool.append([entry(name, name)])
    await spool.append([entry("d", "d", queue=OTHER)])
    await spool.append([entry("e", "e", queue=ELSEWHERE)])
    bench.sql(statement)
    if restart:
        spool = await bench.reopen(spool)
    expected = ["a", "a", "c", "c"] if "id = 2" in statement else ["a", "a", "b", "b", "c", "c"]
    assert names(await drain(spool)) == expected
    assert names(await drain(spool)) == expected
    assert total(spool) == Ledger(accepted=10, dead_lettered=2, lost=2, pending=8)
    assert [ledger.gap for ledger in spool.ledger().values()] == [0, 0]
    assert bench.metric("gateway_spool_damaged_chunks_total") == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert bench.sql("SELECT reason, payload IS NULL FROM damaged_chunks") == [("checksum", 0)]
    assert spool.health().accepting
    before = (spool.ledger(), spool.queues())
    spool = await bench.reopen(spool)
    assert (spool.ledger(), spool.queues()) == before


async def test_queue_of_nothing_but_damage_is_emptied(bench: Bench) -> None:
    spool = await bench.open(fresh_bytes=0)
    for name in range(300):
        await spool.append([entry(name)])
    bench.sql("UPDATE chunks SET checksum = checksum + 1")
    assert await spool.read(QUEUE) == []
    assert total(spool) == Ledger(accepted=300, dead_lettered=300, lost=300)
    assert spool.queues() == {QUEUE: QueueState(pending=0, chunks=0, oldest_ms=None)}


async def test_damage_found_while_the_disk_fails_is_set_aside_later(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect, fresh_bytes=0)
    await spool.append([entry(1)])
    bench.sql("UPDATE chunks SET checksum = checksum + 1")
    disk.before = fail_at("COMMIT")
    assert await spool.read(QUEUE) == []
    assert total(spool) == Ledger(accepted=1, pending=1)
    disk.before = lambda sql: None
    assert await spool.read(QUEUE) == []
    assert total(spool) == Ledger(accepted=1, dead_lettered=1, lost=1)


async def test_damaged_chunk_that_cannot_be_moved_makes_a_new_file(bench: Bench) -> None:
    def malformed(sql: str) -> None:
        if sql == "DELETE FROM chunks WHERE id = ?":
            raise sqlite3.DatabaseError("database disk image is malformed")

    disk = Disk(before=malformed)
    spool = await bench.open(connect=disk.connect, fresh_bytes=0)
    await spool.append([entry("a")])
    await spool.append([entry("b")])
    bench.sql("UPDATE chunks SET checksum = checksum + 1 WHERE id = 1")
    async with asyncio.timeout(20):
        while not bench.metric("gateway_spool_salvages_total"):
            assert names(await spool.read(QUEUE)) == ["b"]
            await eventually(lambda: spool.health().accepting)
    assert names(await drain(spool)) == ["b"]
    assert total(spool) == Ledger(accepted=2, dead_lettered=1, lost=1, pending=1)
    assert bench.metric("gateway_spool_salvages_total") == 1


async def test_row_that_cannot_be_read_stops_nothing(bench: Bench) -> None:
    spool = await bench.open()
    long_name = "y" * 12_000  # stored plain, so the pages it flows over into are recognisable
    for name in ("a", long_name, "c"):
        await spool.append([entry(name)])
    await spool.close()
    path = bench.directory / "worker-0.db"
    data = bytearray(path.read_bytes())
    (page,) = [n for n in range(0, len(data), 4096) if data[n + 4 : n + 4096] == b"y" * 4092][:1]
    data[page : page + 4] = b"\x7f\xff\xff\xff"  # the number of the next page
    path.write_bytes(data)

    spool = await bench.open()
    assert names(await drain(spool)) == ["a", "c"]
    assert names(await drain(spool)) == ["a", "c"]
    await eventually(lambda: spool.health().accepting)
    assert total(spool) == Ledger(accepted=3, dead_lettered=1, lost=1, pending=2)
    await spool.append([entry("d")])
    assert names(await drain(spool)) == ["a", "c", "d"]
