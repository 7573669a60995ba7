"""SDKs that cannot be run here: their requests, byte for byte, to a gateway and on to a sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from gateway.sandbox import Sandbox
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.processes import TOKEN, WRITE_KEY
from tests.support.recordings import Recording, recordings
from tests.support.serving import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Running(NamedTuple):
    gateway: ConfiguredGateway
    sandbox: Sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    sandbox = Sandbox(token=TOKEN)
    await sandbox.start()
    try:
        async with ConfiguredGateway(
            tmp_path_factory.mktemp("gateway"),
            [Project("mixpanel", TOKEN, sandbox.url)],
            [Source(WRITE_KEY, ("mixpanel",))],
            sections={"server": {"default_source": "source-0"}},
        ) as gateway:
            yield Running(gateway, sandbox)
    finally:
        await sandbox.stop()


@pytest.mark.parametrize("recording", recordings(), ids=lambda recording: recording.name)
async def test_sdk_succeeds_and_mixpanel_stores_what_it_sent(
    running: Running, recording: Recording
) -> None:
    store = running.sandbox.store
    store.clear()
    address = urlsplit(running.gateway.url)
    connection = Connection(*await asyncio.open_connection(address.hostname, address.port))
    try:
        for request in recording.requests:
            await connection.send(request.wire())
            request.check(await connection.answer(), recording.success)
    finally:
        await connection.close()
    ledger = await running.gateway.drained()
    assert (ledger["dead_lettered"], ledger["gap"]) == (0, 0)

    arrived = [(kept.endpoint, json.loads(kept.record)) for kept in store.records()]
    expected: list[tuple[str, Any]] = []
    for stored in recording.stored:
        record = json.loads(stored.record)
        expected.append((stored.endpoint, record))
        for name in stored.varies:
            others = [r["properties"] for _, r in arrived if r.get("event") == record["event"]]
            record["properties"][name] = others[0][name]
    assert sorted(arrived, key=str_of) == sorted(expected, key=str_of)
    assert len(arrived) > 0


def str_of(item: tuple[str, Any]) -> str:
    return json.dumps(item, sort_keys=True)
