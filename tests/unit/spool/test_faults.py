"""Disks that fail, fill up, hang or vanish under a running spool."""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import Ledger
from gateway.spool.sqlite import SqliteSpool, files
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.reserve import RESERVE_BYTES
from tests.unit.spool.test_spool import (
    QUEUE,
    Bench,
    Disk,
    bench,
    drain,
    entry,
    eventually,
    fail_at,
    names,
    reached,
    total,
)

__all__ = ["bench"]


async def refused(spool: SqliteSpool, name: str = "refused") -> str:
    with pytest.raises(SpoolUnavailable) as error:
        await spool.append([entry(name)])
    return error.value.detail


async def healed(spool: SqliteSpool) -> None:
    await eventually(lambda: spool.health().accepting)


# fsync that fails


async def test_nothing_is_acknowledged_until_the_log_is_durable_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("before")])
    disk.after = fail_at("COMMIT")  # the frames are written, and whether they last is unknown

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "fsync")

    monkeypatch.setattr("gateway.spool.sqlite.file.write_again", fail)
    await refused(spool)
    disk.after = lambda sql: None
    for _ in range(3):
        assert "fsync" in await refused(spool)
    monkeypatch.undo()
    await healed(spool)
    await spool.append([entry("after")])
    assert names(await drain(spool)) == ["before", "refused", "after"]
    assert total(spool) == Ledger(accepted=3, pending=3)


async def test_nothing_is_acknowledged_until_the_name_of_the_log_is_durable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[set[str]] = []

    def watch(path: Path) -> None:
        if path == bench.directory:
            synced.append({each.name for each in path.iterdir()})
        files.sync(path)

    monkeypatch.setattr("gateway.spool.sqlite.file.sync", watch)
    await bench.open()
    assert {"worker-0.db", "worker-0.db-wal"} <= synced[-1]


def test_log_is_written_again_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "log"
    content = os.urandom(3 * 1024 * 1024 + 7)
    path.write_bytes(content)
    before = path.stat().st_mtime_ns
    os.utime(path, ns=(0, 0))
    files.write_again(path)
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns >= before > 0
    files.write_again(tmp_path / "missing")


# Files that vanish


