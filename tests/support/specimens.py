"""Spools to damage, with everything that is known about them, and the damage."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from gateway.clock import SystemClock
from gateway.model import DeadLetter, Entry, Ledger, Queue
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter, Replacement
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.commands import Settle
from gateway.telemetry import Telemetry

__all__ = [
    "QUEUES",
    "Damage",
    "Specimen",
    "damages",
    "everything",
    "letter",
    "make",
    "new_spool",
    "records",
    "restore",
    "sampled",
]

QUEUES = (Queue("one", "import"), Queue("one", "engage"), Queue("two", "import"))
PAGE = 4096
SECTOR = 512
FRAME = PAGE + 24


@dataclass(frozen=True, slots=True)
class Specimen:
    """The files of a spool and what was in it.

    :param files: contents by name.
    :param stored: every record that was ever in it, by queue.
    :param pending: those that waited.
    :param kept: every dead letter that was ever in it.
    :param letters: those that were there.
    """

    name: str
    files: Mapping[str, bytes]
    stored: Mapping[Queue, frozenset[bytes]]
    pending: Mapping[Queue, Counter[bytes]]
    kept: frozenset[DeadLetter]
    letters: Counter[DeadLetter]
    ledger: Mapping[str, Ledger]


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to a file: bytes of it change, it gets shorter, or it goes.

    :param mask: changes bits of the bytes from ``offset`` on; empty to end the file there.
    """

    file: str
    offset: int
    mask: bytes = b""
    missing: bool = False

    def apply(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the files after it."""
        changed, content = dict(files), bytearray(files[self.file])
        if self.missing:
            del changed[self.file]
            return changed
        if not self.mask:
            del content[self.offset :]
        for i, bits in enumerate(self.mask[: len(content) - self.offset]):
            content[self.offset + i] ^= bits
        changed[self.file] = bytes(content)
        return changed

    def __str__(self) -> str:
        what = f"^{self.mask[:4].hex()}*{len(self.mask)}" if self.mask else "truncated"
        return f"{self.file} {'missing' if self.missing else f'{what} at {self.offset}'}"


def records(*numbers: object, size: int = 0) -> bytes:
    """Return records that no others are equal to."""
    return b"".join(
        b'{"n":"%s","x":"%s"}\n' % (str(n).encode(), Random(str(n)).randbytes(size).hex().encode())
        for n in numbers
    )


def letter(queue: Queue, name: str) -> DeadLetter:
    """Return a dead letter that no other is equal to."""
    payload = records(name)[:-1]
    return DeadLetter(queue=queue, kind="record", reason="refused", detail="why", payload=payload)


def new_spool(directory: Path) -> SqliteSpool:
    """Return a spool that is not open yet."""
    return SqliteSpool(
        directory, clock=SystemClock(), telemetry=Telemetry(), max_bytes=1 << 40, min_free_bytes=0
    )


async def make(directory: Path, *, size: int = 40) -> list[Specimen]:
    """Return a spool that was killed, with a long log, and one that was closed.

    :param size: bytes in a record; more make chunks that are compressed and take several pages.
    """
    stored: dict[Queue, set[bytes]] = {queue: set() for queue in QUEUES}
    kept: set[DeadLetter] = set()

    async def put(spool: SqliteSpool, name: str, count: int) -> None:
        for queue in QUEUES:
            lines = records(*(f"{name}-{queue}-{i}" for i in range(count)), size=size)
            stored[queue] |= set(lines.splitlines(keepends=True))
            await spool.append([Entry(queue, lines, count)])

    async def end(spool: SqliteSpool, queue: Queue) -> None:
        chunk = (await spool.read(queue))[0]
        _, *rest = decode(chunk.encoding, chunk.payload).splitlines(keepends=True)
        dead = [letter(queue, f"refused {chunk.id}")]
        kept.update(dead)
        await spool.settle(
            Settle(queue=queue, chunk_ids=(chunk.id,), delivered=len(rest), dead=dead)
        )

    async def reject(spool: SqliteSpool, *names: str) -> None:
        dead = [letter(QUEUES[2], name) for name in names]
        kept.update(dead)
        await spool.append([], dead)

    async def replay_and_purge(spool: SqliteSpool, replayed: str, purged: str) -> None:
        line = records(f"replayed {replayed}")
        stored[QUEUES[2]].add(line)
        entries = [Entry(QUEUES[2], line, 1)]
        assert await spool.dead_letters.replay([Replacement(replayed, entries)]) == {replayed}
        assert await spool.dead_letters.purge([purged]) == 1

    spool = new_spool(directory)
    await spool.open()
    await put(spool, "old", 5)
    await end(spool, QUEUES[0])
    await reject(spool, *(f"rejected {n}" for n in range(6)))
    await replay_and_purge(spool, "2", "3")
    await put(spool, "kept", 3)
    await spool.close()
    spool = new_spool(directory)
    await spool.open()
    await put(spool, "log", 4)
    await end(spool, QUEUES[0])
    await end(spool, QUEUES[1])
    await replay_and_purge(spool, "4", "5")
    await reject(spool, "late")
    await put(spool, "last", 2)
    killed = await _take("killed", spool, directory, stored, kept)
    await spool.close()
    spool = new_spool(directory)
    await spool.open()
    closed = await _take("closed", spool, directory, stored, kept)
    await spool.close()
    return [killed, closed]


async def _take(
    name: str,
    spool: SqliteSpool,
    directory: Path,
    stored: Mapping[Queue, set[bytes]],
    kept: set[DeadLetter],
) -> Specimen:
    pending, letters = await everything(spool)
    if name == "closed":
        await spool.close()
    return Specimen(
        name,
        _files(directory),
        {queue: frozenset(lines) for queue, lines in stored.items()},
        pending,
        frozenset(kept),
        letters,
        dict(spool.ledger()),
    )


def _files(directory: Path) -> dict[str, bytes]:
    """Return all files but room that is kept free."""
    paths = [path for path in sorted(directory.iterdir()) if path.suffix != ".reserve"]
    return {path.name: path.read_bytes() for path in paths}


async def everything(
    spool: SqliteSpool,
) -> tuple[dict[Queue, Counter[bytes]], Counter[DeadLetter]]:
    """Return the records that wait, by queue, and the dead letters."""
    waiting: dict[Queue, Counter[bytes]] = {}
    for queue in QUEUES:
        after = 0
        while chunks := await spool.read(queue, after=after):
            for chunk in chunks:
                lines = decode(chunk.encoding, chunk.payload).splitlines(keepends=True)
                waiting.setdefault(queue, Counter()).update(lines)
            assert chunks[-1].id > after, "reading goes round in circles"
            after = chunks[-1].id
    letters = await spool.dead_letters.page(Filter(), limit=1 << 30, max_bytes=1 << 40)
    return waiting, Counter(each.letter for each in letters)


def restore(specimen: Mapping[str, bytes], directory: Path) -> None:
    """Write files into a directory that has no others."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    for name, content in specimen.items():
        (directory / name).write_bytes(content)


def damages(files: Mapping[str, bytes]) -> Iterator[Damage]:
    """Yield damage to every byte, cuts at every length, lost pages and lost files.

    Of files that have empty room, that is left out.
    """
    for file, content in files.items():
        yield Damage(file, 0, missing=True)
        for offset in _used(content):
            yield Damage(file, offset, b"\xff")
            yield Damage(file, offset, bytes([1 << offset % 8]))
            yield Damage(file, offset)
        step = FRAME if file.endswith("-wal") else PAGE
        for offset in range(32 if step == FRAME else 0, len(content), step):
            yield Damage(file, offset, content[offset : offset + step])  # all zeros


def _used(content: bytes) -> Iterator[int]:
    """Yield the positions in sectors that are not all zeros."""
    for start in range(0, len(content), SECTOR):
        sector = content[start : start + SECTOR]
        if any(sector):
            yield from range(start, start + len(sector))


def sampled(files: Mapping[str, bytes], count: int, rng: Random) -> list[Damage]:
    """Return all damage to structure that fits into ``count``, and random ones to make it full."""
    structure = [d for d in damages(files) if d.missing or _is_structure(d, len(files[d.file]))]
    chosen = rng.sample(structure, min(len(structure), count * 2 // 3))
    used = {name: list(_used(content)) for name, content in files.items() if any(content)}
    while len(chosen) < count:
        file = rng.choice(list(used))
        offset = rng.choice(used[file])
        mask = rng.choice((b"", b"\xff", bytes([1 << rng.randrange(8)]), rng.randbytes(64)))
        chosen.append(Damage(file, offset, mask))
    return chosen


def _is_structure(damage: Damage, size: int) -> bool:
    """Tell whether damage hits the head of a file, page, or frame, or a whole page."""
    if damage.file.endswith("-wal"):
        inside = (damage.offset - 32) % FRAME
        return damage.offset < 32 or inside < 24 + 12
    if damage.file.endswith(".db"):
        return damage.offset < 100 or damage.offset % PAGE < 12
    return damage.offset < 64 or len(damage.mask) > 64 or damage.offset > size - 8
