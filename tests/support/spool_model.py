"""What a spool holds, as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.spool.base import Queue, Settlement
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter
from gateway.spool.letter_reader import LetterReader
from gateway.spool.reader import Reader
from gateway.spool.work import Append, SetAside, Totals

__all__ = ["State", "Work", "contents", "observe"]

EVERYTHING = 1 << 40
Work = Append | Settlement | SetAside
Counts = tuple[int, int, int]
"""Records accepted, delivered and dead-lettered."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a spool promises to keep; chunks are told apart by what is in them.

    :param chunks: the records of each waiting chunk, by queue, in order.
    :param letters: payloads of dead letters, in order.
    """

    chunks: Mapping[Queue, tuple[bytes, ...]] = field(default_factory=dict)
    letters: tuple[bytes, ...] = ()
    ledger: Mapping[str, Counts] = field(default_factory=dict)

    def apply(self, works: Sequence[Work], names: Mapping[int, bytes]) -> "State | None":
        """Return the state after a transaction; None when it cannot be made in this one.

        :param names: contents of the chunks that works speak of by id.
        """
        chunks = {queue: list(contents) for queue, contents in self.chunks.items()}
        letters = list(self.letters)
        counts = {destination: Counter(_named(each)) for destination, each in self.ledger.items()}
        grown: dict[Queue, bytes] = {}
        rejected: list[bytes] = []
        for work in works:
            if isinstance(work, Append):
                for entry in work.entries:
                    grown[entry.queue] = grown.get(entry.queue, b"") + entry.lines
                    _count(counts, entry.queue, accepted=entry.records)
                for letter in work.dead:
                    rejected.append(letter.payload)
                    _count(counts, letter.queue, accepted=1, dead=1)
                continue
            ended = chunks.get(work.queue, [])
            ids = (work.chunk_id,) if isinstance(work, SetAside) else work.chunk_ids
            if any(names[chunk_id] not in ended for chunk_id in ids):
                return None
            position = ended.index(names[ids[0]])
            for chunk_id in ids:
                ended.remove(names[chunk_id])
            if isinstance(work, SetAside):
                _count(counts, work.queue, dead=names[work.chunk_id].count(b"\n"))
                continue
            if work.remaining:
                ended.insert(position, work.remaining.lines)
            letters += [letter.payload for letter in work.dead]
            _count(counts, work.queue, delivered=work.delivered, dead=len(work.dead))
        for queue, lines in grown.items():
            chunks.setdefault(queue, []).append(lines)
        return State(
            {queue: tuple(contents) for queue, contents in chunks.items() if contents},
            (*letters, *rejected),
            {
                key: (each["accepted"], each["delivered"], each["dead"])
                for key, each in counts.items()
            },
        )

    def __str__(self) -> str:
        chunks = {"/".join(q): [_short(each) for each in c] for q, c in self.chunks.items()}
        return f"chunks {chunks}, letters {self.letters}, ledger {dict(self.ledger)}"


def contents(reader: Reader, queues: Sequence[Queue]) -> dict[int, tuple[Queue, bytes]]:
    """Return the records of all waiting chunks, by the chunks' ids.

    :raises AssertionError: one is damaged, or their ids do not ascend.
    """
    found: dict[int, tuple[Queue, bytes]] = {}
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


def observe(
    reader: Reader, letters: LetterReader, totals: Totals, queues: Sequence[Queue]
) -> State:
    """Return what a spool holds, and that its counters tell the same.

    :raises AssertionError: they do not.
    """
    found = contents(reader, queues)
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
    for destination, ledger in totals.ledger.items():
        gap = ledger.accepted - ledger.delivered - ledger.dead_lettered - pending[destination]
        assert gap == 0, (destination, ledger, pending)
    kept, damaged_letters = letters.page(Filter(), 0, EVERYTHING, EVERYTHING)
    assert not damaged_letters, damaged_letters
    return State(
        chunks,
        tuple(each.letter.payload for each in kept),
        {
            destination: (ledger.accepted, ledger.delivered, ledger.dead_lettered)
            for destination, ledger in totals.ledger.items()
            if ledger.accepted
        },
    )


def _named(counts: Counts) -> dict[str, int]:
    return dict(zip(("accepted", "delivered", "dead"), counts, strict=True))


def _count(counts: dict[str, Counter[str]], queue: Queue, **changes: int) -> None:
    counts.setdefault(queue.destination, Counter()).update(changes)


def _short(lines: bytes) -> str:
    return f"{lines[:24].decode()!r} ({len(lines)} bytes)"
