"""A spool of an older format opens with everything that is in it."""

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from gateway.model import DeadLetter, DeadLetterCount, Entry, Ledger, Queue, QueueState
from gateway.spool.chunks import encode
from gateway.spool.dead_letters import LETTER_BYTES, LetterLimits
from gateway.spool.sqlite.commands import Settle
from gateway.spool.sqlite.format import FORMAT
from tests.support.letters import (
    IMPORT,
    assert_proven,
    records_of,
    replacement,
    spool_in,
    sql,
    stored,
)

EVENTS = Queue("mixpanel", "")


def write_format_1(directory: Path) -> None:
    """Write a spool as the first version of the gateway left it."""
    directory.mkdir(mode=0o700)
    schema = files("gateway.spool.sqlite").joinpath("schema/1.sql").read_text(encoding="utf-8")
    chunk = encode(Entry(IMPORT, b'{"n":"waits"}\n', 1))
    with closing(sqlite3.connect(directory / "worker-0.db")) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {schema} PRAGMA user_version = 1; COMMIT;")
        with connection:
            connection.executemany(
                "INSERT INTO queues VALUES (?, ?, ?)", [(1, *IMPORT), (2, *EVENTS)]
            )
            connection.execute(
                "INSERT INTO chunks VALUES (9, 1, 1600000000000, ?, ?, ?, ?, ?)", chunk.columns()
            )
            connection.execute("INSERT INTO ledger VALUES ('mixpanel', 6, 3, 2)")
            connection.executemany(
                "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (3, 1500000000000, 1, "record", "refused", "no such thing", b'{"n":"dead"}'),
                    (7, 1500000000001, 2, "event", "missing_id", "who?", b'{"type":"identify"}'),
                ],
            )


async def test_spool_of_format_1_opens_as_the_newest_with_everything_in_it(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    write_format_1(directory)
    async with spool_in(directory) as spool:
        assert sql(directory, "PRAGMA user_version") == [(FORMAT,)]
        assert spool.ledger() == {
            "mixpanel": Ledger(accepted=6, delivered=3, dead_lettered=2, pending=1)
        }
        assert spool.queues() == {IMPORT: QueueState(pending=1, chunks=1, oldest_ms=1600000000000)}
        assert await records_of(spool) == [b'{"n":"waits"}']
        record, event = await stored(spool)
        assert (record.id, record.created_ms) == ("3", 1500000000000)
        assert record.letter == DeadLetter(
            queue=IMPORT,
            kind="record",
            reason="refused",
            detail="no such thing",
            payload=b'{"n":"dead"}',
        )
        assert (event.letter.queue, event.letter.origin) == (EVENTS, None)
        size = sum(len(each.letter.payload) + len(each.letter.detail) for each in (record, event))
        assert spool.dead_letters.kept() == {
            "mixpanel": DeadLetterCount(2, size + 2 * LETTER_BYTES)
        }
        await assert_proven(spool)


async def test_migrated_spool_goes_on_as_any_other(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    write_format_1(directory)
    async with spool_in(directory, limits=LetterLimits(max_age_ms=10**12)) as spool:
        record, event = await stored(spool)
        assert await spool.dead_letters.replay([replacement(record, "again")]) == {record.id}
        assert await spool.dead_letters.purge([event.id]) == 1
        chunks = await spool.read(IMPORT)
        ids = tuple(chunk.id for chunk in chunks)
        assert ids == (9, 10)
        await spool.settle(Settle(queue=IMPORT, chunk_ids=ids, delivered=2))
    async with spool_in(directory) as spool:
        assert spool.ledger() == {
            "mixpanel": Ledger(accepted=6, delivered=5, dead_lettered=1, replayed=1, purged=1)
        }
        await assert_proven(spool)
