"""Profile updates of one profile arrive in their order, whatever stands in the way.

A whole gateway, started several times, delivers into a Mixpanel stand-in that fails, throttles,
cuts connections before and after it has taken the records, and refuses large requests and some
records.

What order means where a cut connection hides that records were taken: they are sent again, from
some record on, and then in order.  So each update of a profile is the one after the update before
it, or goes back to one that has been sent; none is left out, and the last one is the last.
"""

import asyncio
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import App
from gateway.config import (
    AdminConfig,
    Config,
    DeliveryConfig,
    DestinationConfig,
    DestinationSettings,
    Secret,
    ServerConfig,
    SourceConfig,
    SpoolConfig,
)
from gateway.model import DeadLetter, Ledger
from gateway.sandbox import Fault, Sandbox, replies
from gateway.sandbox.faults import EndpointPath
from gateway.spool.dead_letters import Filter
from tests.support.processes import wait_for
from tests.torture import Figures

__all__ = ["is_in_order", "run"]

_KEY = "key-of-the-test"
_CLIENTS = 5
_POISONED = 0.005  # of the updates
_FASTER = 500  # times, that waiting for the next attempt is
_DRAIN_S = 60.0
_FAULTS = (
    Fault(action="status", status=500, share=0.08),
    Fault(action="reset", share=0.08),
    Fault(action="reset", after=True, share=0.08),
    Fault(action="status", status=503, after=True, share=0.04),
    Fault(action="status", status=429, retry_after_s=3, share=0.05),
)

Update = tuple[str, int, bool]
"""A profile, the number of the update, and whether it is one that will be refused."""


class _Strict(Sandbox):
    """Refuses requests above a size, and any with a poisonous record in them, as a whole."""

    max_bytes = 2500

    def _answer(self, endpoint: EndpointPath, request: web.Request, body: bytes) -> web.Response:
        if len(body) > self.max_bytes:
            return replies.too_large()
        if b'"poison"' in body:
            return replies.bad_request("a record is poisonous")
        return super()._answer(endpoint, request, body)


async def run(
    *,
    seed: int = 1,
    seeds: int = 1,
    profiles: int = 50,
    updates: int = 40,
    lives: int = 4,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Send the updates of all profiles through a gateway that is restarted; return figures.

    :param seed: the first of ``seeds``, each of which is another run.
    :param lives: how often the gateway is started; all but the last time it is cut off.
    :raises AssertionError: the order is wrong, or something is missing.
    """
    total: Counter[str] = Counter()
    for chosen in range(seed, seed + seeds):
        progress(f"seed {chosen}, the last is {seed + seeds - 1}")
        try:
            total.update(await _run_once(chosen, profiles, updates, lives))
        except AssertionError as error:
            raise AssertionError(f"seed {chosen}: {error}") from error
    return {"seeds": seeds, **total, "profiles out of order": 0}


async def _run_once(seed: int, profiles: int, updates: int, lives: int) -> dict[str, int]:
    rng = Random(seed)
    plan = _plan(rng, profiles, updates)
    sandbox = _Strict(keep=100 * len(plan), faults=_FAULTS, seed=seed)
    await sandbox.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            share = len(plan) // lives
            for life in range(lives - 1):
                async with _gateway(Path(name), sandbox.url) as app:
                    await _send(app, plan[life * share : (life + 1) * share], rng)
                    await asyncio.sleep(rng.uniform(0, 0.1))
            async with _gateway(Path(name), sandbox.url) as app:
                await _send(app, plan[(lives - 1) * share :], rng)
                await wait_for(lambda: not app.spool.ledger()["main"].pending, _DRAIN_S)
                ledger, letters = app.spool.ledger()["main"], await _letters(app)
    finally:
        await sandbox.stop()
    received = _received(sandbox)
    _judge(plan, received, ledger, letters)
    arrived = sum(map(len, received.values()))
    return {
        "updates": len(plan),
        "requests": sandbox.store.counts["/engage"].requests,
        "faults": sandbox.store.counts["/engage"].misbehaved,
        "restarts": lives - 1,
        "dead letters": len(letters),
        "repeated updates": arrived + len(letters) - len(plan),
    }


def is_in_order(numbers: Sequence[int]) -> bool:
    """Whether each number is the next known one, or goes back to repeat some from there on."""
    place = {number: index for index, number in enumerate(sorted(set(numbers)))}
    places = [place[number] for number in numbers]
    return all(after <= before + 1 for before, after in zip((-1, *places), places, strict=False))


def _plan(rng: Random, profiles: int, updates: int) -> list[Update]:
    """Return all updates, each profile's in order, the profiles mixed at random."""
    names = [f"profile-{number}" for number in range(profiles) for _ in range(updates)]
    rng.shuffle(names)
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: iter(range(updates)))
    return [(name, next(numbers[name]), rng.random() < _POISONED) for name in names]


