"""Damages spools and runs them, as a program, for ``tests/torture/corruption.py``.

    python -m tests.support.damage_program DIRECTORY COUNT SEED SHARE OF

prints as JSON what became of them; COUNT 0 means every byte, SHARE and OF divide the work.
"""

import asyncio
import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import TypeVar

from gateway.errors import SpoolError, SpoolUnavailable
from gateway.model import DeadLetter, Entry, Ledger, Queue
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.commands import Settle
from tests.support.specimens import (
    QUEUES,
    Damage,
    Specimen,
    damages,
    everything,
    letter,
    make,
    new_spool,
    records,
    restore,
    sampled,
)

__all__ = ["examine", "examine_all"]

ATTEMPTS = 5
SECONDS = 30
SHOWN = 12

T = TypeVar("T")


async def examine_all(
    directory: Path, count: int, seed: int, share: int = 0, of: int = 1
) -> dict[str, int]:
    """Damage specimens in many ways; return what became of them.

    :raises AssertionError: with what was wrong, after all have been tried.
    """
    figures: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    for specimen in await make(directory / "specimen"):
        for damage in _chosen(specimen, count, seed, share, of):
            figures["damages"] += 1
            try:
                async with asyncio.timeout(SECONDS):
                    figures[await examine(specimen, damage, directory / "spool")] += 1
            except Exception as error:  # whatever it is, it must not happen
                where = traceback.extract_tb(error.__traceback__)[-1]
                reason = (
                    f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: "
                    f"{str(error).replace(str(directory), '')[:160]}"
                )
                wrong.setdefault(reason, []).append(f"{specimen.name}: {damage}")
    total = sum(map(len, wrong.values()))
    worst = sorted(wrong.items(), key=lambda item: -len(item[1]))[:SHOWN]
    assert not wrong, f"{total} of {figures['damages']} damages break a promise:\n" + "\n".join(
        f"{len(where)} times {reason}\n    such as {'; '.join(where[:4])}"
        for reason, where in worst
    )
    return figures


def _chosen(
    specimen: Specimen, count: int, seed: int, share: int, of: int
) -> Iterator[Damage] | list[Damage]:
    if count:
        return sampled(specimen.files, -(-count // (2 * of)), Random(seed * of + share))
    return (damage for i, damage in enumerate(damages(specimen.files)) if i % of == share)


async def examine(specimen: Specimen, damage: Damage, directory: Path) -> str:
    """Run a damaged spool to its end; return what became of it.

    :raises AssertionError: a promise is broken.
    """
    restore(damage.apply(specimen.files), directory)
    spool = new_spool(directory)
    try:
        await spool.open()
    except SpoolError as error:
        if "newer than this gateway" not in str(error):
            raise AssertionError(f"does not open: {error}") from error
        return "refused as newer"
    try:
        fresh = {queue: records(f"fresh-{queue}") for queue in QUEUES}
        for queue, lines in fresh.items():
            dead = [letter(queue, f"new {queue}")]
            await _often(
                lambda lines=lines, queue=queue, dead=dead: spool.append(  # type: ignore[misc]
                    [Entry(queue, lines, 1)], dead
                )
            )
        found, letters = await _often(lambda: everything(spool))
        became = _compare(specimen, found, letters, fresh, spool)
        await _settle_all(spool)
        ids = await _often(lambda: spool.dead_letters.ids(Filter(), limit=1 << 30))
        await _often(lambda: spool.dead_letters.purge(ids))
        assert not sum(spool.ledger().values(), Ledger()).kept, "dead letters cannot be purged"
        ledger = dict(spool.ledger())
        _check_balance(spool, {})
    finally:
        await spool.close()
    again = new_spool(directory)
    await again.open()
    try:
        assert again.ledger() == ledger, f"{again.ledger()} after closing, {ledger} before"
        left = await everything(again)
        assert left == ({}, Counter()), "what was settled or purged came back"
    finally:
        await again.close()
    return became


async def _often(call: Callable[[], Awaitable[T]]) -> T:
    """Do what clients and senders do: try again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await call()
        except SpoolUnavailable:
            pass
    return await call()


async def _settle_all(spool: SqliteSpool) -> None:
    for queue in QUEUES:
        while chunks := await _often(lambda queue=queue: spool.read(queue)):  # type: ignore[misc]
            for chunk in chunks:
                done = Settle(queue=queue, chunk_ids=(chunk.id,), delivered=chunk.records)
                await _often(lambda done=done: spool.settle(done))  # type: ignore[misc]


def _compare(
    specimen: Specimen,
    found: dict[Queue, Counter[bytes]],
    letters: Counter[DeadLetter],
    fresh: dict[Queue, bytes],
    spool: SqliteSpool,
) -> str:
    """Compare what is there with what was; return what the damage did."""
    _check_balance(spool, found)
    missing: Counter[str] = Counter()
    repeated: Counter[str] = Counter()
    for queue in QUEUES:
        here = found.get(queue, Counter())
        assert here[fresh[queue]] == 1, "a record that was accepted after the damage is not there"
        here = here - Counter([fresh[queue]])
        invented = [line for line in here if line not in specimen.stored[queue]]
        assert not invented, f"never stored: {invented[0][:60]!r}"
        missing[queue.destination] += (specimen.pending[queue] - here).total()
        repeated[queue.destination] += (here - specimen.pending[queue]).total()
    known = {*specimen.kept, *(letter(queue, f"new {queue}") for queue in QUEUES)}
    for each, count in letters.items():
        assert each in known, f"no such dead letter: {each}"
        assert count == 1, f"{count} times the dead letter {each}"
    for queue in QUEUES:
        fresh_letter = letter(queue, f"new {queue}")
        assert letters[fresh_letter], "a dead letter that was kept after the damage is not there"
    for each in specimen.letters - letters:
        missing[each.queue.destination] += 1
    for each in specimen.kept - specimen.letters.keys():
        repeated[each.queue.destination] += letters[each]
    for destination, before in specimen.ledger.items():
        new = sum(queue.destination == destination for queue in QUEUES)
        now = spool.ledger()[destination]
        assert now.accepted == before.accepted + 2 * new, (
            f"accepted is wrong by {now.accepted - before.accepted - 2 * new}"
        )
        there = sum(n for each, n in letters.items() if each.queue.destination == destination)
        assert now.kept == there, f"{now.kept} dead letters count as kept, {there} are"
        lost = now.lost - before.lost
        least = max(0, missing[destination] - repeated[destination])
        assert least <= lost <= missing[destination], (
            f"{lost} records count as lost, {missing[destination]} are; "
            f"{repeated[destination]} are back"
        )
    if missing.total():
        return "records lost and counted"
    return "records delivered again" if repeated.total() else "nothing lost"


def _check_balance(spool: SqliteSpool, found: dict[Queue, Counter[bytes]]) -> None:
    total = sum(spool.ledger().values(), Ledger())
    assert total.gap == 0, total
    assert all(ledger.gap == 0 for ledger in spool.ledger().values())
    there = sum(each.total() for each in found.values())
    assert total.pending == there, f"{total.pending} count as pending, {there} are"


if __name__ == "__main__":
    logging.disable()
    _, place, *numbers = sys.argv
    try:
        print(json.dumps(asyncio.run(examine_all(Path(place), *map(int, numbers)))))
    except AssertionError as error:
        sys.exit(str(error))
