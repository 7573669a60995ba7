"""What may happen to a spool: work, failing calls, and ends; at random, but small."""

import errno
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from hypothesis import strategies as st

from gateway.model import DeadLetter, Entry, Queue
from gateway.spool.sqlite.commands import Append, Purge, Replay, SetAside, Settle
from tests.support.disk_model import Mode
from tests.support.faultfs import Operation
from tests.support.spool_model import Seen, Work

__all__ = ["CUTS", "FAILURES", "QUEUES", "WISHES", "Cut", "Failure", "Wish", "Worker"]

QUEUES = (Queue("one", "import"), Queue("one", "engage"), Queue("two", "import"))


class Cut(NamedTuple):
    """An end after a share of what an action did: of the power, or only of the process.

    :param mode: what the disk made of it; None when the machine runs on.
    """

    share: float
    mode: Mode | None
    seed: int


class Wish(NamedTuple):
    """Work to do; where there is nothing to do it to, something is put there."""

    kind: str
    queue: Queue
    number: int


class Failure(NamedTuple):
    """Calls to the file system that fail during an action."""

    operation: Operation
    error: int
    skip: int
    times: int
    suffix: str
    shortened: bool


CUTS = st.builds(
    Cut,
    share=st.just(1.0) | st.floats(0, 1),
    mode=st.sampled_from([None, None, "synced", "all", "in order", "any", "any"]),
    seed=st.integers(0, 1 << 30),
)
WISHES = st.builds(
    Wish,
    kind=st.sampled_from(
        [
            *("append", "append", "append", "letter", "letter", "deliver", "keep", "refuse"),
            *("set aside", "replay", "replay", "purge"),
        ]
    ),
    queue=st.sampled_from(QUEUES),
    number=st.integers(1, 3),
)
FAILURES = st.builds(
    Failure,
    operation=st.sampled_from(
        [*[Operation.SYNC] * 4, Operation.WRITE, Operation.TRUNCATE, Operation.OPEN]
    ),
    error=st.sampled_from([errno.EIO, errno.ENOSPC]),
    skip=st.sampled_from([0, 0, 0, 1, 2, 5]),
    times=st.sampled_from([1, 1, 2, 5, -1]),
    suffix=st.sampled_from(["-wal", "-wal", ".db", ""]),
    shortened=st.booleans(),
)


class Worker:
    """Makes work of wishes; no two records or dead letters that it makes are equal."""

    def __init__(self) -> None:
        self._serial = 0

    def works(self, wishes: Sequence[Wish], seen: Seen, *, large: bool) -> list[Work]:
        """Return what wishes come to; what one of them ends is not there for the next."""
        left = Seen(seen.state, dict(seen.chunks), dict(seen.letters))
        return [self._work(wish, left, large=large) for wish in wishes]

    def _work(self, wish: Wish, left: Seen, *, large: bool) -> Work:
        if wish.kind in ("replay", "purge"):
            letter_id = _chosen(wish, left.letters)
            if letter_id is not None:
                return self._end_of_letter(wish, letter_id, left, large=large)
        elif wish.kind not in ("append", "letter"):
            chunk_id = _chosen(wish, left.chunks)
            if chunk_id is not None:
                return _end_of_chunk(wish, chunk_id, left)
        if wish.kind in ("append", "deliver", "keep", "refuse", "set aside"):
            return Append([self._entry(wish.queue, wish.number, large=large)], [])
        self._serial += 1
        return Append([], [_letter(wish.queue, b"event %d" % self._serial)])

    def _end_of_letter(self, wish: Wish, letter_id: int, left: Seen, *, large: bool) -> Work:
        queue, _ = left.letters.pop(letter_id)
        if wish.kind == "purge":
            return Purge((letter_id,))
        entries = [self._entry(queue, 1, large=large) for _ in range(wish.number)]
        return Replay({letter_id: entries})

    def _entry(self, queue: Queue, records: int, *, large: bool) -> Entry:
        rng = Random(self._serial)
        lines = b""
        for _ in range(records):
            self._serial += 1
            filler = rng.randbytes(5000).hex() if large else ""
            lines += b'{"n":%d,"filler":"%s"}\n' % (self._serial, filler.encode())
        return Entry(queue, lines, records)


def _end_of_chunk(wish: Wish, chunk_id: int, left: Seen) -> Work:
    kind, queue, _ = wish
    _, lines = left.chunks.pop(chunk_id)
    if kind == "set aside":
        return SetAside(queue, chunk_id, "checksum")
    first, *rest = lines.splitlines(keepends=True)
    remaining = Entry(queue, b"".join(rest), len(rest)) if rest and kind == "keep" else None
    return Settle(
        queue=queue,
        chunk_ids=(chunk_id,),
        delivered=(0 if remaining else len(rest)) + (kind != "refuse"),
        dead=[_letter(queue, first[:-1])] if kind == "refuse" else [],
        remaining=remaining,
    )


def _chosen(wish: Wish, there: dict[int, tuple[Queue, bytes]]) -> int | None:
    ids = [each for each, (queue, _) in there.items() if queue == wish.queue]
    return ids[wish.number % len(ids)] if ids else None


def _letter(queue: Queue, payload: bytes) -> DeadLetter:
    return DeadLetter(queue=queue, kind="record", reason="refused", detail="why", payload=payload)