@asynccontextmanager
async def _gateway(directory: Path, base_url: str) -> AsyncIterator[App]:
    app = App(
        Config(
            sources=(SourceConfig(name="sdk", write_key=Secret(_KEY)),),
            destinations=(
                DestinationConfig(
                    name="main",
                    base_url=base_url,
                    settings=DestinationSettings(projectToken="TOKEN"),
                    delivery=DeliveryConfig(batch_records=40),
                ),
            ),
            server=ServerConfig(port=0),
            admin=AdminConfig(port=0),
            spool=SpoolConfig(path=str(directory / "spool"), min_free_bytes=0),
        ),
        sleep=lambda seconds: asyncio.sleep(seconds / _FASTER),
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop(deliver=False)


async def _send(app: App, plan: Sequence[Update], rng: Random) -> None:
    """Send what is planned from several clients, each profile's updates from one of them."""
    shares: list[list[Update]] = [[] for _ in range(_CLIENTS)]
    for update in plan:
        shares[int(update[0].rpartition("-")[2]) % _CLIENTS].append(update)
    url = f"http://127.0.0.1:{app.ingest.port}/v1/batch"
    headers = {"X-Write-Key": _KEY}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def send(share: Iterator[Update]) -> None:
            while batch := list(islice(share, rng.randint(1, 15))):
                body = {"batch": [_event(*update) for update in batch]}
                async with session.post(url, json=body) as response:
                    assert response.status == 200, await response.text()

        await asyncio.gather(*(send(iter(share)) for share in shares))


def _event(profile: str, number: int, poisonous: bool) -> dict[str, Any]:
    traits = {"number": number} | ({"poison": True} if poisonous else {})
    return {"type": "identify", "userId": profile, "traits": traits}


async def _letters(app: App) -> list[DeadLetter]:
    found = await app.spool.dead_letters.page(Filter(), limit=10_000, max_bytes=1 << 40)
    return [stored.letter for stored in found]


def _received(sandbox: Sandbox) -> dict[str, list[int]]:
    received: defaultdict[str, list[int]] = defaultdict(list)
    for kept in sandbox.store.records(endpoint="/engage"):
        update = json.loads(kept.record)
        received[update["$distinct_id"]].append(update["$set"]["number"])
    return received


def _judge(
    plan: Sequence[Update],
    received: dict[str, list[int]],
    ledger: Ledger,
    letters: Sequence[DeadLetter],
) -> None:
    expected: defaultdict[str, list[int]] = defaultdict(list)
    for profile, number, poisonous in plan:
        if not poisonous:
            expected[profile].append(number)
    for profile, numbers in expected.items():
        found = received.get(profile, [])
        assert sorted(set(found)) == numbers, f"{profile}: not the updates that were sent: {found}"
        assert is_in_order(found), f"{profile}: out of order: {found}"
        assert found[-1] == numbers[-1], f"{profile}: the last state is wrong: {found}"
    assert received.keys() == expected.keys()
    poison = sorted((profile, number) for profile, number, poisonous in plan if poisonous)
    dead = [json.loads(letter.payload) for letter in letters]
    assert sorted((one["$distinct_id"], one["$set"]["number"]) for one in dead) == poison
    assert ledger == Ledger(
        accepted=len(plan),
        delivered=len(plan) - len(poison),
        dead_lettered=len(poison),
    )
