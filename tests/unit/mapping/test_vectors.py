"""All vectors, through the mapping alone and through a running gateway into the sandbox."""

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import App
from gateway.config import DestinationConfig
from gateway.events import decode
from gateway.mapping import Mapper, prepare
from gateway.mapping.browsers import browser_of
from gateway.sandbox import Sandbox
from gateway.spool.dead_letters import Filter
from gateway.telemetry import Telemetry
from tests.support.vectors import VECTORS, Case, configured, expected, load_cases

PROFILES = ("syft", "segment")
CASES = [
    pytest.param(profile, case, id=f"{profile}: {case.label}")
    for profile in PROFILES
    for case in load_cases(profile)
]
RECEIVED_MS = 1_790_000_000_123

Records = list[tuple[str, Any]]


class FixedClock:
    """Every event is received in the same millisecond; time passes all the same."""

    def now_ms(self) -> int:
        return RECEIVED_MS

    def monotonic(self) -> float:
        return time.monotonic()


def exactly(value: object) -> object:
    """Make true and 1 unequal, which Python takes for the same; 1 and 1.0 stay equal."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exactly(item) for item in value]
    return ("boolean", value) if isinstance(value, bool) else value


def by_endpoint(records: Iterable[tuple[str, Any]]) -> Records:
    """Sort by endpoint, and leave the order within each as it is."""
    return sorted(records, key=lambda one: one[0])


def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), f"a key is repeated in {pairs}"
    return members


def parsed(line: bytes) -> Any:
    return json.loads(line, object_pairs_hook=without_repeated_keys)


def assert_records(actual: Records, cases: Iterable[Case]) -> None:
    wanted = by_endpoint(record for case in cases for record in case.records)
    actual = by_endpoint(actual)
    assert [endpoint for endpoint, _ in actual] == [endpoint for endpoint, _ in wanted]
    for (_, record), (_, pattern) in zip(actual, wanted, strict=True):
        assert exactly(record) == exactly(expected(pattern, record, RECEIVED_MS))


def map_event(event: dict[str, Any], destination: DestinationConfig) -> tuple[Records, list[str]]:
    mapper = Mapper([destination], Telemetry())
    received = decode(json.dumps({"batch": [event]}).encode())
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    mapped = mapper.map([destination.name], received.events, received_ms=RECEIVED_MS)
    records: Records = []
    for entry in mapped.entries:
        *lines, rest = entry.lines.split(b"\n")
        assert rest == b""
        assert len(lines) == entry.records
        records.extend((entry.queue.endpoint, parsed(line)) for line in lines)
    return records, [letter.reason for letter in mapped.dead]


@pytest.mark.parametrize(("profile", "case"), CASES)
def test_mapping_an_event_gives_the_records_of_the_vector(
    profile: str, case: Case, tmp_path: Path
) -> None:
    config = configured(tmp_path, profile, case.settings)

    records, rejected = map_event(case.event, config.destinations[0])

    assert_records(records, [case])
    assert rejected == ([case.rejected] if case.rejected else [])


@pytest.mark.parametrize("profile", PROFILES)
async def test_posting_all_events_brings_the_records_of_the_vectors_to_mixpanel(
    profile: str, tmp_path: Path
) -> None:
    def settings(case: Case) -> str:
        return json.dumps(case.settings)

    cases = sorted(load_cases(profile), key=settings)
    for number, (_, group) in enumerate(groupby(cases, settings)):
        directory = tmp_path / str(number)
        directory.mkdir()
        await deliver(profile, list(group), directory)


async def deliver(profile: str, cases: list[Case], directory: Path) -> None:
    """Post the events of cases with the same settings as one batch and see what arrives."""
    clock = FixedClock()
    async with AsyncExitStack() as running:
        sandbox = Sandbox(token="TOKEN", api_secret="SECRET", clock=clock)
        await sandbox.start()
        running.push_async_callback(sandbox.stop)
        config = configured(directory, profile, cases[0].settings, base_url=sandbox.url)
        app = App(config, clock=clock)
        await app.start()
        running.push_async_callback(app.stop)

        await post(app.ingest.port, {"batch": [case.event for case in cases], "writeKey": "KEY"})
        await drained(app)

        kept = sandbox.store.records()
        assert_records([(one.endpoint[1:], parsed(one.record)) for one in kept], cases)
        letters = [stored.letter for stored in await app.spool.dead_letters.page(Filter())]
        assert [(letter.kind, letter.reason) for letter in letters] == [
            ("event", case.rejected) for case in cases if case.rejected
        ]
        ledger = app.spool.ledger()["mp"]
        assert ledger.gap == 0
        assert (ledger.delivered, ledger.dead_lettered) == (len(kept), len(letters))


async def post(port: int, body: object) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/v1/batch", json=body) as response,
    ):
        assert response.status == 200
        assert await response.read() == b'{"success":true}'


async def drained(app: App) -> None:
    deadline = time.monotonic() + 10
    while any(state.pending for state in app.spool.queues().values()):
        assert time.monotonic() < deadline, app.delivery.status()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["label"])
        for case in json.loads((VECTORS / "user_agents.json").read_text("utf-8"))
    ],
)
def test_user_agent_gives_the_browser_of_the_vector(profile: str, case: dict[str, Any]) -> None:
    browser, version = browser_of(profile)(case["user_agent"])

    assert {"browser": browser, "version": version} == case[profile]
