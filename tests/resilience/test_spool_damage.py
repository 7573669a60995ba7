"""Files that are not as they were left: nothing wrong is delivered, and the loss is counted."""

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import SpoolUnavailable
from gateway.model import Ledger
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.connection import is_damage
from gateway.spool.sqlite.recovery import integrity
from gateway.spool.sqlite.recovery.shadow_ledger import SLOT_BYTES, Memo, QueueMemo, Sidecar
from tests.unit.spool.test_spool import (
    DAMAGE,
    ELSEWHERE,
    MISCOUNTED,
    OTHER,
    QUEUE,
    Bench,
    bench,
    drain,
    entry,
    eventually,
    letter,
    names,
    total,
)

__all__ = ["bench"]

QUEUES = (QUEUE, OTHER, ELSEWHERE)


async def fill(spool: SqliteSpool, chunks: int = 60) -> set[str]:
    """Append chunks of different sizes to three queues; return the names of their records."""
    noise = random.Random(7)
    sent: set[str] = set()
    for n in range(chunks):
        size = noise.choice((3, 300, 9000))
        group = [f"{n}-{i}-{noise.randbytes(size).hex()}" for i in range(noise.randint(1, 3))]
        await spool.append([entry(*group, queue=QUEUES[n % 3])])
        sent.update(group)
    return sent


async def everything(spool: SqliteSpool) -> list[str]:
    return [name for queue in QUEUES for name in names(await drain(spool, queue))]


async def assert_sound(spool: SqliteSpool, sent: set[str], before: int) -> Ledger:
    """Fail unless what is there was sent, once, and the rest is counted as lost."""
    while True:
        with contextlib.suppress(SpoolUnavailable):
            found = await everything(spool)
            if spool.health().accepting:
                break
        await eventually(lambda: spool.health().accepting)
    ledger = total(spool)
    assert len(found) == len(set(found)), "a record twice"
    assert set(found) <= sent, "a record that nobody sent"
    assert ledger.gap == 0
    assert ledger.pending == len(found)
    assert ledger.accepted == before
    assert ledger.lost == ledger.dead_lettered == before - ledger.delivered - len(found)
    return ledger


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("kind", MISCOUNTED)
async def test_miscounted_chunk_is_found_when_the_spool_opens(bench: Bench, kind: str) -> None:
    spool = await bench.open()
    for queue in (QUEUE, QUEUE, QUEUE, OTHER, ELSEWHERE):
        await spool.append([entry("a", "b", queue=queue)])
    bench.sql(DAMAGE[kind])
    spool = await bench.reopen(spool)
    lost = 0 if kind == "destination" else 2  # its checksum tells whose it is
    assert total(spool) == Ledger(accepted=10, dead_lettered=lost, lost=lost, pending=10 - lost)
    assert len(await everything(spool)) == 10 - lost
    await spool.append([entry("goes on")])
    assert total(await bench.reopen(spool)).pending == 11 - lost


def with_other_schema(bench: Bench, change: str, statement: str) -> None:
    """Run a statement while the schema says something else about the indexes."""

    def rewrite(*statements: str, rows: Sequence[tuple[object, ...]] = ()) -> None:
        path = bench.directory / "worker-0.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            for each in statements:
                connection.execute(each)
            connection.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rows)

    rows = bench.sql("SELECT * FROM sqlite_master")
    rewrite(change)
    bench.sql(statement)
    rewrite("DELETE FROM sqlite_master", rows=rows)


HIDE = "DELETE FROM sqlite_master WHERE name = '{}'"
TURN_ROUND = "UPDATE sqlite_master SET sql = replace(sql, 'queue_id, id', 'queue_id, id DESC')"
TABLE_AND_INDEX = {
    "newest chunk": (HIDE.format("chunks_of_queue"), "DELETE FROM chunks WHERE id = 3"),
    "order of chunks": (TURN_ROUND, "REINDEX chunks_of_queue"),
    "letter": (HIDE.format("dead_letters_by_reason"), "DELETE FROM dead_letters WHERE id = 2"),
}


@pytest.mark.parametrize(
    ("damage", "is_large"),
    [(name, large) for name in TABLE_AND_INDEX for large in (False, True)][:-1],
)
async def test_index_that_tells_another_story_is_found_when_the_spool_opens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, damage: str, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(integrity, "PROVEN_BYTES", 0)
    spool = await bench.open()
    for n in range(3):
        await spool.append([entry(n)], [letter(str(n))])
    await spool.close()
    with_other_schema(bench, *TABLE_AND_INDEX[damage])
    spool = await bench.open()
    assert bench.metric("gateway_spool_salvages_total") == 1
    chunks, letters = await drain(spool), await spool.dead_letters.page(Filter())
    assert len(chunks) + len(letters) == (6 if damage == "order of chunks" else 5)
    ledger = total(spool)
    assert (ledger.pending, ledger.kept, ledger.gap) == (len(chunks), len(letters), 0)
    assert (ledger.accepted, ledger.lost) == (6, 6 - len(chunks) - len(letters))


