"""Orderly restarts under load: clients notice only that nobody listens for a moment."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from gateway.sandbox import Sandbox
from tests.support.oracle_client import Client
from tests.support.oracle_judge import judge
from tests.support.processes import TOKEN, GatewayProcess, wait_for

__all__ = ["run"]


async def run(
    *, restarts: int = 100, clients: int = 8, requests: int = 40, longest_s: float = 15.0
) -> dict[str, Any]:
    """Restart with SIGTERM while clients send.

    :param clients: each has connections of its own that it keeps.
    :param requests: that are answered between two restarts.
    :param longest_s: that an end may take.
    """
    sandbox = Sandbox(token=TOKEN, keep=10_000_000)
    await sandbox.start()
    loop = asyncio.get_running_loop()
    ends: list[float] = []
    try:
        with tempfile.TemporaryDirectory() as directory:
            async with GatewayProcess(Path(directory), sandbox.url) as gateway:
                async with Client(gateway.url, tasks=clients) as client:
                    for _ in range(restarts):
                        await wait_for(partial(client.has_answers, client.answered + requests))
                        began = loop.time()
                        assert await gateway.terminate() == 0
                        ends.append(loop.time() - began)
                        await gateway.restart()
                ledger = await gateway.drained()
                assert await gateway.terminate() == 0
    finally:
        await sandbox.stop()
    verdict = judge(sandbox.store.records(), acknowledged=client.acknowledged, sent=client.sent)
    figures = {
        "restarts": restarts,
        "answered": client.answered,
        "cut_off": client.cut_off,
        "longest_end_s": round(max(ends), 2),
        "lost": len(verdict.missing),
        "invented": len(verdict.foreign),
        "twice": len(verdict.twice),
    }
    assert client.cut_off == 0, figures
    assert ledger["gap"] == 0, figures
    assert max(ends) <= longest_s, figures
    verdict.assert_exactly_once()
    return figures
