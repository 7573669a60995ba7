"""What a spool holds, as plain values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.model import Ledger, Queue
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite.chunk_reader import ChunkReader
from gateway.spool.sqlite.commands import Append, Purge, Replay, SetAside, Settle, Totals
from gateway.spool.sqlite.dead_letters.reader import LetterReader

__all__ = ["Seen", "State", "Work", "observe"]

EVERYTHING = 1 << 40
Work = Append | Settle | SetAside | Replay | Purge

ById = dict[int, tuple[Queue, bytes]]


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a spool promises to keep; all is told apart by what is in it.

    :param chunks: the records of each waiting chunk, by queue, in order.
    :param letters: queues and payloads of dead letters, in order.
    :param ledger: without what is pending.
    """

    chunks: dict[Queue, tuple[bytes, ...]] = field(default_factory=dict)
    letters: tuple[tuple[Queue, bytes], ...] = ()
    ledger: dict[str, Ledger] = field(default_factory=dict)

    def apply(self, works: Sequence[Work], seen: "Seen") -> "State | None":
        """Return the state after a transaction; None when it cannot be made in this one.

        :param seen: tells what the works mean by their ids.
        """
        change = _Change(self, seen)
        try:
            for work in works:
                change.apply(work)
        except ValueError:  # what it speaks of is not there
            return None
        return change.result()

    def __str__(self) -> str:
        chunks = {"/".join(q): [_short(each) for each in c] for q, c in self.chunks.items()}
        letters = [f"{'/'.join(queue)} {_short(payload)}" for queue, payload in self.letters]
        return f"chunks {chunks}, letters {letters}, ledger {self.ledger}"


class Seen(NamedTuple):
    """What is in a spool by id, and as a state."""

    state: State
    chunks: ById
    letters: ById


class _Change:
    """One transaction: what is appended, by whatever work, comes after all else."""

    def __init__(self, before: State, seen: Seen) -> None:
        self._seen = seen
        self._chunks = {queue: list(contents) for queue, contents in before.chunks.items()}
        self._letters = list(before.letters)
        self._ledger = dict(before.ledger)
        self._grown: dict[Queue, bytes] = {}
        self._rejected: list[tuple[Queue, bytes]] = []

    def apply(self, work: Work) -> None:
        match work:
            case Append():
                self._append(work)
            case Settle():
                self._settle(work)
            case SetAside():
                self._end(work.queue, work.chunk_id)
                _, lines = self._seen.chunks[work.chunk_id]
                lost = lines.count(b"\n")
                self._count(work.queue, Ledger(dead_lettered=lost, lost=lost))
            case Replay():
                for letter_id, entries in work.entries.items():
                    delta = Ledger(accepted=-1, dead_lettered=-1, replayed=1)
                    self._end_letters([letter_id], delta)
                    for entry in entries:
                        self._grow(entry.queue, entry.lines)
            case Purge():
                self._end_letters(work.ids, Ledger(purged=1))

    def result(self) -> State:
        for queue, lines in self._grown.items():
            self._chunks.setdefault(queue, []).append(lines)
        return State(
            {queue: tuple(contents) for queue, contents in self._chunks.items() if contents},
            (*self._letters, *self._rejected),
            self._ledger,
        )

    def _append(self, work: Append) -> None:
        for entry in work.entries:
            self._grow(entry.queue, entry.lines)
        for letter in work.dead:
            self._rejected.append((letter.queue, letter.payload))
            self._count(letter.queue, Ledger(accepted=1, dead_lettered=1))

    def _settle(self, work: Settle) -> None:
        position = min(self._end(work.queue, chunk_id) for chunk_id in work.chunk_ids)
        if work.remaining:
            self._chunks[work.queue].insert(position, work.remaining.lines)
        self._letters += [(letter.queue, letter.payload) for letter in work.dead]
        delta = Ledger(delivered=work.delivered, dead_lettered=len(work.dead))
        self._count(work.queue, delta)

    def _grow(self, queue: Queue, lines: bytes) -> None:
        self._grown[queue] = self._grown.get(queue, b"") + lines
        self._count(queue, Ledger(accepted=lines.count(b"\n")))

    def _end(self, queue: Queue, chunk_id: int) -> int:
        """Take a chunk out of its queue; return where it was."""
        contents = self._chunks.get(queue, [])
        position = contents.index(self._seen.chunks[chunk_id][1])
        del contents[position]
        return position

    def _end_letters(self, ids: Sequence[int], delta: Ledger) -> None:
        """Take letters out, each of which counts so much."""
        for letter_id in ids:
            letter = self._seen.letters[letter_id]
            self._letters.remove(letter)
            self._count(letter[0], delta)

    def _count(self, queue: Queue, delta: Ledger) -> None:
        name = queue.destination
        self._ledger[name] = self._ledger.get(name, Ledger()) + delta


def observe(
    reader: ChunkReader, letter_reader: LetterReader, totals: Totals, queues: Sequence[Queue]
) -> Seen:
    """Return what a spool holds, and that its counters tell the same.

    :raises AssertionError: they do not, or something is damaged or out of order.
    """
    found = _chunks(reader, queues)
    chunks: dict[Queue, tuple[bytes, ...]] = {}
    for _, (queue, lines) in sorted(found.items()):
        chunks[queue] = (*chunks.get(queue, ()), lines)
    pending: Counter[str] = Counter()
    for queue, waiting in chunks.items():
        pending[queue.destination] += b"".join(waiting).count(b"\n")
    told: Counter[str] = Counter()
    for queue, state in totals.queues.items():
        told[queue.destination] += state.pending
        assert state.chunks == len(chunks.get(queue, ())), (queue, state)
    assert +told == +pending, f"pending {dict(told)} by the counters, {dict(pending)} in chunks"
    stored, damaged = letter_reader.page(Filter(), 0, EVERYTHING, EVERYTHING)
    assert not damaged, damaged
    letters = {int(each.id): (each.letter.queue, each.letter.payload) for each in stored}
    kept = Counter(queue.destination for queue, _ in letters.values())
    assert kept == Counter({name: each.letters for name, each in totals.kept.items()}), totals.kept
    for name, ledger in totals.ledger.items():
        assert (ledger.gap, ledger.kept) == (pending[name], kept[name]), (name, ledger, pending)
    ledgers = {name: ledger for name, ledger in totals.ledger.items() if ledger.accepted}
    return Seen(State(chunks, tuple(letters.values()), ledgers), found, letters)


def _chunks(reader: ChunkReader, queues: Sequence[Queue]) -> ById:
    """Return the records of all waiting chunks, by the chunks' ids."""
    found: ById = {}
    for queue in queues:
        chunks, damaged = reader.read(queue, 0, EVERYTHING, EVERYTHING, frozenset())
        assert not damaged, damaged
        ids = [chunk.id for chunk in chunks]
        assert ids == sorted(set(ids)), ids
        for chunk in chunks:
            assert chunk.id not in found, "two chunks have one id"
            lines = decode(chunk.encoding, chunk.payload)
            assert (chunk.records, chunk.raw_bytes) == (lines.count(b"\n"), len(lines)), chunk
            found[chunk.id] = (queue, lines)
    return found


def _short(lines: bytes) -> str:
    return f"{lines[:24].decode()!r} ({len(lines)} bytes)"
