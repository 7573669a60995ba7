"""What operators may rely on: dead letters and waiting records, by ids that say nothing."""

import json

import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.dead_letters import DeadLetters, Edit, MergedDeadLetters, PurgeRequest, ReplayRequest
from gateway.mapping import Remap
from gateway.model import DeadLetter, Ledger
from gateway.pending import Pending, SetAsideRequest
from gateway.spool import Spool
from gateway.spool.dead_letters import Filter
from gateway.spool.outlet import Settlement
from gateway.spool.pending import PendingFilter
from tests.spool_contract.conftest import Make
from tests.spool_contract.test_outlet import ENGAGE, append, numbers, take, take_all, total, update


def letter(number: int, reason: str = "refused") -> DeadLetter:
    payload = b'{"$set":{"n":%d}}' % number
    return DeadLetter(queue=ENGAGE, kind="record", reason=reason, detail="no", payload=payload)


async def some_letters(spool: Spool) -> list[str]:
    """Keep nine dead letters, each third of another reason; return their ids."""
    for number in range(9):
        await spool.append([], [letter(number, "other" if number % 3 == 2 else "refused")])
    return [each.id for each in await spool.dead_letters.page(Filter())]


def service(spool: Spool) -> DeadLetters:
    return DeadLetters(spool.dead_letters, Remap([]), destinations=["main"])


async def test_letters_are_listed_page_by_page_in_the_order_in_which_they_came(make: Make) -> None:
    spool = await make()
    ids = await some_letters(spool)
    assert len(set(ids)) == 9
    found: list[bytes] = []
    after = ""
    while page := await spool.dead_letters.page(Filter(), after=after, limit=2):
        found += [each.letter.payload for each in page]
        after = page[-1].id
    assert found == [letter(number).payload for number in range(9)]
    assert await spool.dead_letters.ids(Filter(reason="other")) == ids[2::3]
    assert await spool.dead_letters.ids(Filter(up_to=ids[4])) == ids[:5]
    assert await spool.dead_letters.ids(Filter(ids=(ids[3], ids[1]))) == [ids[1], ids[3]]
    assert await spool.dead_letters.ids(Filter(ids=())) == []
    assert await spool.dead_letters.newest_id() == ids[-1]
    groups = await spool.dead_letters.groups(Filter())
    assert [(group.reason, group.letters) for group in groups] == [("refused", 6), ("other", 3)]
    assert spool.dead_letters.kept()["main"].letters == 9


async def test_bound_of_no_letters_is_below_all_that_come(make: Make) -> None:
    spool = await make()
    bound = await spool.dead_letters.newest_id()
    await some_letters(spool)
    assert await spool.dead_letters.ids(Filter(up_to=bound)) == []


async def test_what_is_no_id_is_said(make: Make) -> None:
    spool = await make()
    await some_letters(spool)
    with pytest.raises(msgspec.ValidationError):
        await spool.dead_letters.page(Filter(), after="no such thing")


async def test_letters_are_replayed_and_purged_once(make: Make) -> None:
    spool = await make()
    ids = await some_letters(spool)
    letters = service(spool)
    edit = Edit(id=ids[0], payload=msgspec.Raw(b'{"$set":{"n":100}}'))
    report = await letters.replay(ReplayRequest(edits=(edit,)))
    assert (report.replayed, report.missing) == (1, 0)
    report = await letters.replay(ReplayRequest(edits=(edit,)))
    assert (report.replayed, report.missing) == (0, 1)
    purged = await letters.purge(PurgeRequest(filter=Filter(reason="other"), limit=2))
    assert (purged.purged, purged.next) == (2, ids[5])
    rest = await letters.replay(ReplayRequest(filter=Filter(reason="refused")))
    assert rest.replayed == 5
    assert total(spool) == Ledger(accepted=9, pending=6, dead_lettered=3, replayed=6, purged=2)
    leases = await take_all(spool.outlet(ENGAGE), 6)
    came = [number for lease in leases for number in numbers(lease)]
    assert sorted(came) == [1, 3, 4, 6, 7, 100]
    for lease in leases:
        await lease.settle(Settlement(delivered=sum(chunk.records for chunk in lease.chunks)))
    assert [each.id for each in await spool.dead_letters.page(Filter())] == [ids[8]]


async def test_letters_of_several_spools_are_as_those_of_one(make: Make) -> None:
    spool = await make()
    await some_letters(spool)
    merged = MergedDeadLetters([service(spool)])
    after: str | None = ""
    found = 0
    while after is not None:
        page = await merged.page(Filter(), after=after, limit=4)
        found += len(page.letters)
        after = page.next
    assert found == 9


async def set_aside(pending: Pending, wanted: PendingFilter, limit: int = 2000) -> tuple[int, int]:
    """Set records aside batch by batch; return how many, and how many stay."""
    done = left = 0
    after: str | None = ""
    while after is not None:
        report = await pending.set_aside(SetAsideRequest(filter=wanted, after=after, limit=limit))
        done, left, after = done + report.set_aside, left + report.left, report.next
    return done, left


@pytest.mark.parametrize("limit", [1, 2, 2000])
async def test_waiting_records_are_listed_and_set_aside_one_by_one(make: Make, limit: int) -> None:
    spool = await make()
    for start in (0, 3):
        await append(spool, *(update(start + i, (start + i) % 2) for i in range(3)))
    for lease in await take_all(spool.outlet(ENGAGE), 6):
        lease.release()
    pending = Pending(spool.pending, SystemClock())
    (group,) = (await pending.summary(PendingFilter())).groups
    assert group.records == 6
    ids: dict[int, str] = {}
    after: str | None = ""
    while after is not None:
        page = await pending.page(PendingFilter(), after=after, limit=limit)
        ids |= {json.loads(bytes(each.payload))["$set"]["n"]: each.id for each in page.records}
        after = page.next
    assert sorted(ids) == list(range(6))
    chosen = PendingFilter(ids=(ids[1], ids[3], ids[4]))
    assert await set_aside(pending, chosen, limit) == (3, 0)
    assert await set_aside(pending, chosen, limit) == (0, 0)
    assert total(spool) == Ledger(accepted=6, pending=3, dead_lettered=3)
    leases = await take_all(spool.outlet(ENGAGE), 3)
    assert sorted(number for lease in leases for number in numbers(lease)) == [0, 2, 5]
    assert spool.pending.queues() == {ENGAGE: 3}


async def test_what_is_in_a_request_is_left(make: Make) -> None:
    spool = await make()
    for number in range(3):
        await append(spool, update(number))
    lease = await take(spool.outlet(ENGAGE), (1, 2**21))
    await take_and_release(spool)
    pending = Pending(spool.pending, SystemClock())
    assert await set_aside(pending, PendingFilter(endpoint="engage")) == (2, 1)
    await lease.settle(Settlement(delivered=1))
    assert total(spool) == Ledger(accepted=3, delivered=1, dead_lettered=2)
    assert (await pending.summary(PendingFilter(destination="other"))).groups == []


async def take_and_release(spool: Spool) -> None:
    """Wait until all is here that is on its way."""
    for lease in await take_all(spool.outlet(ENGAGE), 2):
        lease.release()