async def test_page_that_says_it_is_empty_is_not_written_over(bench: Bench) -> None:
    spool = await bench.open()
    sent = await fill(spool)
    await spool.close()
    select = "SELECT rootpage FROM sqlite_master WHERE name = 'chunks_of_queue'"
    ((page,),) = bench.sql(select)
    with (bench.directory / "worker-0.db").open("r+b") as file:
        file.seek((page - 1) * 4096 + 5)
        file.write((4096).to_bytes(2, "big"))  # where its free space ends
    spool = await bench.open()
    await spool.append([entry(f"new {n}") for n in range(3)])
    await assert_sound(spool, sent | {f"new {n}" for n in range(3)}, len(sent) + 3)


async def closed(bench: Bench) -> tuple[set[str], Path]:
    """Return what a closed spool holds, and a copy of its files."""
    spool = await bench.open()
    sent = await fill(spool)
    await spool.close()
    copy = bench.directory.with_name("copy")
    shutil.copytree(bench.directory, copy)
    return sent, copy


async def crashed(bench: Bench) -> tuple[set[str], Path]:
    """The same of a spool that was killed: most of it is in the log."""
    spool = await bench.open()
    sent = await fill(spool)
    copy = bench.directory.with_name("copy")
    shutil.copytree(bench.directory, copy)
    await spool.close()
    return sent, copy


def put_back(bench: Bench, copy: Path) -> None:
    shutil.rmtree(bench.directory)
    shutil.copytree(copy, bench.directory)


@pytest.mark.parametrize("state", [closed, crashed])
@pytest.mark.parametrize("ending", ["db", "db-wal", "ledger"])
async def test_flipped_bytes_never_hurt_more_than_they_must(
    bench: Bench, state: Callable[[Bench], object], ending: str
) -> None:
    sent, copy = await state(bench)  # type: ignore[misc]
    size = (
        (copy / f"worker-0.{ending}").stat().st_size
        if (copy / f"worker-0.{ending}").exists()
        else 0
    )
    rng = random.Random(11)
    places = [
        *range(0, min(100, size), 9),
        *(rng.randrange(size) for _ in range(40 if size else 0)),
    ]
    for place in places:
        put_back(bench, copy)
        flip(bench.directory / f"worker-0.{ending}", place)
        spool = await bench.open()
        await assert_sound(spool, sent, len(sent))
        await spool.append([entry("goes on")])
        spool = await bench.reopen(spool)
        assert "goes on" in await everything(spool), place
        await spool.close()


@pytest.mark.parametrize("state", [closed, crashed])
@pytest.mark.parametrize("ending", ["db", "db-wal", "ledger"])
async def test_cut_files_never_hurt_more_than_they_must(
    bench: Bench, state: Callable[[Bench], object], ending: str
) -> None:
    sent, copy = await state(bench)  # type: ignore[misc]
    path = copy / f"worker-0.{ending}"
    size = path.stat().st_size if path.exists() else 0
    for part in range(20 if size else 0):
        put_back(bench, copy)
        with (bench.directory / f"worker-0.{ending}").open("r+b") as file:
            file.truncate(size * part // 20)
        spool = await bench.open()
        await assert_sound(spool, sent, len(sent))
        await spool.close()


@pytest.mark.parametrize("state", [closed, crashed])
@pytest.mark.parametrize("missing", ["db", "db-wal", "db-shm", "ledger", "lock"])
async def test_missing_file_is_counted(
    bench: Bench, state: Callable[[Bench], object], missing: str
) -> None:
    sent, copy = await state(bench)  # type: ignore[misc]
    put_back(bench, copy)
    (bench.directory / f"worker-0.{missing}").unlink(missing_ok=True)
    spool = await bench.open()
    ledger = await assert_sound(spool, sent, len(sent))
    if missing == "db":
        assert ledger.lost == len(sent)
    if missing in ("db-shm", "ledger", "lock"):
        assert ledger.lost == 0


async def test_lost_log_brings_delivered_records_back_only_when_it_must(bench: Bench) -> None:
    spool = await bench.open()
    for n in range(10):
        await spool.append([entry(n)])
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1, 2, 3), delivered=3))
    await spool.append([entry("late")])
    copy = bench.directory.with_name("copy")
    shutil.copytree(bench.directory, copy)
    await spool.close()
    put_back(bench, copy)
    (bench.directory / "worker-0.db-wal").unlink()
    spool = await bench.open()
    assert names(await drain(spool)) == [str(n) for n in range(3, 10)]
    assert total(spool) == Ledger(accepted=11, delivered=3, dead_lettered=1, lost=1, pending=7)
    before = total(spool)
    assert total(await bench.reopen(spool)) == before


