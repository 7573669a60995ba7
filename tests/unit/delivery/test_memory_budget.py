"""What senders hold in memory: the budget, and what they do with it."""

import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.memory_budget import MemoryBudget, Reservation
from gateway.model import Entry, Queue
from gateway.sandbox import Fault, Sandbox
from tests.support.delivering import (
    SECRET,
    TOKEN,
    Rig,
    delivering,
    destination,
    event,
    events,
    ids,
    until,
)

MIB = 2**20


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(token=TOKEN, api_secret=SECRET)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


def lease(
    memory: MemoryBudget, holder: str, size: int, *, is_first: bool = False
) -> Reservation | None:
    return memory.reserve(holder, size, is_first=is_first, on_room=lambda: None)


def fill(memory: MemoryBudget, holder: str, size: int = 1) -> int:
    """Take as much as there is for a holder."""
    count = 0
    while lease(memory, holder, size) is not None:
        count += 1
    return count


def test_the_first_batch_is_always_granted() -> None:
    memory = MemoryBudget(10)
    assert lease(memory, "a", 1000, is_first=True) is not None
    assert lease(memory, "b", 1000, is_first=True) is not None
    assert memory.held_bytes == 2000
    assert lease(memory, "b", 1) is None


def test_one_busy_holder_gets_half_of_the_budget() -> None:
    assert fill(MemoryBudget(100), "a") == 50


def test_one_that_hangs_leaves_enough_for_all_others() -> None:
    memory = MemoryBudget(1000)
    assert fill(memory, "hangs") == 500
    shares = [fill(memory, name) for name in "abcd"]
    assert shares == [250, 125, 63, 31]
    assert memory.held_bytes <= 1000


def test_holders_in_step_get_equal_shares() -> None:
    memory = MemoryBudget(1100)
    held = dict.fromkeys("abcdefghij", 0)
    for _ in range(1100):
        for name in held:
            held[name] += lease(memory, name, 1) is not None
    assert set(held.values()) == {100}


def test_who_was_turned_away_is_told_when_there_is_room() -> None:
    memory = MemoryBudget(100)
    told = []
    held = lease(memory, "a", 100, is_first=True)
    assert held is not None
    assert memory.reserve("b", 10, is_first=False, on_room=lambda: told.append("b")) is None
    held.resize(200)
    assert told == []
    held.resize(20)
    held.end()
    held.end()
    assert told == ["b"]
    assert memory.held_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans()), max_size=60))
def test_never_more_than_the_budget_and_one_batch_each(steps: list[tuple[str, int, bool]]) -> None:
    memory = MemoryBudget(100)
    leases: dict[str, list[tuple[Reservation, int]]] = {"a": [], "b": [], "c": []}
    for holder, size, ends in steps:
        if ends and leases[holder]:
            leases[holder].pop()[0].end()
        elif got := lease(memory, holder, size, is_first=not leases[holder]):
            leases[holder].append((got, size))
        largest = sum(max((size for _, size in held), default=0) for held in leases.values())
        assert memory.held_bytes == sum(size for held in leases.values() for _, size in held)
        assert memory.held_bytes <= 100 + largest


def noise(rng: Random, records: int) -> bytes:
    """Records of a kilobyte that do not compress to less than half."""
    return b"".join(
        event(rng.getrandbits(60), text=rng.randbytes(450).hex()) + b"\n" for _ in range(records)
    )


def has_failed(rig: Rig, name: str, times: int) -> bool:
    return rig.status(destination=name)["consecutive_failures"] >= times


async def test_ten_dead_destinations_hold_no_more_than_the_budget(tmp_path: Path) -> None:
    budget, rng = 12 * MIB, Random(1)
    names = [f"dead-{number}" for number in range(10)]
    dead = [destination("http://127.0.0.1:1", name, batch_records=500) for name in names]
    async with delivering(tmp_path, *dead, max_memory_bytes=budget) as rig:
        rig.may_wake.clear()
        for name in names:
            for _ in range(16):
                await rig.spool.append([Entry(Queue(name, "import"), noise(rng, 500), 500)])
        await until(lambda: all(rig.status(destination=n)["state"] == "retrying" for n in names))
        await until(lambda: all(rig.status(destination=n)["in_flight"] == 1 for n in names))
        assert rig.memory() <= budget
    # With a backlog of 80 MiB from the start, counted by the interpreter.
    tracemalloc.start()
    try:
        async with delivering(tmp_path, *dead, max_memory_bytes=budget) as rig:
            for failures in (1, 2, 3):
                for name in names:
                    await until(partial(has_failed, rig, name, failures))
            assert tracemalloc.get_traced_memory()[1] <= budget + 10 * MIB
            # While they wait they hold what is stored, and nothing that was made of it.
            rig.may_wake.clear()
            await until(lambda: all(rig.status(destination=n)["in_flight"] == 1 for n in names))
            assert rig.memory() <= budget
            await until(lambda: tracemalloc.get_traced_memory()[0] <= rig.memory() + 2 * MIB)
            assert sum(rig.pending(name) for name in names) == 80_000
    finally:
        tracemalloc.stop()


async def test_a_destination_that_begins_to_fail_gives_back_all_batches_but_one(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    sandbox.faults.replace([Fault(action="stall", stall_s=3600)])
    port = sandbox.port
    async with delivering(tmp_path, destination(sandbox, batch_records=10)) as rig:
        for start in range(0, 400, 10):
            await rig.append("import", *events(start, start + 10))
        await until(lambda: rig.status()["in_flight"] >= 4)
        rig.may_wake.clear()
        await sandbox.stop()
        await until(lambda: rig.status()["state"] == "retrying")
        await until(lambda: rig.status()["in_flight"] == 1)
        assert rig.counts() == (0, 0, 400)
        sandbox.faults.replace([])
        await sandbox.start(port=port)
        rig.may_wake.set()
        await rig.delivered()
        assert rig.counts() == (400, 0, 0)
        assert sorted(ids(sandbox)) == sorted(f"id-{n}" for n in range(400))
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_no_more_batches_are_read_than_the_budget_has_room_for(tmp_path: Path) -> None:
    stalling = Sandbox(token=TOKEN, faults=[Fault(action="stall", stall_s=3600)])
    await stalling.start()
    try:
        rng = Random(1)
        slow = destination(stalling, batch_records=500)
        # Reading reserves what the largest batch would take, 6 MiB.
        async with delivering(tmp_path, slow, max_memory_bytes=10 * MIB) as rig:
            for _ in range(8):
                await rig.spool.append([Entry(Queue("main", "import"), noise(rng, 500), 500)])
            await until(lambda: stalling.store.counts["/import"].misbehaved == 2)
            assert rig.status()["concurrency"] == 4
            assert rig.status()["in_flight"] == 2
            assert 0 < rig.memory() <= 5 * MIB
    finally:
        await stalling.stop()
