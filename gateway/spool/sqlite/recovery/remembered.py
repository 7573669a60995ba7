"""What the writer remembers of its file, so that a file that forgets is found out."""

import logging
import sqlite3
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

from gateway.model import DeadLetterCount, Ledger, Queue
from gateway.spool.sqlite.commands import Totals
from gateway.spool.sqlite.format import FORMAT
from gateway.spool.sqlite.recovery.ledger_rows import COUNTED, later
from gateway.spool.sqlite.recovery.shadow_ledger import Memo, QueueMemo, Sidecar

__all__ = ["RememberedState"]

log = logging.getLogger(__name__)

FAR_IDS = 1 << 40
"""A file that is so far ahead of what is remembered has not got there by counting."""


class RememberedState:
    """The sidecar and what goes into it.

    :ivar memo: what was last known; None in a new spool.
    :ivar first_ids: the oldest waiting chunk by queue id.
    :ivar last_id: of all chunks ever.
    """

    def __init__(self, path: Path) -> None:
        self.memo: Memo | None = None
        self.first_ids: dict[int, int] = {}
        self.last_id = 0
        self._path = path
        self._sidecar = Sidecar(path)
        self._is_open = False
        self._is_failing = False
        self._names: dict[int, Queue] = {}

    def open(self) -> None:
        """Read what an earlier process knew; what this one knows is newer.

        :raises OSError: the file cannot be opened.
        """
        if self._is_open:
            return
        found = self._sidecar.open()
        self._is_open = True
        self.memo = self.memo or found

    def close(self) -> None:
        """Release the file; the next ``open`` makes it again where it has vanished."""
        self._sidecar.close()
        self._is_open = False

    def name(self, queue_id: int, queue: Queue) -> None:
        """Learn of a queue."""
        self._names[queue_id] = queue

    def knows_of_records(self) -> bool:
        """Tell whether the file cannot be empty."""
        return self.memo is not None and any(map(any, self.memo.ledger.values()))

    def check_format(self, version: int) -> None:
        """Compare the file's format with that which was last written.

        :raises sqlite3.DatabaseError: it was another one.
        """
        if self.memo is None or self.memo.format > FORMAT:
            return
        if version not in (self.memo.format, FORMAT):  # it may have been upgraded, and no more
            raise sqlite3.DatabaseError(f"the file says it has format {version}, which it had not")

    def check(self, totals: Totals, ids: Mapping[Queue, int], *, is_salvaged: bool) -> None:
        """Compare what a file that was just opened says with itself and with what is remembered.

        :param is_salvaged: whether it may have less than is remembered.
        :raises sqlite3.DatabaseError: it has lost something.
        """
        pending = dict.fromkeys((*totals.ledger, *totals.kept), 0)
        for queue, state in totals.queues.items():
            counts: tuple[object, ...] = (state.pending, state.oldest_ms or 0, state.chunks)
            if not all(isinstance(count, int) for count in counts):
                raise sqlite3.DatabaseError(f"the counts of {'/'.join(queue)} are damaged")
            pending[queue.destination] = pending.get(queue.destination, 0) + state.pending
        for name, count in pending.items():
            row, kept = totals.ledger.get(name, Ledger()), totals.kept.get(name, DeadLetterCount())
            if (row.gap, row.kept) != (count, kept.letters):
                raise sqlite3.DatabaseError(f"the counts of {name} do not add up")
        if not isinstance(self.last_id, int):
            raise sqlite3.DatabaseError("the numbering of the chunks is damaged")
        self._names = {queue_id: queue for queue, queue_id in ids.items()}
        if self.memo is None or is_salvaged:
            return
        known = {
            name: Ledger(**dict(zip(COUNTED, counts, strict=False)))
            for name, counts in self.memo.ledger.items()
        }
        if later(totals.ledger, known) != totals.ledger:
            raise sqlite3.DatabaseError("the newest records or deliveries are missing")
        if any(self._names.get(each.id) != each.queue for each in self.memo.queues):
            raise sqlite3.DatabaseError("the names of the queues are damaged")
        if not self.memo.last_id <= self.last_id < self.memo.last_id + FAR_IDS:
            raise sqlite3.DatabaseError("the numbering of the chunks is damaged")

    def write(self, rows: Mapping[str, Ledger]) -> None:
        """Remember what a commit has made durable; never before it has.

        :param rows: those of the ledger that have changed.
        """
        if self.memo is None:
            self.memo = Memo(format=FORMAT, last_id=0, ledger={}, queues=[])
        memo = self.memo
        memo.format, memo.last_id = FORMAT, self.last_id
        for name, row in rows.items():
            memo.ledger[name] = _counts(row)
        for each in memo.queues:
            each.first_id = self.first_ids.get(each.id, 0)
        for queue_id in self._names.keys() - {each.id for each in memo.queues}:
            first_id = self.first_ids.get(queue_id, 0)
            memo.queues.append(QueueMemo(queue_id, *self._names[queue_id], first_id))
        try:
            self._sidecar.write(self.memo)
        except OSError as error:
            if not self._is_failing:
                log.warning("cannot write %s: %s; no record is lost by that", self._path, error)
            self._is_failing = True
        else:
            self._is_failing = False


_counts = attrgetter(*COUNTED)
