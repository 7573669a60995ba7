"""The dead letters of several files, as if one file had all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.model import DeadLetterCount, Ledger, Queue
from gateway.spool import SqliteSpool
from gateway.spool.dead_letters import Filter, Group
from gateway.spool.several_letters import SeveralDeadLetters
from gateway.spool.sqlite.files import numbers_in, spool_name
from tests.support.letters import (
    EVERYTHING,
    IMPORT,
    NOW_MS,
    assert_proven,
    event_letter,
    record_letter,
    records_of,
    replacement,
    spool_in,
)

IN_2, IN_10 = 2 * 10**12, 10 * 10**12
ALL = [1, 2, 3, IN_2 + 1, IN_2 + 2, IN_10 + 1]
Spools = dict[int, SqliteSpool]


@pytest.fixture
async def spools(tmp_path: Path) -> AsyncIterator[Spools]:
    """Give three spools with three, two and one dead letters."""
    async with AsyncExitStack() as opened:
        spools: Spools = {}
        for number, count in {10: 1, 0: 3, 2: 2}.items():  # the order is not that of the numbers
            spool = await opened.enter_async_context(spool_in(tmp_path, name=spool_name(number)))
            for n in range(count):
                await spool.append([], [record_letter(f"{number}-{n}", detail=f"{number}")])
                spool.clock.ms += 1
            spools[number] = spool
        yield spools


@pytest.fixture
def letters(spools: Spools) -> SeveralDeadLetters:
    return SeveralDeadLetters({number: spool.letters for number, spool in spools.items()})


async def test_ids_tell_the_file_and_those_of_the_first_stay_as_they_are(
    letters: SeveralDeadLetters,
) -> None:
    assert [each.id for each in await letters.page(EVERYTHING)] == ALL
    assert await letters.ids(EVERYTHING) == ALL
    assert await letters.newest_id() == ALL[-1]
    (letter,) = await letters.page(Filter(ids=(IN_2 + 2,)))
    assert (letter.id, letter.letter) == (IN_2 + 2, record_letter("2-1", detail="2"))


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("max_bytes", [1, 25, 1000])
async def test_pages_are_within_both_limits_and_tell_all(
    letters: SeveralDeadLetters, limit: int, max_bytes: int
) -> None:
    found: list[int] = []
    while page := await letters.page(
        EVERYTHING, after=found[-1] if found else 0, limit=limit, max_bytes=max_bytes
    ):
        assert len(page) <= limit
        size = sum(len(each.letter.payload) for each in page)
        assert size <= max_bytes or len(page) == 1
        found += [each.id for each in page]
    assert found == ALL


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_ids_go_on_where_they_ended(letters: SeveralDeadLetters, limit: int) -> None:
    found: list[int] = []
    while ids := await letters.ids(EVERYTHING, after=found[-1] if found else 0, limit=limit):
        assert len(ids) <= limit
        found += ids
    assert found == ALL


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(ids=(3, IN_2 + 1, IN_2 + 9, 5 * 10**12 + 1)), [3, IN_2 + 1]),
        (Filter(ids=()), []),
        (Filter(up_to=2), [1, 2]),
        (Filter(up_to=IN_2 + 1), [1, 2, 3, IN_2 + 1]),
        (Filter(up_to=ALL[-1]), ALL),
        (Filter(since_ms=NOW_MS + 1), [2, 3, IN_2 + 2]),
        (Filter(destination="other"), []),
    ],
)
async def test_filters_choose_in_every_file(
    letters: SeveralDeadLetters, wanted: Filter, expected: list[int]
) -> None:
    assert [each.id for each in await letters.page(wanted)] == expected
    assert await letters.ids(wanted) == expected
    assert sum(group.letters for group in await letters.groups(wanted)) == len(expected)


async def test_sums_are_those_of_all_files(spools: Spools, letters: SeveralDeadLetters) -> None:
    await spools[2].append([], [event_letter()])
    await spools[10].append([], [record_letter(queue=Queue("second", "import"))])
    most, *others = await letters.groups(EVERYTHING)
    size = sum(len(record_letter(n).payload) for n in ("0-0", "0-1", "0-2", "2-0", "2-1", "10-0"))
    assert most == Group(
        destination="mixpanel",
        endpoint="import",
        kind="record",
        reason="refused",
        letters=6,
        bytes=size + len("0002210"),
        oldest_ms=NOW_MS,
        newest_ms=NOW_MS + 2,
        example="0",
    )
    assert sorted(group.letters for group in others) == [1, 1]
    kept = letters.kept()
    assert {name: each.letters for name, each in kept.items()} == {"mixpanel": 7, "second": 1}
    stores = [spool.letters.kept().values() for spool in spools.values()]
    total = sum((each for store in stores for each in store), DeadLetterCount())
    assert sum(kept.values(), DeadLetterCount()) == total


async def test_letters_are_replayed_and_purged_in_their_own_file(
    spools: Spools, letters: SeveralDeadLetters
) -> None:
    chosen = await letters.page(Filter(ids=(1, IN_2 + 1)))
    wanted = [replacement(each, f"again-{each.id}") for each in chosen]
    assert await letters.replay(wanted) == {1, IN_2 + 1}
    assert await letters.replay(wanted) == frozenset(), "nothing is replayed twice"
    assert await letters.purge([2, IN_10 + 1, IN_10 + 2, 7 * 10**12]) == 2
    assert await letters.ids(EVERYTHING) == [3, IN_2 + 2]
    assert [await records_of(spools[n], [IMPORT]) for n in (0, 2, 10)] == [
        [b'{"n":"again-1"}'],
        [b'{"n":"again-2000000000001"}'],
        [],
    ]
    total = Ledger()
    for spool in spools.values():
        await assert_proven(spool)
        total += spool.ledger()["mixpanel"]
    assert total == Ledger(accepted=6, dead_lettered=4, pending=2, replayed=2, purged=2)


def test_spools_of_a_directory_are_those_of_workers(tmp_path: Path) -> None:
    for name in (
        *("worker-0.db", "worker-0.db-wal", "worker-0.lock", "worker-12.db", "worker-3.recovered"),
        *("worker-0.damaged-17.db", "worker-07.db", "worker-1.unfinished", "other-4.db"),
    ):
        (tmp_path / name).touch()
    assert numbers_in(tmp_path) == [0, 3, 12]
