"""Dead letters in the SQLite spool: found, replayed, purged, dropped, and counted."""

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SpoolUnavailable
from gateway.model import DeadLetter, DeadLetterCount, Entry, Ledger, Queue
from gateway.spool.dead_letters import LETTER_BYTES, Filter, LetterGroup, LetterLimits
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.dead_letters import store, table
from tests.support.leases import Listener
from tests.support.letters import (
    EVERYTHING,
    IMPORT,
    NOW_MS,
    ManualClock,
    assert_proven,
    event_letter,
    record_letter,
    records_of,
    replacement,
    spool_in,
    sql,
    stored,
)

ELSEWHERE = Queue("second", "engage")


# DeadLetterCount and found


@pytest.mark.parametrize("letter", [record_letter(), event_letter()], ids=["record", "event"])
async def test_letter_is_kept_as_it_was_given(tmp_path: Path, letter: DeadLetter) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [letter])
        (kept,) = await stored(spool)
        assert (kept.letter, kept.created_ms) == (letter, NOW_MS)
        size = len(letter.payload) + len(letter.detail) + LETTER_BYTES
        assert spool.dead_letters.kept() == {"mixpanel": DeadLetterCount(1, size)}
        await assert_proven(spool)


FILTERS = {
    "everything": (Filter(), "abcdef"),
    "destination": (Filter(destination="second"), "d"),
    "endpoint": (Filter(endpoint="import"), "abc"),
    "no endpoint": (Filter(endpoint=""), "ef"),
    "kind": (Filter(kind="event"), "ef"),
    "reason": (Filter(reason="too_large"), "c"),
    "since": (Filter(since_ms=NOW_MS + 4000), "ef"),
    "until": (Filter(until_ms=NOW_MS + 1000), "a"),
    "ids": (Filter(ids=("2", "4", "99")), "bd"),
    "no ids": (Filter(ids=()), ""),
    "up to": (Filter(up_to="2"), "ab"),
    "several": (Filter(destination="mixpanel", kind="record", reason="refused", up_to="5"), "ab"),
    "nothing": (Filter(destination="mixpanel'; --"), ""),
}


@pytest.mark.parametrize(("wanted", "expected"), FILTERS.values(), ids=FILTERS)
async def test_filter_finds_what_fits_in_pages_and_in_groups(
    tmp_path: Path, wanted: Filter, expected: str
) -> None:
    letters = {
        "a": record_letter("a"),
        "b": record_letter("b"),
        "c": record_letter("c", reason="too_large"),
        "d": record_letter("d", queue=ELSEWHERE),
        "e": event_letter(b'{"n":"e"}'),
        "f": event_letter(b'{"n":"f"}', reason="missing_id"),
    }
    async with spool_in(tmp_path) as spool:
        for letter in letters.values():
            await spool.append([], [letter])
            spool.clock.ms += 1000
        found = await stored(spool, wanted)
        assert [each.letter for each in found] == [letters[name] for name in expected]
        groups = await spool.dead_letters.groups(wanted)
        assert sum(group.letters for group in groups) == len(expected)


async def test_groups_tell_how_many_how_large_how_old_and_an_example(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter(1, detail="first"), event_letter()])
        spool.clock.ms += 5
        await spool.append([], [record_letter(2, detail="last")])
        first, second = await spool.dead_letters.groups(EVERYTHING)
    assert first == LetterGroup(
        destination="mixpanel",
        endpoint="import",
        kind="record",
        reason="refused",
        letters=2,
        bytes=2 * len(b'{"n":"1"}') + len("first") + len("last"),
        oldest_ms=NOW_MS,
        newest_ms=NOW_MS + 5,
        example="last",
    )
    assert (second.kind, second.endpoint, second.letters) == ("event", "", 1)


async def test_page_stays_within_both_limits_and_holds_at_least_one(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("x" * 100) for _ in range(5)])
        page = spool.dead_letters.page
        assert [each.id for each in await page(EVERYTHING, limit=2)] == ["1", "2"]
        assert [each.id for each in await page(EVERYTHING, max_bytes=350)] == ["1", "2", "3"]
        assert [each.id for each in await page(EVERYTHING, after="3", max_bytes=1)] == ["4"]
        assert await spool.dead_letters.newest_id() == "5"


