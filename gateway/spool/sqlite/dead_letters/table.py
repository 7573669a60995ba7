"""Everything that changes the table of dead letters, as a part of the writer's transactions."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from gateway.clock import Clock
from gateway.model import DeadLetter, DeadLetterCount, Entry, Ledger, Queue
from gateway.spool.dead_letters import LETTER_BYTES, LetterLimits
from gateway.spool.sqlite.commands import Changes, CommitResult, Purge, Replay, SetAsideLetters
from gateway.spool.sqlite.connection import is_damage
from gateway.spool.sqlite.dead_letters.rows import COLUMNS, SELECT, read_row, row_of

__all__ = ["Letterbox"]

log = logging.getLogger(__name__)

STEP_BYTES = 1024 * 1024
"""What one transaction drops beyond twice what it adds: at most 4000 letters, some 10 ms."""

LOOK_EVERY_S = 60.0
"""How often the age of the oldest letter is looked at, and how often a log line tells of drops."""

_PAGE = 256

_INSERT = (
    f"INSERT INTO dead_letters (queue_id, {', '.join(COLUMNS)})"  # noqa: S608  # our own names
    f" VALUES (?{', ?' * len(COLUMNS)})"
)

_SET_ASIDE = (
    f"INSERT INTO damaged_letters (id, found_ms, queue_id, {', '.join(COLUMNS)})"  # noqa: S608
    f" SELECT id, ?, queue_id, {', '.join(COLUMNS)} FROM dead_letters WHERE id = ?"
)

_NAME_AND_SIZE = (
    "SELECT dead_letters.id, destination, size FROM dead_letters"
    " JOIN queues ON queues.id = queue_id WHERE dead_letters.id = ?"
)


class Letterbox:
    """The dead letters of one file.

    :param execute: runs a statement on the writer's connection, inside its transaction.
    """

    def __init__(
        self,
        execute: Callable[[str, Sequence[object]], sqlite3.Cursor],
        *,
        clock: Clock,
        limits: LetterLimits,
    ) -> None:
        self._execute = execute
        self._clock = clock
        self._limits = limits
        self._bytes = 0  # kept, as of the last transaction
        self._look_at = 0.0  # when to look at the ages next, on a clock that never goes back
        self._stuck: set[int] = set()  # letters that damage keeps from being deleted
        self._is_stuck = False  # whether nothing else is left to drop
        self._unsaid = 0  # letters dropped since the log told of it
        self._say_at = 0.0

    def count(self) -> dict[str, DeadLetterCount]:
        """Return what is there, by destination; read from the index alone."""
        kept: dict[str, DeadLetterCount] = {}
        rows = self._execute(
            "SELECT destination, letters, bytes FROM (SELECT queue_id, COUNT(*) AS letters,"
            " SUM(size) AS bytes FROM dead_letters INDEXED BY dead_letters_by_reason"
            " GROUP BY queue_id) JOIN queues ON queues.id = queue_id",
            (),
        )
        for destination, letters, size in rows:
            here = DeadLetterCount(letters, size + letters * LETTER_BYTES)
            kept[destination] = kept.get(destination, DeadLetterCount()) + here
        self._bytes = sum(each.bytes for each in kept.values())
        self._stuck.clear()  # a file that was mended may let them go
        self._is_stuck = False
        return kept

    def keep(self, letter: DeadLetter, queue_id: int, now_ms: int, changes: Changes) -> None:
        """Add a letter; the ledger is its caller's."""
        row = row_of(letter, now_ms)
        self._execute(_INSERT, (queue_id, *row))
        size = row[COLUMNS.index("size")]
        changes.keep(letter.queue.destination, DeadLetterCount(1, size + LETTER_BYTES))

    def take(self, replay: Replay, changes: Changes) -> tuple[frozenset[int], list[Entry]]:
        """Delete letters that are replayed; return whose were there, and their records."""
        taken = self._delete(replay.entries)
        for _, destination, size in taken:
            self._forget(
                destination, size, changes, Ledger(accepted=-1, dead_lettered=-1, replayed=1)
            )
        entries = [entry for letter_id, _, _ in taken for entry in replay.entries[letter_id]]
        return frozenset(letter_id for letter_id, _, _ in taken), entries

    def purge(self, purge: Purge, changes: Changes) -> int:
        """Delete letters for good; return how many were there."""
        deleted = self._delete(purge.ids)
        for _, destination, size in deleted:
            self._forget(destination, size, changes, Ledger(purged=1))
        return len(deleted)

    def set_aside(self, damaged: SetAsideLetters, changes: Changes) -> None:
        """Take letters out of the others, unless they are sound; the ledger is its caller's."""
        for letter_id in damaged.ids:
            if self._is_sound(letter_id):
                continue  # whoever said so read another file, or the disk was wrong
            values = (self._clock.now_ms(), letter_id)
            moved = self._execute(_SET_ASIDE, values).rowcount
            self._execute("DELETE FROM dead_letters WHERE id = ?", (letter_id,))
            if moved:
                changes.damaged_letters.append(letter_id)

    def expire(self, changes: Changes) -> bool:
        """Go a step towards the limits, the oldest first; return whether there is more to do."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        added = sum(each.bytes for each in changes.kept.values())
        excess = self._bytes + added - self._limits.max_bytes
        if now < self._look_at and (excess <= 0 or self._is_stuck):
            return False
        room = STEP_BYTES + 2 * max(0, added)
        after = 0
        while room > 0:
            victims: list[int] = []
            for letter_id, created_ms, size in self._oldest(after):
                after = letter_id
                is_old = created_ms < now_ms - self._limits.max_age_ms
                if letter_id in self._stuck:
                    continue
                if room <= 0 or not (is_old or excess > 0):
                    break
                victims.append(letter_id)
                room -= size + LETTER_BYTES
                excess -= size + LETTER_BYTES
            if not victims:
                self._is_stuck = excess > 0
                self._look_at = now + LOOK_EVERY_S
                return False
            for _, destination, size in self._delete(victims):
                self._forget(destination, size, changes, Ledger(dropped=1))
        return True

    def committed(self, outcome: CommitResult) -> None:
        """Take note that a transaction is durable."""
        changes = outcome.changes
        if outcome.totals is None:  # else they were counted at its end
            self._bytes += sum(each.bytes for each in changes.kept.values())
        self._unsaid += sum(each.dropped for each in changes.ledger.values())
        now = self._clock.monotonic()
        if self._unsaid and now >= self._say_at:
            log.warning(
                "%d of the oldest dead letters dropped: older than %d days, or more than %d bytes "
                "of them; replay or purge them sooner, or raise the limit in [spool]",
                *(self._unsaid, self._limits.max_age_ms // 86_400_000, self._limits.max_bytes),
            )
            self._unsaid, self._say_at = 0, now + LOOK_EVERY_S

    def _oldest(self, after: int) -> list[tuple[int, int, int]]:
        try:
            return self._execute(
                "SELECT id, created_ms, size FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?",
                (after, _PAGE),
            ).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            log.error("the oldest dead letters cannot be found, none is dropped: %s", error)
            return []

    def _is_sound(self, letter_id: int) -> bool:
        row = self._execute(SELECT, (letter_id,)).fetchone()
        return row is not None and read_row(Queue(*row[:2]), row[2:]) is not None

    def _delete(self, ids: Iterable[int]) -> list[tuple[int, str, int]]:
        """Delete those that are there; return their ids, destinations and sizes.

        Damage must not fail the requests that share the transaction: a row that cannot be deleted
        stays where it is, for good.
        """
        chosen = list(ids)
        while True:
            self._execute("SAVEPOINT letters", ())
            deleted: list[tuple[int, str, int]] = []
            letter_id = 0
            try:
                for letter_id in chosen:
                    found = self._execute(_NAME_AND_SIZE, (letter_id,)).fetchall()
                    if found and letter_id not in self._stuck:
                        self._execute("DELETE FROM dead_letters WHERE id = ?", (letter_id,))
                        deleted += found
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._execute("ROLLBACK TO letters", ())
                self._stuck.add(letter_id)
                log.error("dead letter %d is damaged and cannot be deleted: %s", letter_id, error)
                continue
            finally:
                self._execute("RELEASE letters", ())
            return deleted

    def _forget(self, destination: str, size: int, changes: Changes, delta: Ledger) -> None:
        changes.keep(destination, DeadLetterCount(-1, -size - LETTER_BYTES))
        changes.count(destination, delta)
