"""Dead letters in a real spool."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.model import (
    DeadLetter,
    DeadLetterCount,
    Entry,
    Ledger,
    Origin,
    Queue,
    StoredDeadLetter,
)
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter, LetterLimits, Replacement
from gateway.spool.sqlite import SqliteSpool
from gateway.telemetry import Telemetry

__all__ = [
    "EVERYTHING",
    "IMPORT",
    "NOW_MS",
    "Hands",
    "ManualClock",
    "assert_proven",
    "event_letter",
    "record_letter",
    "records_of",
    "replacement",
    "spool_in",
    "sql",
    "stored",
]

NOW_MS = 1_700_000_000_000
IMPORT = Queue("mixpanel", "import")
EVERYTHING = Filter()
DEFAULTS = LetterLimits()


class ManualClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Hands(SqliteSpool):
    """The spool with what a test looks at."""

    clock: ManualClock
    telemetry: Telemetry


@asynccontextmanager
async def spool_in(
    directory: Path,
    clock: ManualClock | None = None,
    limits: LetterLimits = DEFAULTS,
    **options: Any,
) -> AsyncIterator[Hands]:
    clock, telemetry = clock or ManualClock(), Telemetry()
    arguments: dict[str, Any] = {"max_bytes": 1 << 40, "min_free_bytes": 0, **options}
    spool = Hands(directory, clock=clock, telemetry=telemetry, letter_limits=limits, **arguments)
    spool.clock, spool.telemetry = clock, telemetry
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


def sql(directory: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement from outside, as a broken disk would."""
    with closing(sqlite3.connect(directory / "worker-0.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def record_letter(
    name: object = 1, *, queue: Queue = IMPORT, reason: str = "refused", detail: str = "no such"
) -> DeadLetter:
    payload = b'{"n":"%s"}' % str(name).encode()
    return DeadLetter(queue=queue, kind="record", reason=reason, detail=detail, payload=payload)


def event_letter(
    payload: bytes = b'{"type":"track"}',
    *,
    destination: str = "mixpanel",
    reason: str = "missing_event_name",
    source: str = "sdk",
) -> DeadLetter:
    return DeadLetter(
        queue=Queue(destination, ""),
        kind="event",
        reason=reason,
        detail="a track event needs a name",
        payload=payload,
        origin=Origin(source=source, received_ms=NOW_MS, skew_ms=-10_000, client_ip="192.0.2.7"),
    )


def replacement(letter: StoredDeadLetter, *names: object, queue: Queue = IMPORT) -> Replacement:
    entries = [Entry(queue, b'{"n":"%s"}\n' % str(name).encode(), 1) for name in names]
    return Replacement(letter.id, entries)


async def stored(spool: SqliteSpool, wanted: Filter = EVERYTHING) -> list[StoredDeadLetter]:
    """Return all dead letters that fit, read page by page."""
    letters: list[StoredDeadLetter] = []
    while page := await spool.dead_letters.page(
        wanted, after=letters[-1].id if letters else "", limit=7, max_bytes=500
    ):
        letters += page
    return letters


async def records_of(spool: SqliteSpool, queues: Sequence[Queue] = (IMPORT,)) -> list[bytes]:
    """Return the records that wait, in order."""
    lines: list[bytes] = []
    for queue in queues:
        after = 0
        while chunks := await spool.read(queue, after=after):
            after = chunks[-1].id
            for chunk in chunks:
                lines += decode(chunk.encoding, chunk.payload).splitlines()
    return lines


async def assert_proven(spool: SqliteSpool) -> None:
    """Fail unless the ledger, the counters of what is kept, and the table agree."""
    kept = spool.dead_letters.kept()
    for destination, ledger in spool.ledger().items():
        assert ledger.gap == 0, ledger
        assert ledger.kept == kept.get(destination, DeadLetterCount()).letters, ledger
    there = await stored(spool)
    assert len(there) == sum((each for each in kept.values()), DeadLetterCount()).letters
    total = sum(spool.ledger().values(), Ledger())
    assert total.kept == len(there)
