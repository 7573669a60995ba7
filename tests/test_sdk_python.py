"""An unmodified segment-analytics-python sends through a gateway into a sandbox."""

import sys
from pathlib import Path

import pytest

from tests.support.oracle_sdk import check_sdk

COMMAND = (sys.executable, str(Path(__file__).parent / "sdks/python/send.py"))
LIBRARY = {"name": "analytics-python", "version": "2.4.0"}


@pytest.mark.parametrize("gzip", [False, True])
async def test_mixed_events_arrive_exactly_once(tmp_path: Path, gzip: bool) -> None:
    await check_sdk(tmp_path, COMMAND, library=LIBRARY, options={"gzip": gzip})