async def test_lost_deliveries_are_known_and_not_made_again(bench: Bench) -> None:
    spool = await bench.open()
    for n in range(3):
        await spool.append([entry(n)])
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    await spool.settle(Settle(queue=QUEUE, chunk_ids=(1, 2), delivered=2))
    copy = bench.directory.with_name("copy")
    shutil.copytree(bench.directory, copy)
    await spool.close()
    put_back(bench, copy)
    (bench.directory / "worker-0.db-wal").unlink()
    spool = await bench.open()
    assert names(await drain(spool)) == ["2"]
    assert total(spool) == Ledger(accepted=3, delivered=2, pending=1)


async def test_dead_letters_survive_a_salvage(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)], [letter("first"), letter("second", ELSEWHERE)])
    await spool.close()
    bench.sql("UPDATE ledger SET accepted = 7 WHERE destination = 'mixpanel'")
    spool = await bench.open()
    assert [each.letter.reason for each in await spool.dead_letters.page(Filter())] == [
        "first",
        "second",
    ]
    assert total(spool) == Ledger(accepted=3, dead_lettered=2, pending=1)


async def test_damage_while_running_is_salvaged_and_service_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    spool = await bench.open()
    sent = await fill(spool)
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = bench.directory / "worker-0.db"
    size = path.stat().st_size
    with path.open("r+b") as file:  # everything but the first pages
        for page in range(8, size // 4096, 2):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    async with asyncio.timeout(20):
        while not bench.metric("gateway_spool_salvages_total"):
            with contextlib.suppress(SpoolUnavailable):
                await everything(spool)
    await eventually(lambda: spool.health().accepting)
    assert "recovered" in caplog.text
    accepted = total(spool).accepted
    found = await everything(spool)
    assert set(found) <= sent
    assert total(spool) == Ledger(
        accepted=accepted,
        dead_lettered=accepted - len(found),
        lost=accepted - len(found),
        pending=len(found),
    )
    await spool.append([entry("after")])
    assert "after" in await everything(spool)


async def test_salvage_that_cannot_be_done_is_told_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    await spool.close()
    bench.sql("UPDATE ledger SET accepted = 7")
    (bench.directory / "worker-0.unfinished").mkdir()  # where the new file would be written
    spool = await bench.open()
    assert "damaged" in spool.health().detail
    with pytest.raises(SpoolUnavailable, match="damaged"):
        await spool.append([entry(2)])
    (bench.directory / "worker-0.unfinished").rmdir()
    bench.clock.ms += 60_000
    await eventually(lambda: spool.health().accepting)
    await spool.append([entry(2)])
    assert names(await drain(spool)) == ["1", "2"]


async def test_salvage_that_was_interrupted_is_finished(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    await spool.close()
    path = bench.directory / "worker-0.db"
    shutil.copy(path, path.with_suffix(".recovered"))
    path.write_bytes(b"damaged")
    spool = await bench.open()
    assert names(await drain(spool)) == ["1"]
    assert len(list(bench.directory.glob("*.damaged-*.db"))) == 1


async def test_only_few_damaged_files_are_kept(bench: Bench) -> None:
    for _ in range(6):
        spool = await bench.open()
        await spool.append([entry(1)])
        await spool.close()
        bench.sql("UPDATE ledger SET accepted = 70")
        bench.clock.ms += 1
    await bench.open()
    assert len(list(bench.directory.glob("*.damaged-*.db"))) == 3


def test_torn_slot_of_the_sidecar_leaves_the_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    memos = [Memo(1, n, {"d": (n, 0)}, [QueueMemo(1, "d", "e", n)]) for n in range(3)]
    sidecar = Sidecar(path)
    assert sidecar.open() is None
    for memo in memos:
        sidecar.write(memo)
    assert sidecar.open() == memos[2]
    sidecar.close()
    flip(path, 3 % 2 * SLOT_BYTES + 30)
    assert Sidecar(path).open() == memos[1]


def test_value_that_claims_to_be_larger_than_any_can_be_is_damage() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
        with pytest.raises(sqlite3.DataError) as caught:
            connection.execute("SELECT zeroblob(2000)").fetchone()

    assert is_damage(caught.value)


async def test_ids_of_dead_letters_are_not_used_again_after_a_salvage(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([], [letter(str(n)) for n in range(3)])
    assert await spool.dead_letters.purge(["2", "3"]) == 2
    await spool.close()
    bench.sql("UPDATE ledger SET accepted = 7")
    spool = await bench.open()
    await spool.append([], [letter("new")])
    assert [int(each.id) > 3 for each in await spool.dead_letters.page(Filter())] == [False, True]


async def test_used_ids_are_not_used_again_after_the_file_was_lost(bench: Bench) -> None:
    spool = await bench.open()
    await fill(spool, 5)
    last = max([chunk.id for queue in QUEUES for chunk in await drain(spool, queue)])
    await spool.close()
    (bench.directory / "worker-0.db").unlink()
    spool = await bench.open()
    await spool.append([entry(1)])
    (chunk,) = await drain(spool)
    assert chunk.id > last
