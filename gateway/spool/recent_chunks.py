"""The chunks that were committed last: delivery takes most of them before they are cold.

What it takes from here costs no statement, no thread and no checksum.  The file has it as well; it
alone counts after a crash, and for everything that is read twice.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.model import Queue
from gateway.spool.chunks import NumberedChunk

__all__ = ["MAX_FRESH_BYTES", "Fresh"]

MAX_FRESH_BYTES = 4 * 1024 * 1024
"""As they are stored, which is about ten full chunks.

Where delivery is further behind, it reads the file.
"""


@dataclass(slots=True)
class _Known:
    """What is known of a queue.

    :ivar since: all chunks of the queue with a higher id are in ``chunks``.
    """

    since: int
    chunks: deque[NumberedChunk] = field(default_factory=deque)


class Fresh:
    """Committed chunks that nobody has read: no one can have settled or set aside any of them.

    :param max_bytes: of all payloads together.
    """

    def __init__(self, max_bytes: int = MAX_FRESH_BYTES) -> None:
        self._max_bytes = max_bytes
        self._known: dict[Queue, _Known] = {}
        self._read: dict[Queue, int] = {}  # the highest id that was read, here or in the file
        self.held_bytes = 0

    def add(self, chunks: Sequence[NumberedChunk]) -> None:
        """Take note of the chunks of one commit, in the order of their ids."""
        for chunk in chunks:
            known = self._known.get(chunk.queue)
            if known is None:
                known = self._known[chunk.queue] = _Known(since=chunk.id - 1)
            if chunk.id <= self._read.get(chunk.queue, 0):
                known.since = chunk.id  # a reader of the file was faster
                continue
            known.chunks.append(chunk)
            self.held_bytes += len(chunk.payload)
        while self.held_bytes > self._max_bytes:
            self._drop_oldest()

    def take(
        self, queue: Queue, *, after: int, max_records: int, max_bytes: int
    ) -> list[NumberedChunk] | None:
        """Return what ``SqliteSpool.read`` has to, once; None where only the file knows."""
        known = self._known.get(queue)
        if known is None or after < known.since:
            return None
        self.note_read(queue, after)
        taken: list[NumberedChunk] = []
        records = raw_bytes = 0
        for chunk in known.chunks:
            records += chunk.records
            raw_bytes += chunk.raw_bytes
            if taken and (records > max_records or raw_bytes > max_bytes):
                break
            taken.append(chunk)
        if taken:
            self.note_read(queue, taken[-1].id)
        return taken

    def note_read(self, queue: Queue, last_id: int) -> None:
        """Take note that chunks up to an id were read, or were not to be."""
        self._read[queue] = max(last_id, self._read.get(queue, 0))
        known = self._known.get(queue)
        while known is not None and known.chunks and known.chunks[0].id <= last_id:
            self._drop(known)

    def forget(self) -> None:
        """Leave everything to the file: what it has is not known, or has changed."""
        self._known.clear()
        self.held_bytes = 0

    def _drop_oldest(self) -> None:
        self._drop(
            min(
                (known for known in self._known.values() if known.chunks),
                key=lambda known: known.chunks[0].id,
            )
        )

    def _drop(self, known: _Known) -> None:
        chunk = known.chunks.popleft()
        known.since = chunk.id
        self.held_bytes -= len(chunk.payload)