async def test_closed_spool_has_no_letters_to_show(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        pass
    with pytest.raises(SpoolUnavailable, match="not open"):
        await spool.dead_letters.groups(EVERYTHING)


# Replayed


async def test_replayed_letter_is_a_pending_record_again(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        heard = Listener.at(spool, IMPORT)
        await spool.append([], [record_letter("a"), record_letter("b")])
        first, second = await stored(spool)
        taken = await spool.dead_letters.replay([replacement(first, "a"), replacement(second, "b")])
        assert taken == {first.id, second.id}
        assert await stored(spool) == []
        assert await records_of(spool) == [b'{"n":"a"}', b'{"n":"b"}']
        assert spool.ledger() == {"mixpanel": Ledger(accepted=2, pending=2, replayed=2)}
        assert heard == [IMPORT]
        (chunk,) = await spool.read(IMPORT)
        await spool.settle(Settle(queue=IMPORT, chunk_ids=(chunk.id,), delivered=2))
        await assert_proven(spool)
    async with spool_in(tmp_path) as spool:
        assert spool.ledger() == {"mixpanel": Ledger(accepted=2, delivered=2, replayed=2)}
        await assert_proven(spool)


async def test_event_that_becomes_several_records_adds_them_to_what_was_accepted(
    tmp_path: Path,
) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [event_letter()])
        (letter,) = await stored(spool)
        await spool.dead_letters.replay([replacement(letter, "a", "b", "c")])
        assert spool.ledger() == {"mixpanel": Ledger(accepted=3, pending=3, replayed=1)}
        await assert_proven(spool)


async def test_letter_replayed_twice_at_the_same_time_becomes_one_record(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("a"), record_letter("b")])
        first, second = await stored(spool)
        results = await asyncio.gather(
            spool.dead_letters.replay([replacement(first, "a"), replacement(first, "a")]),
            spool.dead_letters.replay([replacement(first, "a"), replacement(second, "b")]),
            spool.dead_letters.purge([second.id]),
        )
        assert spool.ledger()["mixpanel"].accepted == 2
        assert len(await records_of(spool)) + results[2] == 2
        assert await spool.dead_letters.replay([replacement(first, "a")]) == frozenset()
        assert len(await records_of(spool)) + results[2] == 2
        await assert_proven(spool)


async def test_replay_that_finds_no_room_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("a")])
    async with spool_in(tmp_path, min_free_bytes=1 << 60) as spool:
        (letter,) = await stored(spool)
        with pytest.raises(SpoolUnavailable, match="nearly full"):
            await spool.dead_letters.replay([replacement(letter, "a")])
        assert [each.id for each in await stored(spool)] == [letter.id]
        await assert_proven(spool)
        assert await spool.dead_letters.purge([letter.id]) == 1  # which makes room
        await assert_proven(spool)


# Purged


async def test_purged_letters_are_gone_and_counted(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter(n) for n in range(5)])
        assert await spool.dead_letters.purge(["1", "3", "3", "99"]) == 2
        assert [each.id for each in await stored(spool)] == ["2", "4", "5"]
        assert spool.ledger() == {"mixpanel": Ledger(accepted=5, dead_lettered=5, purged=2)}
        await assert_proven(spool)


async def test_purge_of_nothing_does_not_claim_that_the_disk_is_well(tmp_path: Path) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
            if is_broken and statement.startswith(("INSERT", "PRAGMA user_version =")):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, values)

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    is_broken = False
    async with spool_in(tmp_path, connect=connect) as spool:
        is_broken = True
        with pytest.raises(SpoolUnavailable):
            await spool.append([Entry(IMPORT, b"{}\n", 1)])
        with pytest.raises(SpoolUnavailable):
            await spool.dead_letters.purge(["1"])
        assert not spool.health().accepting
        is_broken = False
        assert await spool.dead_letters.purge(["1"]) == 0
        assert spool.health().accepting


