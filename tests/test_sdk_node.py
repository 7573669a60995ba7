"""An unmodified @segment/analytics-node sends through a gateway into a sandbox."""

import shutil
from pathlib import Path

import pytest

from tests.support.oracle import insert_id
from tests.support.oracle_sdk import check_sdk

DRIVER = Path(__file__).parent / "sdks/node/send.mjs"
LIBRARY = {"name": "@segment/analytics-node", "version": "3.1.0"}


async def test_mixed_events_arrive_exactly_once(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: install Node.js, then run make sdks")
    if not (DRIVER.parent / "node_modules" / LIBRARY["name"]).is_dir():
        pytest.skip(f"{LIBRARY['name']} is not installed: run make sdks")

    sent = await check_sdk(tmp_path, (node, str(DRIVER)), library=LIBRARY)

    made_by_sdk = [e["messageId"] for e in sent if e["messageId"].startswith("node-next-")]
    assert made_by_sdk
    assert all(
        len(insert_id(each)) == 36 and each.endswith(insert_id(each)) for each in made_by_sdk
    )
