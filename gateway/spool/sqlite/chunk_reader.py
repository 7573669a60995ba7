"""Reading the spool's file, beside the writer."""

import sqlite3
from collections.abc import Set

from gateway.model import Queue
from gateway.spool.chunks import NumberedChunk, checksum
from gateway.spool.sqlite.commands import SetAside
from gateway.spool.sqlite.connection import Database, is_damage

__all__ = ["ChunkReader"]


class ChunkReader(Database):
    """A connection that changes nothing and never waits for a commit."""

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        # A damaged text fails its checksum; it must not fail in the decoder before that.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def read(
        self, queue: Queue, after: int, max_records: int, max_bytes: int, skip: Set[int]
    ) -> tuple[list[NumberedChunk], list[SetAside]]:
        """Return chunks within the limits, and the damaged ones on the way to them."""
        chunks: list[NumberedChunk] = []
        damaged: list[SetAside] = []
        records = raw_bytes = 0
        ids = self.execute(
            "SELECT id, records FROM chunks WHERE id > ? AND queue_id ="
            " (SELECT id FROM queues NOT INDEXED WHERE destination = ? AND endpoint = ?)"
            " ORDER BY id",
            (after, *queue),
        )
        # Rows are loaded one by one, so that an unreadable one is known by its id.  They belong
        # to the snapshot of `ids` for as long as that is open.
        for chunk_id, indexed in ids:
            if chunk_id in skip:
                continue
            if chunks and isinstance(indexed, int) and records + indexed > max_records:
                break  # its payload need not be read to know that
            chunk = self._load(queue, chunk_id)
            if isinstance(chunk, SetAside):
                damaged.append(chunk)
                continue
            records += chunk.records
            raw_bytes += chunk.raw_bytes
            if chunks and (records > max_records or raw_bytes > max_bytes):
                break
            chunks.append(chunk)
        ids.close()
        return chunks, damaged

    def newest_of(self, queue: Queue) -> int:
        """Return the id of the newest chunk, 0 where there is none."""
        (newest,) = self.row(
            "SELECT MAX(id) FROM chunks WHERE queue_id ="
            " (SELECT id FROM queues NOT INDEXED WHERE destination = ? AND endpoint = ?)",
            tuple(queue),
        )
        return newest or 0

    def _load(self, queue: Queue, chunk_id: int) -> NumberedChunk | SetAside:
        """Return a chunk that is as it was written, or what is wrong with it."""
        try:
            row = self.row(
                "SELECT records, raw_bytes, encoding, checksum, payload, created_ms FROM chunks"
                " WHERE id = ?",
                (chunk_id,),
            )
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            row = None
        if row is None:
            return SetAside(queue, chunk_id, "unreadable")
        records, raw_bytes, encoding, expected, payload, created_ms = row
        whole = isinstance(payload, bytes) and isinstance(created_ms, int)
        if not whole or checksum(queue, records, raw_bytes, encoding, payload) != expected:
            return SetAside(queue, chunk_id, "checksum")
        return NumberedChunk(
            id=chunk_id,
            queue=queue,
            records=records,
            raw_bytes=raw_bytes,
            created_ms=created_ms,
            encoding=encoding,
            payload=payload,
        )