# Dropped


async def test_oldest_letters_are_dropped_beyond_the_size_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = LetterLimits(max_bytes=10 * (1000 + LETTER_BYTES))
    async with spool_in(tmp_path, limits=limits) as spool:
        payload = b'"%s"' % (b"x" * (998 - len(event_letter().detail)))
        for _ in range(30):
            await spool.append([], [event_letter(payload)])
        assert [each.id for each in await stored(spool)] == [str(n) for n in range(21, 31)]
        assert spool.ledger() == {"mixpanel": Ledger(accepted=30, dead_lettered=30, dropped=20)}
        assert sum(each.bytes for each in spool.dead_letters.kept().values()) == limits.max_bytes
        await assert_proven(spool)
    dropping = [r for r in caplog.records if "dropped" in r.getMessage()]
    assert [record.levelno for record in dropping] == [logging.WARNING]


async def test_letters_that_are_too_old_are_dropped_with_the_next_commit(tmp_path: Path) -> None:
    async with spool_in(tmp_path, limits=LetterLimits(max_age_ms=1000)) as spool:
        await spool.append([], [record_letter("old")])
        spool.clock.ms += 500
        await spool.append([], [record_letter("young")])
        spool.clock.ms += 501
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        assert len(await stored(spool)) == 2, "the age is looked at once a minute"
        spool.clock.ms += int(table.LOOK_EVERY_S * 1000) - 501 - 500
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        assert await stored(spool) == []
        assert spool.ledger()["mixpanel"].dropped == 2
        await assert_proven(spool)


async def test_idle_spool_drops_what_is_beyond_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("x" * 1000) for _ in range(5000)])
    monkeypatch.setattr(store, "EXPIRE_EVERY_S", 0.01)
    async with spool_in(tmp_path, limits=LetterLimits(max_bytes=100_000)) as spool:
        async with asyncio.timeout(20):
            while spool.dead_letters.kept()["mixpanel"].bytes > 100_000:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        await assert_proven(spool)
        commits = spool.telemetry.registry.get_sample_value("gateway_spool_commits_total") or 0
        assert commits >= 5, "in steps, between which others may commit"


async def test_limit_is_reached_in_steps_while_requests_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "STEP_BYTES", 2000)
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("x" * 1000) for _ in range(20)])
    async with spool_in(tmp_path, limits=LetterLimits(max_bytes=1)) as spool:
        left = []
        for _ in range(12):
            await spool.append([Entry(IMPORT, b"{}\n", 1)])
            left.append(sum(each.letters for each in spool.dead_letters.kept().values()))
        assert left == [18, 16, 14, 12, 10, 8, 6, 4, 2, 0, 0, 0]
        await assert_proven(spool)


async def test_flood_of_letters_stays_within_the_limit_after_each_commit(tmp_path: Path) -> None:
    limits = LetterLimits(max_bytes=100_000)
    async with spool_in(tmp_path, limits=limits) as spool:
        for _ in range(5):
            await spool.append([], [record_letter("x" * 300) for _ in range(2000)])
            kept = spool.dead_letters.kept()["mixpanel"]
            assert kept.bytes <= limits.max_bytes
        await assert_proven(spool)


async def test_letters_have_a_quarter_of_the_spool_at_most(tmp_path: Path) -> None:
    max_bytes = 400_000
    async with spool_in(tmp_path, max_bytes=max_bytes) as spool:
        for _ in range(20):
            await spool.append([], [record_letter("x" * 1000) for _ in range(50)])
        assert spool.dead_letters.kept()["mixpanel"].bytes <= max_bytes / 4
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        assert spool.health().accepting


async def test_larger_limit_after_a_restart_keeps_what_is_there(tmp_path: Path) -> None:
    clock = ManualClock()
    async with spool_in(tmp_path, clock) as spool:
        await spool.append([], [record_letter(n) for n in range(5)])
    async with spool_in(tmp_path, clock, LetterLimits(max_age_ms=10**15)) as spool:
        clock.ms += 10**12
        await spool.append([Entry(IMPORT, b"{}\n", 1)])
        assert len(await stored(spool)) == 5


