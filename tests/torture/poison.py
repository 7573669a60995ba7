"""One client of many sends only what Mixpanel refuses: the others do not notice."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gateway.sandbox import Sandbox
from gateway.sandbox.faults import EndpointPath
from gateway.sandbox.store import Store
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.raw_http import Wire, post
from tests.torture import Figures

__all__ = ["run"]

_TOKEN = "token-of-all"
_POISON = "poison-that-no-mapping-knows"
_TURN_S = 0.2
_DRAIN_S = 60.0
_MOST_LAG_S = 2.0
_ENOUGH = 100  # records of a wrong setting
_UNTRIED = 50  # records at most in a request before anything was accepted
_POLL_S = 0.01


class _Way(NamedTuple):
    """How to send something that Mixpanel refuses, and that nothing before it does.

    :param path: where it is sent.
    :param record: what is sent, by number.
    """

    name: str
    path: str
    record: Callable[[int], dict[str, Any]]


def _profile(number: int) -> str:
    return f"poisoner-{number % 3}"


_WAYS = (
    _Way(
        "events",
        "/v1/batch",
        lambda n: {"type": "track", "event": _POISON, "userId": _profile(n), "messageId": f"p{n}"},
    ),
    _Way(
        "traits",
        "/v1/batch",
        lambda n: {"type": "identify", "userId": _profile(n), "traits": {_POISON: n}},
    ),
    _Way(
        "/track",
        "/track",
        lambda n: {
            "event": "Played",
            "properties": {
                "token": _TOKEN,
                "time": int(time.time()),
                "distinct_id": _profile(n),
                "$insert_id": f"poison-{n:09}",
                "song": _POISON,
            },
        },
    ),
    _Way(
        "/engage",
        "/engage",
        lambda n: {"$token": _TOKEN, "$distinct_id": _profile(n), "$add": {_POISON: n}},
    ),
    _Way(
        "/groups",
        "/groups",
        lambda n: {
            "$token": _TOKEN,
            "$group_key": "company",
            "$group_id": _profile(n),
            "$set": {_POISON: n},
        },
    ),
)


class _Lags(Store):
    """Remembers how long the good records took, and which ones there were."""

    def __init__(self) -> None:
        super().__init__(keep=1, dedupe_keys=1_000_000)
        self.lags: dict[EndpointPath, list[float]] = {}
        self.seen: Counter[int] = Counter()

    def add_event(
        self, endpoint: EndpointPath, event: Mapping[str, Any], record: bytes, now_ms: int
    ) -> None:
        super().add_event(endpoint, event, record, now_ms)
        self._note(endpoint, event["properties"])

    def add_update(self, endpoint: EndpointPath, record: bytes, now_ms: int) -> None:
        super().add_update(endpoint, record, now_ms)
        self._note(endpoint, json.loads(record)["$set"])

    def _note(self, endpoint: EndpointPath, values: Mapping[str, Any]) -> None:
        self.lags.setdefault(endpoint, []).append(time.time() - values["sent_s"])
        self.seen[values["number"]] += 1


async def run(
    directory: Path,
    *,
    clients: int = 20,
    records_per_s: float = 5.0,
    times: float = 10.0,
    seconds: float = 600.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Let one client send only bad records, in one way after the other; return figures.

    :param records_per_s: of each of the others; a third each are events, profiles and groups.
    :param times: how many times their rate the one has.
    :param seconds: of all ways together.
    :raises AssertionError: a promise is broken.
    """
    figures: Figures = {"clients": clients}
    sandbox = Sandbox(token=_TOKEN, atomic=True, refuse=_POISON)
    store = sandbox.store = _Lags()
    async with _gateway(directory / "poisoned", sandbox, _TOKEN, clients) as gateway:
        numbers = itertools.count()
        sent: set[int] = set()
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for client in range(1, clients):
                group.create_task(
                    _send_well(gateway, client, numbers, sent, records_per_s, stopped)
                )
            poisonous = 0
            for way in _WAYS:
                progress(f"one sends poison: {way.name}")
                store.lags = {}
                poisonous += await _poison(
                    gateway, way, records_per_s * times, seconds / len(_WAYS)
                )
                worst = {name: _p99(lags) for name, lags in store.lags.items()}
                figures[f"{way.name}: others, p99 of the lag s"] = ", ".join(
                    f"{name} {lag:.2f}" for name, lag in worst.items()
                )
                progress(str(figures))
                assert len(worst) == 3, f"{way.name}: only {worst.keys()} got anything"
                assert max(worst.values()) < _MOST_LAG_S, (way.name, worst)
            stopped.set()
        await gateway.drained(_DRAIN_S)
        assert store.seen.keys() == sent, "records of others are missing or invented"
        ledger = (await gateway.ledgers())["all"]
        assert ledger["gap"] == 0, ledger
        assert (ledger["delivered"], ledger["dead_lettered"]) == (len(sent), poisonous), ledger
        states = await _states(gateway)
        assert set(states.values()) == {"ok"}, states
        figures |= {"records of others": len(sent), "records refused": poisonous}

    progress("the settings are wrong")
    wrong = Sandbox(token="another-token")
    figures["sent before a wrong token pauses"] = await _wrong(directory / "token", wrong, clients)
    wrong = Sandbox(refuse='"')
    figures["sent before a wrong project pauses"] = await _wrong(
        directory / "project", wrong, clients
    )
    return figures


