"""A stop in order that is cut short by one at once."""

import asyncio
from pathlib import Path

import pytest

from tests.support.letters import spool_in


@pytest.mark.parametrize("turns", range(12))
async def test_closing_goes_on_where_it_was_cut_short(tmp_path: Path, turns: int) -> None:
    async with spool_in(tmp_path) as spool:
        closing = asyncio.create_task(spool.close())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        closing.cancel()
        await asyncio.wait((closing,))
        await spool.close()
