"""The ledger over any history: what was accepted is delivered, a dead letter, or pending."""

import asyncio
import tempfile
from pathlib import Path
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import DeadLetter, Entry, Ledger, Queue
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter, LetterLimits, Replacement
from gateway.spool.sqlite.commands import Settle
from tests.support.letters import Hands, ManualClock, assert_proven, spool_in, stored

QUEUES = (Queue("a", "import"), Queue("a", "engage"), Queue("b", "import"))

Step: TypeAlias = tuple[str, tuple[int, ...]]

numbers = st.lists(st.integers(0, 11), min_size=1, max_size=4).map(tuple)
names = ("append", "reject", "settle", "replay", "purge", "expire", "race", "reopen", "clock")
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.sampled_from(names), numbers), max_size=25
)

LIMITS = LetterLimits(max_bytes=8000, max_age_ms=1000 * 3600)


class Model:
    """What has to be where: every record by name, and what became of it."""

    def __init__(self) -> None:
        self.made = 0
        self.accepted: dict[str, int] = {"a": 0, "b": 0}
        self.delivered: dict[str, set[str]] = {"a": set(), "b": set()}
        self.purged: dict[str, int] = {"a": 0, "b": 0}
        self.replayed: dict[str, int] = {"a": 0, "b": 0}

    def name(self) -> str:
        self.made += 1
        return f"r{self.made}"


def letter(queue: Queue, name: str, kind: str) -> DeadLetter:
    is_event = kind == "event"
    return DeadLetter(
        queue=Queue(queue.destination, "") if is_event else queue,
        kind="event" if is_event else "record",
        reason="refused",
        detail="x" * 200,
        payload=name.encode(),
    )


async def append(spool: Hands, model: Model, queue: Queue, count: int) -> None:
    lines = b"".join(model.name().encode() + b"\n" for _ in range(count))
    await spool.append([Entry(queue, lines, count)])
    model.accepted[queue.destination] += count


async def reject(spool: Hands, model: Model, queue: Queue, count: int) -> None:
    await spool.append([], [letter(queue, model.name(), "event") for _ in range(count)])
    model.accepted[queue.destination] += count


async def settle(spool: Hands, model: Model, queue: Queue, cut: int) -> None:
    chunks = (await spool.read(queue))[:2]
    if not chunks:
        return
    lines = b"".join(decode(each.encoding, each.payload) for each in chunks).splitlines()
    delivered, dead, rest = lines[:cut], lines[cut : cut + 2], lines[cut + 2 :]
    await spool.settle(
        Settle(
            queue=queue,
            chunk_ids=tuple(chunk.id for chunk in chunks),
            delivered=len(delivered),
            dead=[letter(queue, line.decode(), "record") for line in dead],
            remaining=Entry(queue, b"".join(x + b"\n" for x in rest), len(rest)) if rest else None,
        )
    )
    before = model.delivered[queue.destination]
    assert before.isdisjoint(line.decode() for line in delivered), "delivered twice"
    before.update(line.decode() for line in delivered)


async def some_letters(spool: Hands, destination: str, count: int) -> list[Replacement]:
    """Return replacements: records as they are, and for each third event one record more."""
    found = (await stored(spool, Filter(destination=destination)))[:count]
    queue = Queue(destination, "import")
    replacements = []
    for each in found:
        is_event = each.letter.kind == "event"
        target = queue if is_event else each.letter.queue
        entries = [Entry(target, each.letter.payload + b"\n", 1)]
        if is_event and int(each.id) % 3 == 0:
            entries.append(Entry(queue, each.letter.payload + b"+\n", 1))
        replacements.append(Replacement(each.id, entries))
    return replacements


async def replay(spool: Hands, model: Model, queue: Queue, count: int) -> None:
    replacements = await some_letters(spool, queue.destination, count)
    taken = await spool.dead_letters.replay(replacements)
    note_replay(model, queue, replacements, taken)


def note_replay(
    model: Model, queue: Queue, replacements: list[Replacement], taken: frozenset[str]
) -> None:
    model.replayed[queue.destination] += len(taken)
    made = sum(len(each.entries) for each in replacements if each.letter_id in taken)
    model.accepted[queue.destination] += made - len(taken)


async def purge(spool: Hands, model: Model, queue: Queue, count: int) -> None:
    found = (await stored(spool, Filter(destination=queue.destination)))[-count:]
    model.purged[queue.destination] += await spool.dead_letters.purge([each.id for each in found])


async def race(spool: Hands, model: Model, queue: Queue, count: int) -> None:
    """Replay and purge the same letters, twice each, and append, all in one transaction."""
    replacements = await some_letters(spool, queue.destination, count)
    ids = [each.letter_id for each in replacements][1:]
    first, second, purged, _ = await asyncio.gather(
        spool.dead_letters.replay(replacements),
        spool.dead_letters.replay(replacements[::-1]),
        spool.dead_letters.purge(ids),
        append(spool, model, queue, 1),
    )
    assert first.isdisjoint(second)
    note_replay(model, queue, replacements, first | second)
    model.purged[queue.destination] += purged


OPERATIONS = {
    "append": append,
    "reject": reject,
    "settle": settle,
    "replay": replay,
    "purge": purge,
    "race": race,
}


async def check(spool: Hands, model: Model) -> None:
    await assert_proven(spool)
    for destination, ledger in spool.ledger().items():
        assert ledger.accepted == model.accepted[destination]
        assert ledger.delivered == len(model.delivered[destination])
        assert ledger.purged == model.purged[destination]
        assert ledger.replayed == model.replayed[destination]
        kept = spool.dead_letters.kept().get(destination)
        assert kept is None or kept.letters >= 0
    total = sum((each.bytes for each in spool.dead_letters.kept().values()), 0)
    assert total <= LIMITS.max_bytes


async def play(history: list[Step], directory: Path) -> None:
    clock, model = ManualClock(), Model()
    left = list(history)
    while True:
        async with spool_in(directory, clock, LIMITS) as spool:
            while left:
                operation, (first, *rest) = left.pop(0)
                if operation == "reopen":
                    break
                if operation == "clock":
                    clock.ms += first * 600_000
                elif operation == "expire":
                    clock.ms += 61_000
                    await spool.append([])
                else:
                    queue = QUEUES[first % len(QUEUES)]
                    await OPERATIONS[operation](spool, model, queue, (rest or [first])[0])
                await check(spool, model)
            before = (spool.ledger(), spool.dead_letters.kept(), spool.queues())
        async with spool_in(directory, clock, LIMITS) as spool:
            assert (spool.ledger(), spool.dead_letters.kept(), spool.queues()) == before
            if not left:
                return


@given(steps)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_ledger_and_table_prove_each_other_after_any_history(history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(history, Path(directory) / "spool"))


def test_histories_reach_every_counter() -> None:
    """Guard the test above: a history like its own changes all the counters there are."""
    history: list[Step] = [
        ("append", (0, 9)),
        ("settle", (0, 4)),
        ("reject", (0, 9)),
        *[("replay", (0, 3)), ("purge", (0, 2)), ("race", (0, 4))],
        *[("reject", (0, 11))] * 4,
    ]

    async def run(directory: Path) -> Ledger:
        await play(history, directory)
        async with spool_in(directory) as spool:
            return spool.ledger()["a"]

    with tempfile.TemporaryDirectory() as directory:
        ledger = asyncio.run(run(Path(directory) / "spool"))
    assert min(ledger.delivered, ledger.pending, ledger.kept) > 0
    assert min(ledger.replayed, ledger.purged, ledger.dropped) > 0