@pytest.fixture(params=["new", "old"])
def age(request: pytest.FixtureRequest, bench: Bench) -> str:
    """That of the directory; an old one is trusted to tell of every change in it."""
    age: str = request.param
    if age == "old":
        bench.clock.ms = SystemClock().now_ms() + 3_600_000
    return age


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Names that were looked at."""
    looks: list[object] = []
    real = files.identity

    def look(path: Path | str) -> tuple[int, int] | None:
        looks.append(path)
        return real(path)

    monkeypatch.setattr(files, "identity", look)
    return looks


@pytest.mark.parametrize("ending", ["db", "db-wal", "db-shm", "lock"])
async def test_names_are_looked_at_when_something_may_have_changed_in_the_directory(
    bench: Bench, age: str, looks: list[object], ending: str
) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    looks.clear()
    for n in range(10):
        await spool.append([entry(n)])
    assert (not looks) == (age == "old")
    await asyncio.sleep(0.05)  # the clock of the file system ticks
    path = bench.directory / f"worker-0.{ending}"
    path.rename(bench.directory / "aside")
    looks.clear()
    with contextlib.suppress(SpoolUnavailable):
        await spool.append([entry("more")])
    assert looks
    await eventually(path.exists)
    await healed(spool)
    await spool.append([entry("last")])


@pytest.mark.usefixtures("age")
async def test_a_directory_tells_nothing_of_a_file_that_is_elsewhere(
    bench: Bench, looks: list[object], tmp_path: Path
) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    await spool.close()
    elsewhere = tmp_path / "elsewhere.db"
    (bench.directory / "worker-0.db").rename(elsewhere)
    (bench.directory / "worker-0.db").symlink_to(elsewhere)
    spool = await bench.open()
    await spool.append([entry(2)])
    looks.clear()
    await spool.append([entry(3)])
    assert looks


@pytest.mark.usefixtures("age")
async def test_renamed_directory_is_noticed_and_heals_when_it_is_back(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    away = bench.directory.with_name("away")
    bench.directory.rename(away)
    assert "gone" in await refused(spool)
    assert not bench.directory.exists()
    away.rename(bench.directory)
    await healed(spool)
    await spool.append([entry(2)])
    assert names(await drain(await bench.reopen(spool))) == ["1", "2"]


@pytest.mark.usefixtures("age")
@pytest.mark.parametrize("checkpointed", [False, True])
async def test_deleted_directory_gets_everything_back_when_it_is_made_again(
    bench: Bench, checkpointed: bool
) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    if checkpointed:
        bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(bench.directory)
    await refused(spool)
    bench.directory.mkdir()
    await healed(spool)
    await spool.append([entry(2)])
    found = names(await drain(spool))
    assert {"1", "2"} <= set(found)
    assert total(spool) == Ledger(accepted=len(found), pending=len(found))
    assert names(await drain(await bench.reopen(spool))) == found
    assert not list(bench.directory.glob("*.damaged-*"))


@pytest.mark.usefixtures("age")
@pytest.mark.parametrize("ending", ["db", "db-wal", "db-shm", "lock", "ledger", "reserve"])
async def test_deleted_file_costs_nothing_that_was_acknowledged(bench: Bench, ending: str) -> None:
    spool = await bench.open()
    for n in range(20):
        await spool.append([entry(n)])
    await drain(spool)
    (bench.directory / f"worker-0.{ending}").unlink()
    for _ in range(3):  # it may be refused first, and must not be acknowledged in vain
        with contextlib.suppress(SpoolUnavailable):
            await spool.append([entry("more")])
    await healed(spool)
    await spool.append([entry("last")])
    found = names(await drain(spool))
    assert found[:20] == [str(n) for n in range(20)]
    assert found[-1] == "last"
    before = total(spool)
    assert before == Ledger(accepted=len(found), pending=len(found))
    spool = await bench.reopen(spool)
    assert names(await drain(spool)) == found
    assert total(spool) == before


@pytest.mark.usefixtures("age")
async def test_another_file_under_the_name_is_left_alone(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    path = bench.directory / "worker-0.db"
    path.unlink()
    path.write_bytes(b"somebody else's")
    assert "another file lies at" in await refused(spool)
    assert path.read_bytes() == b"somebody else's"
    path.unlink()
    await healed(spool)
    assert names(await drain(spool)) == ["1"]


async def test_directory_on_another_disk_is_not_taken_for_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    shutil.rmtree(bench.directory)
    bench.directory.mkdir()
    real = files.identity

    def elsewhere(path: Path) -> tuple[int, int] | None:
        found = real(path)
        return (found[0] + 1, found[1]) if found and path == bench.directory else found

    monkeypatch.setattr("gateway.spool.sqlite.recovery.vanished.identity", elsewhere)
    assert "another disk" in await refused(spool)
    assert list(bench.directory.iterdir()) == []


# Full disks


async def test_settlements_go_on_when_the_disk_is_full(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("old")])
    reserve = bench.directory / "worker-0.reserve"
    assert reserve.stat().st_size == RESERVE_BYTES

    def full(sql: str) -> None:
        if sql == "COMMIT" and reserve.exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    disk.before = full
    settled = spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1))
    results = await asyncio.gather(spool.append([entry("new")]), settled, return_exceptions=True)
    assert isinstance(results[0], SpoolUnavailable)
    assert results[1] is None
    assert total(spool) == Ledger(accepted=1, delivered=1)
    disk.before = lambda sql: None
    await healed(spool)
    assert reserve.stat().st_size == RESERVE_BYTES
    await spool.append([entry("new")])
    assert total(spool).pending == 1


def limited(child: str, directory: Path, limit: int) -> subprocess.CompletedProcess[bytes]:
    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-c", child, str(directory)],
        preexec_fn=bound,
        capture_output=True,
        timeout=60,
        check=False,
    )


LIMITED = """
import asyncio, sys
from pathlib import Path
from gateway.errors import SpoolUnavailable
from tests.support.specimens import new_spool
from tests.unit.spool.test_spool import entry
async def main():
    spool = new_spool(Path(sys.argv[1]))
    await spool.open()
    for n in range(200):
        try:
            await spool.append([entry(f"{n}-" + "x" * 15000)])
        except SpoolUnavailable:
            print("refused", n, flush=True)
        else:
            print("acked", n, flush=True)
