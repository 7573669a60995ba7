"""The dead letters of several spools, as if one had all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec import Raw

from gateway.dead_letters import DeadLetters, Edit, MergedDeadLetters, PurgeRequest, ReplayRequest
from gateway.mapping import Remap
from gateway.model import Ledger, Queue
from gateway.spool.dead_letters import Filter, LetterGroup
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.files import numbers_in, spool_name
from tests.support.letters import (
    EVERYTHING,
    IMPORT,
    NOW_MS,
    assert_proven,
    event_letter,
    record_letter,
    records_of,
    spool_in,
)

IN_2, IN_10 = 2 * 10**12, 10 * 10**12
ALL = [str(n) for n in (1, 2, 3, IN_2 + 1, IN_2 + 2, IN_10 + 1)]
FIRST_OF_2, LAST_OF_2, OF_10 = ALL[3:]
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
def letters(spools: Spools) -> MergedDeadLetters:
    return MergedDeadLetters(
        [
            DeadLetters(spool.dead_letters, Remap([]), destinations=["mixpanel", "second"])
            for _, spool in sorted(spools.items())
        ]
    )


async def shown(letters: MergedDeadLetters, wanted: Filter = EVERYTHING) -> list[str]:
    """Return the ids of all letters that are meant, page by page."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await letters.page(wanted, after=after, limit=2)
        assert len(page.letters) <= 2
        found += [letter.id for letter in page.letters]
        after = page.next
    return found


async def test_ids_tell_the_spool_and_those_of_the_first_stay_as_they_are(
    letters: MergedDeadLetters,
) -> None:
    assert await shown(letters) == ALL
    letter = await letters.get(LAST_OF_2)
    assert letter is not None
    assert (letter.id, letter.detail, bytes(letter.payload)) == (LAST_OF_2, "2", b'{"n":"2-1"}')
    assert await letters.get(str(5 * 10**12 + 1)) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(ids=("3", FIRST_OF_2, str(IN_2 + 9), str(5 * 10**12 + 1))), ["3", FIRST_OF_2]),
        (Filter(ids=()), []),
        (Filter(since_ms=NOW_MS + 1), ["2", "3", LAST_OF_2]),
        (Filter(destination="other"), []),
    ],
)
async def test_filters_choose_in_every_spool(
    letters: MergedDeadLetters, wanted: Filter, expected: list[str]
) -> None:
    assert await shown(letters, wanted) == expected
    groups = (await letters.summary(wanted)).groups
    assert sum(group.letters for group in groups) == len(expected)


@pytest.mark.parametrize(
    ("up_to", "expected"),
    [("2", ["1", "2"]), (FIRST_OF_2, ["1", "2", "3", FIRST_OF_2]), (OF_10, ALL)],
)
async def test_bound_means_the_same_in_every_spool(
    spools: Spools, up_to: str, expected: list[str]
) -> None:
    stores = [spool.dead_letters for _, spool in sorted(spools.items())]
    found = [each for store in stores for each in await store.ids(Filter(up_to=up_to))]
    assert found == expected


async def test_what_is_kept_later_is_not_seen(spools: Spools, letters: MergedDeadLetters) -> None:
    await letters.summary(EVERYTHING)
    await spools[2].append([], [event_letter()])
    assert await shown(letters) == ALL


async def test_sums_are_those_of_all_spools(spools: Spools, letters: MergedDeadLetters) -> None:
    await spools[2].append([], [event_letter()])
    await spools[10].append([], [record_letter(queue=Queue("second", "import"))])
    most, *others = (await letters.summary(EVERYTHING)).groups
    size = sum(len(record_letter(n).payload) for n in ("0-0", "0-1", "0-2", "2-0", "2-1", "10-0"))
    assert most == LetterGroup(
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


async def test_letters_are_replayed_and_purged_in_their_own_spool(
    spools: Spools, letters: MergedDeadLetters
) -> None:
    chosen = ("1", FIRST_OF_2, str(7 * 10**12))
    edits = tuple(
        Edit(id=each, payload=Raw(b'{"n":"again-%b"}' % each.encode())) for each in chosen
    )
    report = await letters.replay(ReplayRequest(edits=edits))
    assert (report.replayed, report.missing, report.problems) == (2, 1, [])
    report = await letters.replay(ReplayRequest(edits=edits))
    assert (report.replayed, report.missing) == (0, 3), "nothing is replayed twice"
    ids = ("2", OF_10, str(IN_10 + 2), str(7 * 10**12))
    would = await letters.purge(PurgeRequest(filter=Filter(ids=ids), dry_run=True))
    assert (would.purged, would.next) == (2, None)
    purged, after = 0, ""
    while True:
        did = await letters.purge(PurgeRequest(filter=Filter(ids=ids), after=after))
        purged += did.purged
        if did.next is None:
            break
        after = did.next
    assert purged == 2
    assert await shown(letters) == ["3", LAST_OF_2]
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


async def test_all_letters_are_replayed_batch_by_batch(
    spools: Spools, letters: MergedDeadLetters
) -> None:
    replayed, after = 0, ""
    while True:
        report = await letters.replay(ReplayRequest(limit=2, after=after))
        replayed += report.replayed
        if report.next is None:
            break
        after = report.next
    assert replayed == len(ALL)
    assert await shown(letters) == []


def test_spools_of_a_directory_are_those_of_workers(tmp_path: Path) -> None:
    for name in (
        *("worker-0.db", "worker-0.db-wal", "worker-0.lock", "worker-12.db", "worker-3.recovered"),
        *("worker-0.damaged-17.db", "worker-07.db", "worker-1.unfinished", "other-4.db"),
    ):
        (tmp_path / name).touch()
    assert numbers_in(tmp_path) == [0, 3, 12]