# Damage

DAMAGE = {
    "payload": "UPDATE dead_letters SET payload = CAST('x' || substr(payload, 2) AS BLOB)",
    "text": "UPDATE dead_letters SET payload = CAST(X'FF' AS TEXT)",
    "reason": "UPDATE dead_letters SET reason = 'other'",
    "detail": "UPDATE dead_letters SET detail = CAST(X'FF80' AS TEXT)",
    "source": "UPDATE dead_letters SET source = 'x' || source",
    "time": "UPDATE dead_letters SET received_ms = received_ms + 1",
    "no origin": "UPDATE dead_letters SET source = NULL",
    "queue": "UPDATE dead_letters SET queue_id = 3",
    "no queue": "UPDATE dead_letters SET queue_id = 99",
    "checksum": "UPDATE dead_letters SET checksum = 1",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
async def test_damaged_letter_is_set_aside_and_counted_as_lost(
    tmp_path: Path, statement: str
) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [event_letter(), record_letter()])
        await spool.append([Entry(ELSEWHERE, b"{}\n", 1)])
        sql(tmp_path, f"{statement} WHERE id = 1")
        for _ in range(2):
            assert [each.id for each in await stored(spool)] == ["2"]
        assert spool.ledger()["mixpanel"] == Ledger(accepted=2, dead_lettered=2, lost=1)
        metric = "gateway_dead_letters_damaged_total"
        assert spool.telemetry.registry.get_sample_value(metric) == 1
        assert sql(tmp_path, "SELECT id FROM damaged_letters") == [(1,)]
        await assert_proven(spool)
    async with spool_in(tmp_path) as spool:
        await assert_proven(spool)


async def test_letters_behind_a_page_of_damaged_ones_are_found(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter(n) for n in range(20)])
        sql(tmp_path, "UPDATE dead_letters SET reason = 'other' WHERE id < 20")
        assert [each.id for each in await spool.dead_letters.page(EVERYTHING, limit=5)] == ["20"]
        await assert_proven(spool)


async def test_letter_that_cannot_be_read_makes_a_new_file(tmp_path: Path) -> None:
    """Its payload flows over into pages of its own, of which one points nowhere."""
    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter("y" * 12_000), record_letter("b")])
    path = tmp_path / "worker-0.db"
    data = bytearray(path.read_bytes())
    page = next(n for n in range(0, len(data), 4096) if data[n + 4 : n + 4096] == b"y" * 4092)
    data[page : page + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    async with spool_in(tmp_path) as spool:
        assert [each.id for each in await stored(spool)] == ["2"]
        assert spool.ledger() == {"mixpanel": Ledger(accepted=2, dead_lettered=2, lost=1)}
        assert spool.telemetry.registry.get_sample_value("gateway_spool_salvages_total") == 1
        await assert_proven(spool)


async def test_row_that_cannot_be_deleted_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
            if statement.startswith("DELETE FROM dead_letters") and values == (2,):
                raise sqlite3.DatabaseError("database disk image is malformed")
            return super().execute(statement, values)

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    async with spool_in(tmp_path) as spool:
        await spool.append([], [record_letter(name) for name in "abc"])
    async with spool_in(tmp_path, limits=LetterLimits(max_bytes=1), connect=connect) as spool:
        for name in "xyz":
            await spool.append([Entry(IMPORT, b'{"n":"%s"}\n' % name.encode(), 1)])
        assert await records_of(spool) == [b'{"n":"x"}', b'{"n":"y"}', b'{"n":"z"}']
        (letter,) = await stored(spool)
        assert letter.id == "2"
        assert await spool.dead_letters.purge(["2"]) == 0
        assert await spool.dead_letters.replay([replacement(letter, "b")]) == frozenset()
        assert spool.ledger() == {
            "mixpanel": Ledger(accepted=6, pending=3, dead_lettered=3, dropped=2)
        }
        assert spool.health().accepting
        await assert_proven(spool)
    assert len([r for r in caplog.records if "cannot be deleted" in r.getMessage()]) == 1
