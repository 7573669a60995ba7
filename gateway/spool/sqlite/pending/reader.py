"""Reading what waits, for operators: apart from delivery, since a search may read all of it."""

import json
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path

from gateway.model import Queue
from gateway.spool.chunks import decode
from gateway.spool.pending import Chosen, Match, PendingFilter, Waiting
from gateway.spool.sqlite.chunk_reader import ChunkReader
from gateway.spool.sqlite.commands import SetAside
from gateway.spool.sqlite.ids import FileIds

__all__ = ["PendingReader"]

_CONDITIONS = {
    "destination": "queue_id IN (SELECT id FROM queues WHERE destination = ?)",
    "endpoint": "queue_id IN (SELECT id FROM queues WHERE endpoint = ?)",
    "since_ms": "created_ms >= ?",
    "until_ms": "created_ms < ?",
    "up_to": "chunks.id <= ?",
}

# Without the index the rows come as they lie, and each page goes on where the one before ended.
# What is asked for precedes the payload, which is not read.
_FROM = "FROM chunks NOT INDEXED JOIN queues ON queues.id = queue_id"


class PendingReader(ChunkReader):
    """A connection that changes nothing and never waits for a commit.

    :param ids: what chunks are called outside.
    """

    def __init__(
        self, path: Path, connect: Callable[[Path], sqlite3.Connection], ids: FileIds
    ) -> None:
        super().__init__(path, connect)
        self._ids = ids

    def waiting(self, wanted: PendingFilter, chunk_ids: Collection[str] | None) -> list[Waiting]:
        """Return what waits by queue, most records first."""
        where, values = self._where(wanted, chunk_ids)
        rows = self.execute(
            "SELECT destination, endpoint, SUM(records), COUNT(*), SUM(raw_bytes),"
            f" MIN(created_ms), MAX(created_ms) {_FROM}"
            f" WHERE TRUE{where} GROUP BY queue_id ORDER BY SUM(records) DESC, queue_id",
            values,
        )
        names = ("records", "chunks", "bytes", "oldest_ms", "newest_ms")
        return [
            Waiting(queue=Queue(*row[:2]), **dict(zip(names, row[2:], strict=True)))
            for row in rows.fetchall()
        ]

    def page(
        self,
        wanted: PendingFilter,
        chunk_ids: Collection[str] | None,
        match: Match,
        after: int,
        max_records: int,
        max_bytes: int,
    ) -> tuple[list[Chosen], list[SetAside], int | None]:
        """Return records that are meant, the damaged chunks on the way, and where it ended."""
        where, values = self._where(wanted, chunk_ids)
        rows = self.execute(
            f"SELECT chunks.id, destination, endpoint {_FROM}"
            f" WHERE chunks.id > ?{where} ORDER BY chunks.id",
            (after, *values),
        )
        found: list[Chosen] = []
        damaged: list[SetAside] = []
        last: int | None = None
        records = raw_bytes = 0
        for chunk_id, destination, endpoint in rows:
            if records >= max_records or raw_bytes >= max_bytes:
                break
            last = chunk_id
            chunk = self._load(Queue(destination, endpoint), chunk_id)
            if isinstance(chunk, SetAside):
                damaged.append(chunk)
                continue
            raw_bytes += chunk.raw_bytes
            name = self._ids.text(chunk_id)
            lines = decode(chunk.encoding, chunk.payload).split(b"\n")[:-1]
            indexes = [index for index, line in enumerate(lines) if match(name, line)]
            records += len(indexes)
            if indexes:
                found.append(Chosen(id=name, chunk=chunk, lines=lines, indexes=indexes))
        rows.close()
        return found, damaged, last

    def newest_id(self) -> int:
        """Return the id of the newest chunk, 0 when nothing waits."""
        (newest,) = self.row("SELECT MAX(id) FROM chunks")
        return newest or 0

    def _where(
        self, wanted: PendingFilter, chunk_ids: Collection[str] | None
    ) -> tuple[str, tuple[object, ...]]:
        """Return the conditions that are about a whole chunk, and their values."""
        given = {name: getattr(wanted, name) for name in _CONDITIONS}
        if wanted.up_to is not None:
            given["up_to"] = self._ids.bound(wanted.up_to)
        given = {name: value for name, value in given.items() if value is not None}
        where = "".join(f" AND {_CONDITIONS[name]}" for name in given)
        if chunk_ids is None:
            return where, tuple(given.values())
        where += " AND chunks.id IN (SELECT value FROM json_each(?))"
        return where, (*given.values(), json.dumps(sorted(self._ids.own(chunk_ids))))
