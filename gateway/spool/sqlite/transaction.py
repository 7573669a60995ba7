"""What is in the file: read as a whole when it opens, changed by one transaction after another."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetter, DeadLetterCount, Entry, Ledger, Queue, QueueState
from gateway.spool.chunks import encode, group
from gateway.spool.sqlite.commands import (
    Append,
    Changes,
    CommitResult,
    Expire,
    Purge,
    Replay,
    SetAside,
    SetAsideLetters,
    Settle,
    Totals,
    Work,
)
from gateway.spool.sqlite.connection import Database
from gateway.spool.sqlite.dead_letters.table import Letterbox
from gateway.spool.sqlite.format import FORMAT
from gateway.spool.sqlite.recovery.ledger_rows import read_rows, write_row
from gateway.spool.sqlite.recovery.remembered import RememberedState
from gateway.spool.sqlite.space import Room

__all__ = ["Contents"]


class Contents:
    """The chunks, the dead letters and the ledger of one file.

    :param database: the writer; whoever calls begins and ends the transactions.
    :ivar rows: the ledger as committed, and in a transaction its own.
    :ivar queue_ids: by name.
    """

    def __init__(
        self,
        database: Database,
        memory: RememberedState,
        letters: Letterbox,
        room: Room,
        clock: Clock,
    ) -> None:
        self.rows: dict[str, Ledger] = {}
        self.queue_ids: dict[Queue, int] = {}
        self._oldest: dict[int, int | None] = {}  # times of Memory.first_ids
        self._shifted: set[int] = set()  # queues whose first chunk this transaction ended
        self._database = database
        self._memory = memory
        self._letters = letters
        self._room = room
        self._clock = clock

    def read(self) -> Totals:
        """Return the counters, from the ledger and the indexes alone."""
        totals = Totals()
        rows = self._database.execute("SELECT id, destination, endpoint FROM queues NOT INDEXED")
        self.queue_ids = {Queue(*names): queue_id for queue_id, *names in rows}
        totals.ledger = read_rows(self._database.execute)
        self.rows = dict(totals.ledger)
        (self._memory.last_id,) = self._database.row(
            "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'chunks'"
        )
        totals.kept = self._letters.count()
        sums = self._database.execute(
            "SELECT queue_id, COUNT(*), SUM(records) FROM chunks GROUP BY queue_id"
        )
        waiting = {queue_id: (chunks, records) for queue_id, chunks, records in sums}
        self._memory.first_ids.clear()
        self._oldest.clear()
        for queue, queue_id in self.queue_ids.items():
            if queue.endpoint:  # "" is for dead letters: nothing ever waits there
                chunks, records = waiting.get(queue_id, (0, 0))
                self._find_first(queue_id)
                totals.queues[queue] = QueueState(
                    pending=records, chunks=chunks, oldest_ms=self._oldest[queue_id]
                )
        return totals

    def _find_first(self, queue_id: int) -> None:
        """Look for the first chunk and when it came: ids and times ascend together."""
        first = self._database.row(
            "SELECT id, created_ms FROM chunks WHERE queue_id = ? ORDER BY id LIMIT 1", (queue_id,)
        )
        self._memory.first_ids[queue_id], self._oldest[queue_id] = first or (0, None)

    def apply(self, works: Sequence[Work]) -> CommitResult:
        """Do everything of a transaction but beginning and ending it."""
        outcome = CommitResult()
        others = [(i, work) for i, work in enumerate(works) if not isinstance(work, Append)]
        expiring = []
        written = self._database.total_changes()
        self._shifted.clear()
        for index, work in others:
            if isinstance(work, Expire):
                expiring.append(index)  # every transaction goes such a step, below
            elif not isinstance(work, Replay):
                try:
                    outcome.results[index] = self._do(work, outcome.changes)
                except SpoolError as error:
                    outcome.refused[index] = error
        # After settlements, which make room.
        outcome.problem = self._room.lack()
        if outcome.problem:
            for index, each in enumerate(works):
                if isinstance(each, Append | Replay):
                    outcome.refused[index] = SpoolUnavailable(outcome.problem, retry_after_s=30)
        else:
            self._append(works, outcome)
        more = self._letters.expire(outcome.changes)
        outcome.results.update(dict.fromkeys(expiring, more))
        if self._database.total_changes() == written:
            # What writes nothing tells nothing.  It is the same format, but it has to be written.
            self._database.execute(f"PRAGMA user_version = {FORMAT}")
        self._write_ledger(outcome.changes)
        return outcome

    def _do(self, work: Settle | SetAside | SetAsideLetters | Purge, changes: Changes) -> object:
        """Do what needs no room, and return what it results in."""
        match work:
            case Settle():
                self._settle(work, changes)
            case SetAside():
                self._set_aside(work, changes)
            case SetAsideLetters():
                self._letters.set_aside(work, changes)
            case Purge():
                return self._letters.purge(work, changes)
        return None

    def _append(self, works: Sequence[Work], outcome: CommitResult) -> None:
        """Add what comes from clients, and what is replayed."""
        entries: list[Entry] = []
        letters: list[DeadLetter] = []
        for index, work in enumerate(works):
            if isinstance(work, Append):
                entries += work.entries
                letters += work.dead
            elif isinstance(work, Replay):
                outcome.results[index], again = self._letters.take(work, outcome.changes)
                entries += again
        changes = outcome.changes
        now_ms = self._clock.now_ms()
        for chunk in group(entries):
            stored = encode(chunk)
            queue_id = self._queue_id(chunk.queue, changes)
            inserted = self._database.execute(
                "INSERT INTO chunks (queue_id, created_ms, records, raw_bytes, encoding,"
                " checksum, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (queue_id, now_ms, *stored.columns()),
            )
            chunk_id = self._memory.last_id = inserted.lastrowid or 0
            if not self._memory.first_ids.get(queue_id):
                self._memory.first_ids[queue_id], self._oldest[queue_id] = chunk_id, now_ms
            outcome.fresh.append(stored.chunk(chunk_id, now_ms))
            changes.count(chunk.queue.destination, Ledger(accepted=chunk.records))
            changes.move(chunk.queue, chunks=1, records=chunk.records)
        for destination, count in self._keep(letters, now_ms, changes).items():
            changes.count(destination, Ledger(accepted=count, dead_lettered=count))

    def _settle(self, settle: Settle, changes: Changes) -> None:
        queue, remaining = settle.queue, settle.remaining
        queue_id = self.queue_ids.get(queue, 0)
        ids = json.dumps(settle.chunk_ids)
        found, records = self._database.row(
            "SELECT COUNT(*), SUM(records) FROM chunks"
            " WHERE queue_id = ? AND id IN (SELECT value FROM json_each(?))",
            (queue_id, ids),
        )
        kept = remaining.records if remaining else 0
        named = settle.delivered + len(settle.dead) + kept
        if (found, records) != (len(settle.chunk_ids), named):
            raise SpoolError(
                f"settlement of {'/'.join(queue)} names {named} records in "
                f"{len(settle.chunk_ids)} chunks, on disk are {records or 0} in {found}"
            )
        first_id = min(settle.chunk_ids)
        if remaining:
            self._database.execute(
                "UPDATE chunks SET records = ?, raw_bytes = ?, encoding = ?, checksum = ?,"
                " payload = ? WHERE id = ?",
                (*encode(Entry(queue, remaining.lines, remaining.records)).columns(), first_id),
            )
        self._database.execute(
            "DELETE FROM chunks WHERE id IN (SELECT value FROM json_each(?)) AND id != ?",
            (ids, first_id if remaining else 0),
        )
        if not remaining:
            self._shifted.add(queue_id)
        self._keep(settle.dead, self._clock.now_ms(), changes)
        dead = len(settle.dead)
        changes.count(queue.destination, Ledger(delivered=settle.delivered, dead_lettered=dead))
        changes.move(queue, chunks=bool(remaining) - found, records=kept - records)

    def _set_aside(self, chunk: SetAside, changes: Changes) -> None:
        moved = self._database.execute(
            "INSERT INTO damaged_chunks SELECT id, ?, ?, queue_id, created_ms, records,"
            " raw_bytes, encoding, checksum, CASE ? WHEN 'checksum' THEN payload END"
            " FROM chunks WHERE id = ?",
            (self._clock.now_ms(), chunk.reason, chunk.reason, chunk.chunk_id),
        )
        self._database.execute("DELETE FROM chunks WHERE id = ?", (chunk.chunk_id,))
        if moved.rowcount:
            changes.damaged.append(chunk)
            return
        place = (self.queue_ids.get(chunk.queue, 0), chunk.chunk_id)
        in_index = "FROM chunks INDEXED BY chunks_of_queue WHERE queue_id = ? AND id = ?"
        if self._database.row(f"SELECT COUNT(*) {in_index}", place) != (0,):  # our own text
            raise sqlite3.DatabaseError(f"chunk {chunk.chunk_id} is in the index alone")

    def _keep(self, letters: Sequence[DeadLetter], now_ms: int, changes: Changes) -> Counter[str]:
        """Keep dead letters; return how many each destination got."""
        counts: Counter[str] = Counter()
        for letter in letters:
            self._letters.keep(letter, self._queue_id(letter.queue, changes), now_ms, changes)
            counts[letter.queue.destination] += 1
        return counts

    def _queue_id(self, queue: Queue, changes: Changes) -> int:
        queue_id = self.queue_ids.get(queue)
        if queue_id is None:
            self._database.execute(
                "INSERT INTO queues (destination, endpoint) VALUES (?, ?)", queue
            )
            (queue_id,) = self._database.row("SELECT last_insert_rowid()")
            self.queue_ids[queue] = queue_id
            self._memory.name(queue_id, queue)
            if queue.endpoint:
                changes.move(queue)
        return queue_id

    def _write_ledger(self, changes: Changes) -> None:
        if changes.has_damage:
            self._count_damaged(changes)
        for destination, delta in changes.ledger.items():
            row = self.rows[destination] = self.rows.get(destination, Ledger()) + delta
            write_row(self._database.execute, destination, row)
        for queue, moved in changes.queues.items():
            queue_id = self.queue_ids[queue]
            if queue_id in self._shifted:
                self._find_first(queue_id)
            changes.queues[queue] = replace(moved, oldest_ms=self._oldest.get(queue_id))

    def _count_damaged(self, changes: Changes) -> None:
        """Count what was in damaged chunks, and damaged letters, as lost.

        They cannot be trusted to say how many records that was, or whose.  The ledger knows: those
        that were accepted and are nowhere else, and the letters that should be there and are not.
        """
        pending = dict(
            self._database.execute(
                "SELECT destination, SUM(records) FROM chunks JOIN queues ON queues.id = queue_id"
                " GROUP BY destination"
            )
        )
        letters = self._letters.count()
        for destination in {*self.rows, *changes.ledger}:
            row = self.rows.get(destination, Ledger())
            row += changes.ledger.get(destination, Ledger())
            missing = row.gap - pending.get(destination, 0)
            if missing > 0:
                changes.count(destination, Ledger(dead_lettered=missing, lost=missing))
            missing = row.kept - letters.get(destination, DeadLetterCount()).letters
            if missing > 0:
                changes.count(destination, Ledger(lost=missing))
