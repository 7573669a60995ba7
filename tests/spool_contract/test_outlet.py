"""What delivery may rely on: each record leaves once, in the order of its lane."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import pytest

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetter, Entry, Ledger, Queue
from gateway.spool import Spool
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter
from gateway.spool.outlet import Lease, Outlet, Settlement
from tests.spool_contract.conftest import Make
from tests.support.leases import Listener

ENGAGE = Queue("main", "engage")
IMPORT = Queue("main", "import")
ALL = (2000, 2**21)
FEW = (3, 2**21)


def update(number: int, profile: object = "u") -> bytes:
    members = {"$token": "t", "$distinct_id": f"{profile}", "$set": {"n": number}}
    return json.dumps(members).encode() + b"\n"


async def append(spool: Spool, *lines: bytes, queue: Queue = ENGAGE) -> None:
    await spool.append([Entry(queue, b"".join(lines), len(lines))])


def lines_of(lease: Lease) -> list[bytes]:
    return [
        line
        for chunk in lease.chunks
        for line in decode(chunk.encoding, chunk.payload).splitlines(keepends=True)
    ]


def numbers(lease: Lease) -> list[int]:
    return [json.loads(line)["$set"]["n"] for line in lines_of(lease)]


async def take(outlet: Outlet, limits: tuple[int, int] = ALL) -> Lease:
    """Take the next batch; it may come later."""
    async with asyncio.timeout(5):
        while (lease := await outlet.take(*limits)) is None:  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.002)
    return lease


def has_more(outlet: Outlet) -> bool:
    return outlet.has_more


def has_released(outlet: Outlet) -> bool:
    return outlet.has_released


async def take_all(outlet: Outlet, records: int, limits: tuple[int, int] = ALL) -> list[Lease]:
    """Take batches until so many records have come."""
    leases: list[Lease] = []
    while sum(chunk.records for lease in leases for chunk in lease.chunks) < records:
        leases.append(await take(outlet, limits))
    return leases


def rest(lease: Lease, *kept: int, queue: Queue = ENGAGE) -> Entry:
    """Return what remains of a batch: these of its records."""
    lines = lines_of(lease)
    return Entry(queue, b"".join(lines[index] for index in kept), len(kept))


def letter(payload: bytes) -> DeadLetter:
    return DeadLetter(queue=ENGAGE, kind="record", reason="refused", detail="no", payload=payload)


def total(spool: Spool) -> Ledger:
    return sum(spool.ledger().values(), Ledger())


async def test_each_record_is_taken_once_and_those_of_a_profile_in_order(make: Make) -> None:
    spool = await make()
    rng = Random(1)
    sent: dict[str, list[int]] = defaultdict(list)
    for start in range(0, 60, 6):
        profiles = [rng.choice("abcdefgh") for _ in range(6)]
        for number, profile in enumerate(profiles, start):
            sent[profile].append(number)
        await append(spool, *(update(start + i, each) for i, each in enumerate(profiles)))
    leases = await take_all(spool.outlet(ENGAGE), 60, FEW)
    assert await spool.outlet(ENGAGE).take(*FEW) is None
    came: dict[str, list[int]] = defaultdict(list)
    for lease in leases:
        for line in lines_of(lease):
            record = json.loads(line)
            came[record["$distinct_id"]].append(record["$set"]["n"])
    assert came == sent
    lanes: dict[str, set[object]] = defaultdict(set)
    for lease in leases:
        for line in lines_of(lease):
            lanes[json.loads(line)["$distinct_id"]].add(lease.lane)
    assert all(len(of_profile) == 1 for of_profile in lanes.values())
    ids = [chunk.id for lease in leases for chunk in lease.chunks]
    assert len(ids) == len(set(ids))


async def test_positions_ascend_in_a_lane(make: Make) -> None:
    spool = await make()
    for number in range(12):
        await append(spool, update(number, number))
    positions: dict[object, list[int]] = defaultdict(list)
    for lease in await take_all(spool.outlet(ENGAGE), 12, (1, 2**21)):
        positions[lease.lane].append(lease.position)
    assert all(each == sorted(set(each)) for each in positions.values())


async def test_batch_is_within_both_limits_unless_one_chunk_is_larger(make: Make) -> None:
    spool = await make()
    for start in (0, 5, 6, 8):
        await append(spool, *(update(start + i) for i in range({0: 5, 5: 1, 6: 2, 8: 1}[start])))
    leases = await take_all(spool.outlet(ENGAGE), 9, FEW)
    assert [numbers(lease) for lease in leases] == [[0, 1, 2, 3, 4], [5, 6, 7], [8]]
    for lease in leases:
        lease.release()
    small = await take_all(spool.outlet(ENGAGE), 9, (2000, 1))
    assert [len(lease.chunks) for lease in small] == [1, 1, 1, 1]


async def test_released_batch_comes_back_before_all_that_is_newer(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    for number in range(6):
        await append(spool, update(number))
    first, second, third = await take_all(outlet, 3, (1, 2**21))
    assert not has_released(outlet)
    second.release()
    second.release()
    assert has_released(outlet)
    assert outlet.has_before(third)
    assert not outlet.has_before(first)
    first.release()
    leases = await take_all(outlet, 5, (1, 2**21))
    assert [number for lease in leases for number in numbers(lease)] == [0, 1, 3, 4, 5]
    assert not has_released(outlet)


async def test_what_remains_keeps_its_place(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    for start in (0, 2, 4):
        await append(spool, update(start), update(start + 1))
    (first,) = await take_all(outlet, 4, (4, 2**21))
    dead = [letter(lines_of(first)[0][:-1])]
    await first.settle(Settlement(delivered=1, dead=dead, remaining=rest(first, 1, 3)))
    assert total(spool) == Ledger(accepted=6, delivered=1, dead_lettered=1, pending=4)
    first.release()
    leases = await take_all(outlet, 4)
    assert [number for lease in leases for number in numbers(lease)] == [1, 3, 4, 5]
    for lease in leases:
        count = len(lines_of(lease))
        await lease.settle(Settlement(delivered=count))
    assert total(spool) == Ledger(accepted=6, delivered=5, dead_lettered=1)
    assert [each.letter for each in await spool.dead_letters.page(Filter())] == dead


@pytest.mark.parametrize("delivered", [0, 1, 3])
async def test_settlement_that_does_not_add_up_changes_nothing(make: Make, delivered: int) -> None:
    spool = await make()
    await append(spool, update(0), update(1))
    lease = await take(spool.outlet(ENGAGE))
    before = spool.ledger()
    with pytest.raises(SpoolError):
        await lease.settle(Settlement(delivered=delivered))
    assert spool.ledger() == before
    lease.release()
    assert numbers(await take(spool.outlet(ENGAGE))) == [0, 1]


async def persistently(lease: Lease, settlement: Settlement) -> int:
    """Settle as delivery does; return how many attempts that took."""
    for attempt in range(1, 10):
        try:
            await lease.settle(settlement)
        except SpoolUnavailable:
            continue
        return attempt
    raise AssertionError("it never came to an end")


async def test_commit_of_unknown_outcome_is_applied_once(make: Make) -> None:
    spool = await make(*["fails", "fails after", "well"] * 3)
    outlet = spool.outlet(ENGAGE)
    for start in (0, 3):
        await append(spool, *(update(start + i) for i in range(3)))
    lease = await take(outlet)
    size = len(lines_of(lease))
    kept = Settlement(delivered=size - 2, remaining=rest(lease, 1, 2))
    assert await persistently(lease, kept) == 3
    assert total(spool).delivered == size - 2
    refused = letter(lines_of(lease)[1][:-1])
    again = Settlement(delivered=0, dead=[refused], remaining=rest(lease, 2))
    assert await persistently(lease, again) == 3
    assert await persistently(lease, Settlement(delivered=1)) == 3
    assert total(spool) == Ledger(accepted=6, delivered=size - 1, dead_lettered=1, pending=6 - size)
    assert len(await spool.dead_letters.page(Filter())) == 1
    lease.release()
    if size < 6:
        assert numbers(await take(outlet)) == [3, 4, 5]
    assert await outlet.take(*ALL) is None


async def test_holder_is_woken_for_what_comes_after_there_was_nothing(make: Make) -> None:
    """Whatever counts say, and however long records take to come."""
    spool = await make()
    woken = asyncio.Event()
    outlet = spool.outlet(ENGAGE)
    outlet.attach(Listener(ENGAGE, lambda _: woken.set()))
    for number in range(3):
        assert await outlet.take(*ALL) is None
        assert not has_more(outlet)
        woken.clear()
        await append(spool, update(number))
        async with asyncio.timeout(5):
            await woken.wait()
        assert has_more(outlet)
        lease = await take(outlet)
        assert numbers(lease) == [number]
        await lease.settle(Settlement(delivered=1))


async def test_next_holder_gets_what_the_one_before_had(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    assert spool.outlet(ENGAGE) is outlet
    outlet.attach(Listener(ENGAGE))
    for number in range(4):
        await append(spool, update(number))
    await take_all(outlet, 2, (1, 2**21))
    outlet.detach()
    outlet.detach()
    outlet.attach(Listener(ENGAGE))
    leases = await take_all(outlet, 4)
    assert [number for lease in leases for number in numbers(lease)] == [0, 1, 2, 3]


async def sampled(outlet: Outlet, seed: int) -> Sequence[Lease]:
    async with outlet.taking:
        return await outlet.samples(Random(seed), *FEW)


async def test_samples_are_of_what_nobody_works_on_and_stay_where_they_are(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    await append(spool, update(0))
    lease = await take(outlet)
    assert await sampled(outlet, 1) == []
    for number in range(1, 40):
        await append(spool, update(number, number))
    await asyncio.sleep(0.05)  # those on their way are here now
    samples = await sampled(outlet, 2)
    assert 39 in numbers(samples[0])
    seen = [number for sample in samples for number in numbers(sample)]
    assert len(seen) == len(set(seen))
    assert not set(seen) & set(numbers(lease))
    async with outlet.taking:
        sample = (await outlet.samples(Random(3), *FEW))[0]
        size = len(lines_of(sample))
        settlement = Settlement(delivered=1, remaining=rest(sample, *range(1, size)))
        if size == 1:
            settlement = Settlement(delivered=1)
        await sample.settle(settlement)
        sample.release()
    came = [n for each in await take_all(outlet, 38) for n in numbers(each)]
    assert sorted(came) == sorted({*range(1, 40)} - {numbers(sample)[0]})


async def test_walk_meets_all_that_comes_behind_a_batch(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    for number in range(12):
        await append(spool, update(number, number % 4))
    leases = await take_all(outlet, 12, (1, 2**21))
    for lease in leases[6:]:
        lease.release()
    first = leases[0]
    start = after = first.chunks[-1].id
    met: list[int] = []
    in_lane: list[int] = []
    async with outlet.taking:
        while (each := await outlet.following(start, after, *FEW)) is not None:
            after = each.chunks[-1].id
            met += numbers(each)
            in_lane += [each.position] if each.lane == first.lane else []
    assert sorted([*met, *numbers(first)]) == list(range(12)), "also what others work on"
    assert in_lane == sorted(in_lane)
    assert all(position > first.position for position in in_lane)
    for profile in range(4):
        own = [number for number in met if number % 4 == profile]
        assert own == sorted(own)


async def test_queue_that_is_withheld_is_the_callers(make: Make) -> None:
    spool = await make()
    outlet = spool.outlet(ENGAGE)
    for number in range(4):
        await append(spool, update(number))
    sent, idle = await take_all(outlet, 2, (1, 2**21))
    recalled: list[Queue] = []

    def recall(queue: Queue) -> None:
        recalled.append(queue)
        idle.release()

    outlet.attach(Listener(ENGAGE, recalled=recall))
    async with outlet.withheld() as stays:
        assert recalled
        assert stays == {chunk.id for chunk in sent.chunks}
        taking = asyncio.create_task(outlet.take(*ALL))
        await asyncio.sleep(0.02)
        assert not taking.done(), "nothing is taken meanwhile"
    lease = await taking
    assert lease is not None
    assert numbers(lease)[0] == 1


async def test_queue_without_a_holder_is_nobodys(make: Make) -> None:
    spool = await make()
    async with spool.outlet(Queue("gone", "import")).withheld() as stays:
        assert stays == frozenset()


async def test_queues_do_not_hold_up_each_other(make: Make) -> None:
    spool = await make()
    await append(spool, update(1))
    event = b'{"event":"A","properties":{"distinct_id":"u"}}\n'
    await append(spool, event, queue=IMPORT)
    async with spool.outlet(ENGAGE).taking:
        lease = await take(spool.outlet(IMPORT))
    assert lines_of(lease) == [event]
    await lease.settle(Settlement(delivered=1))
    assert total(spool) == Ledger(accepted=2, delivered=1, pending=1)
