"""SIGKILL while dead letters are replayed: none is lost, and none is sent twice."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from gateway.sandbox import Fault
from tests.support.processes import WRITE_KEY, wait_for
from tests.system.test_dead_letters import WRONG_MAPPING, lines, running, track

LETTERS = 3000
KILLS = 5


async def test_killed_while_replaying_every_letter_is_delivered_and_none_made_twice(
    tmp_path: Path,
) -> None:
    rng = Random(30)
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, sandbox):
        for first in range(0, LETTERS, 500):
            await process.send(*(track(n) for n in range(first, first + 500)))
        assert await process.terminate() == 0
        process.mapping = ""
        await process.restart()
        # Mixpanel takes nothing, so that all that is made stays where it can be counted.
        sandbox.faults.replace([Fault(action="status", status=503)])

        interrupted = 0
        for _ in range(KILLS):
            before = (await process.statusz())["dead_letters"]["replayed"]
            replay = asyncio.create_task(process.command("replay", "--yes"))

            async def is_under_way(before: int = before) -> bool:
                status = (await process.statusz())["dead_letters"]
                return bool(status["replayed"] > before or status["kept"] == 0)

            await wait_for(is_under_way)
            await asyncio.sleep(rng.uniform(0.0, 0.01))  # any moment
            await process.kill()
            done = await replay
            interrupted += "same command again" in done.stderr
            await process.restart()
            status = await process.statusz()
            ledger, letters = status["ledger"], status["dead_letters"]
            assert (ledger["gap"], letters["gap"]) == (0, 0)
            assert ledger["accepted"] == LETTERS
            assert letters["kept"] + letters["replayed"] == LETTERS
            assert ledger["pending"] == letters["replayed"]
        assert interrupted, "no kill came while letters were replayed"

        assert (await process.command("replay", "--yes")).code == 0
        sandbox.faults.replace([])
        ledger = await process.drained()
        assert (ledger["accepted"], ledger["delivered"]) == (LETTERS, LETTERS)
        made = Counter(
            json.loads(each.record)["properties"]["$insert_id"]
            for each in sandbox.store.records()
            if not each.duplicate
        )
        assert made == Counter(f"message-{n}" for n in range(LETTERS))
        # No request failed after its records were taken: what came twice was made twice.
        assert sandbox.store.counts["/import"].duplicates == 0


async def test_requests_are_answered_while_letters_are_replayed(tmp_path: Path) -> None:
    async with running(tmp_path, mapping=WRONG_MAPPING) as (process, _):
        for first in range(0, 10_000, 500):
            await process.send(*(track(n) for n in range(first, first + 500)))
        assert await process.terminate() == 0
        process.mapping = ""
        await process.restart()
        loop = asyncio.get_running_loop()
        alone = await answer_times(process.url, until=loop.time() + 1.0)
        replay = asyncio.create_task(process.command("replay", "--yes", "--json"))
        meanwhile: list[float] = []
        while not replay.done():
            meanwhile += await answer_times(process.url, until=loop.time() + 0.2)
        (report,) = lines((await replay).stdout)
        assert report["replayed"] == 10_000
        assert (await process.drained())["gap"] == 0
        # Each batch is a transaction of its own, between which requests are committed.
        assert sorted(meanwhile)[len(meanwhile) * 9 // 10] < max(0.5, 20 * max(alone))
        assert max(meanwhile) < 5.0


async def answer_times(url: str, until: float) -> list[float]:
    """Send events one after the other; return how long each answer took."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    event: dict[str, Any] = {"event": "E", "userId": "u"}
    async with aiohttp.ClientSession(headers={"X-Write-Key": WRITE_KEY}) as session:
        while not times or loop.time() < until:
            began = loop.time()
            async with session.post(f"{url}/v1/track", json=event) as response:
                assert response.status == 200
            times.append(loop.time() - began)
    return times