asyncio.run(main())
"""


async def test_files_that_cannot_grow_lose_nothing(bench: Bench) -> None:
    bench.directory.mkdir(mode=0o700)
    child = await asyncio.to_thread(limited, LIMITED, bench.directory, 700_000)
    lines = [line.split() for line in child.stdout.decode().splitlines()]
    acked = [name for word, name in lines if word == "acked"]
    assert len(lines) == 200, child.stderr
    assert 0 < len(acked) < 200
    spool = await bench.open()
    found = [name.split("-")[0] for name in names(await drain(spool))]
    assert set(acked) <= set(found)
    assert total(spool) == Ledger(accepted=len(found), pending=len(found))


# Disks that hang


async def test_hanging_disk_keeps_nobody_waiting(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect, max_wait_s=0.2)
    await spool.append([entry("old")])
    disk.reached.clear()
    disk.gate.clear()
    running = asyncio.ensure_future(spool.append([entry("in the commit")]))
    await reached(disk.reached)
    waiting = asyncio.ensure_future(spool.append([entry("behind it")]))
    settled = asyncio.ensure_future(spool.settle(Settle(queue=QUEUE, chunk_ids=(1,), delivered=1)))
    for refused_one in (running, waiting):
        with pytest.raises(SpoolUnavailable, match="not answered"):
            await refused_one
    assert not spool.health().accepting
    assert "not answered" in await refused(spool)
    assert not settled.done()
    disk.gate.set()
    await settled
    await healed(spool)
    found = names(await drain(spool))
    assert "in the commit" in found
    assert "behind it" not in found  # it was refused; nobody waits for it
    assert total(spool) == Ledger(accepted=len(found) + 1, delivered=1, pending=len(found))


# Disks that are slow


def slow(seconds: float) -> Disk:
    def wait(sql: str) -> None:
        if sql == "COMMIT":
            time.sleep(seconds)

    return Disk(before=wait)


async def test_slow_disk_takes_more_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.spool.sqlite.group_commit.GROUP_REQUESTS", 256)
    disk = slow(0.2)
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry("first")])
    before = disk.count("COMMIT")
    await asyncio.gather(*(spool.append([entry(n)]) for n in range(2000)))
    assert disk.count("COMMIT") - before <= 4, "256 at a time take eight"
    assert total(spool).pending == 2001


async def test_what_waited_for_too_long_is_not_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.spool.sqlite.group_commit.GROUP_REQUESTS", 1)
    monkeypatch.setattr("gateway.spool.sqlite.group_commit.MAX_TIMES", 1)
    spool = await bench.open(connect=slow(0.25).connect, max_wait_s=0.6)
    results = await asyncio.gather(
        *(spool.append([entry(n)]) for n in range(8)), return_exceptions=True
    )
    kept = [str(n) for n, result in enumerate(results) if result is None]
    assert 2 <= len(kept) <= 4
    for error in results[len(kept) :]:
        assert isinstance(error, SpoolUnavailable)
        assert "too slow" in error.detail
    assert names(await drain(spool)) == kept
    await spool.append([entry("later")])


# The lock


async def test_lock_that_another_process_took_meanwhile_is_respected(bench: Bench) -> None:
    spool = await bench.open()
    await spool.append([entry(1)])
    lock = bench.directory / "worker-0.lock"
    lock.unlink()
    other = files.Lock(lock)
    other.take()
    assert "in use" in await refused(spool)
    other.release()
    await healed(spool)
    await spool.append([entry(2)])
    assert total(spool).pending == 2


async def test_file_system_without_locks_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(SpoolError, match="locks"):
        await bench.open()


async def test_too_many_open_files_heal(bench: Bench) -> None:
    disk = Disk()
    spool = await bench.open(connect=disk.connect)
    await spool.append([entry(1)])
    disk.before = fail_at("COMMIT")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await refused(spool)
        disk.before = lambda sql: None
        await refused(spool)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await healed(spool)
    await spool.append([entry(2)])
    assert total(spool).gap == 0
