"""The spools that have to keep the protocol: the file, and lanes in memory that lag and forget."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.errors import SpoolUnavailable
from gateway.spool import Spool
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.commands import Settle
from gateway.telemetry import Telemetry
from tests.support.partitioned_spool import PartitionedSpool

Make = Callable[..., Awaitable[Spool]]


class MoodySpool(SqliteSpool):
    """The file, with commits that fail, or happen of which nobody knows."""

    moods: Iterator[str] = itertools.repeat("well")

    async def settle(self, settle: Settle) -> None:
        mood = next(self.moods, "well")
        if mood == "fails":
            raise SpoolUnavailable("the disk is full")
        await super().settle(settle)
        if mood == "fails after":
            raise SpoolUnavailable("no answer from the disk")


SPOOLS: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "one lane": {"lanes": 1, "counts": "exact"},
    "lanes": {"lanes": 3, "counts": "missing"},
    "lagging": {"lanes": 3, "counts": "lagging", "lag_s": 0.01},
}


@pytest.fixture(params=SPOOLS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Give what opens a spool, with the moods of its storage at each settlement."""
    options = SPOOLS[request.param]
    async with AsyncExitStack() as opened:

        async def open_spool(*moods: str) -> Spool:
            spool: Spool
            if request.param == "sqlite":
                spool = file = MoodySpool(
                    tmp_path,
                    clock=SystemClock(),
                    telemetry=Telemetry(),
                    max_bytes=2**30,
                    min_free_bytes=0,
                )
                file.moods = iter(moods)
            else:
                spool = PartitionedSpool(**options, moods=iter(moods))
            await spool.open()
            opened.push_async_callback(spool.close)
            return spool

        yield open_spool