async def _wrong(directory: Path, sandbox: Sandbox, clients: int) -> int:
    """Return how many records were sent until a project that takes nothing was paused."""
    async with _gateway(directory, sandbox, _TOKEN, clients) as gateway:

        async def refused_until_paused() -> int:
            while (await _states(gateway))["import"] != "paused":  # noqa: ASYNC110 - a process
                await asyncio.sleep(_POLL_S)
            counts = sandbox.store.counts["/import"]
            return counts.rejected or _UNTRIED * counts.requests  # unseen behind a 401

        found = asyncio.create_task(refused_until_paused())
        events = [{"type": "track", "event": "E", "userId": "u"} for _ in range(40)]
        async with Wire(gateway.url) as wire:
            for _ in range(50):
                body = json.dumps({"batch": events}).encode()
                assert (await wire.send(post("/v1/batch", "key-0", body))).status == 200
        async with asyncio.timeout(_DRAIN_S):
            refused = await found
        ledger = (await gateway.ledgers())["all"]
        assert ledger["gap"] == 0 == ledger["dead_lettered"], ledger
        assert ledger["pending"] == 2000, ledger
        assert refused <= _ENOUGH, refused
        return refused


async def _send_well(
    gateway: ConfiguredGateway,
    client: int,
    numbers: Iterator[int],
    sent: set[int],
    records_per_s: float,
    stopped: asyncio.Event,
) -> None:
    """Send good records to three endpoints until it is stopped."""
    async with Wire(gateway.url) as wire:
        await asyncio.sleep(client / 20)
        while not stopped.is_set():
            now = time.time()
            chosen = [next(numbers) for _ in range(3)]
            first, second, third = (
                {"number": number, "sent_s": now, "client": client} for number in chosen
            )
            user = f"user-{client}"
            batch = [
                {"type": "track", "event": "Viewed", "userId": user, "properties": first},
                {"type": "identify", "userId": user, "traits": second},
            ]
            group = {
                "$token": _TOKEN,
                "$group_key": "company",
                "$group_id": f"company-{client}",
                "$set": third,
            }
            body = json.dumps({"batch": batch}).encode()
            assert (await wire.send(post("/v1/batch", f"key-{client}", body))).status == 200
            body = json.dumps([group]).encode()
            assert (await wire.send(post("/groups", f"key-{client}", body))).status == 200
            sent.update(chosen)
            await asyncio.sleep(3 / records_per_s)


async def _poison(gateway: ConfiguredGateway, way: _Way, rate: float, seconds: float) -> int:
    """Send bad records for a while; return how many."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    numbers = itertools.count()
    async with Wire(gateway.url) as wire:
        for turn in itertools.count(1):
            records = [way.record(next(numbers)) for _ in range(max(1, round(rate * _TURN_S)))]
            content: Any = {"batch": records} if way.path == "/v1/batch" else records
            answer = await wire.send(post(way.path, "key-0", json.dumps(content).encode()))
            assert answer.status == 200, answer
            due = until - seconds + turn * _TURN_S
            if due >= until:
                break
            await asyncio.sleep(max(0.0, due - loop.time()))
    return next(numbers)


@asynccontextmanager
async def _gateway(
    directory: Path, sandbox: Sandbox, token: str, clients: int
) -> AsyncIterator[ConfiguredGateway]:
    directory.mkdir()  # noqa: ASYNC240 - once
    await sandbox.start()
    try:
        async with ConfiguredGateway(
            directory,
            [Project("all", token, sandbox.url)],
            [Source(f"key-{client}", ("all",)) for client in range(clients)],
        ) as gateway:
            yield gateway
    finally:
        await sandbox.stop()


async def _states(gateway: ConfiguredGateway) -> dict[str, str]:
    status = await gateway.statusz()
    endpoints = status["destinations"]["all"]["endpoints"]
    return {name: each["state"] for name, each in endpoints.items()}


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
