"""Pages in a real browser: what they ask for, and what becomes of events when they are left."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.sdks.catalogue import SDKS, Sdk
from tests.sdks.stage import as_sent, send, stage_for, verdict

BY_NAME = {sdk.name: sdk for sdk in SDKS if sdk.is_page}

LEAVING: dict[str, dict[str, Any]] = {
    "@segment/analytics-next": {
        "integrations": {
            "Segment.io": {
                "deliveryStrategy": {
                    "strategy": "batching",
                    "config": {"size": 100, "timeout": 60_000},
                }
            }
        }
    },
    "@rudderstack/analytics-js": {"useBeacon": True},
    "mixpanel-browser": {"batch_flush_interval_ms": 60_000},
}
"""Options with which an SDK holds events back until the page is left."""


@pytest.mark.parametrize("sdk", BY_NAME.values(), ids=BY_NAME)
async def test_page_asks_nobody_else_and_complains_of_nothing(tmp_path: Path, sdk: Sdk) -> None:
    """With the SDK's default settings, except for where the gateway is."""
    async with stage_for(sdk, tmp_path) as stage:
        report = await send(stage, sdk, sdk.events(20))
        assert report.complaints == []
        asked = {urlsplit(each["request"]).netloc for each in report.requests}
        assert asked == {urlsplit(url).netloc for url in (stage.gateway.url, stage.page)}


@pytest.mark.parametrize("name", LEAVING)
async def test_page_that_is_left_sends_what_it_holds(tmp_path: Path, name: str) -> None:
    sdk = BY_NAME[name]
    events = sdk.events(4)
    async with stage_for(sdk, tmp_path) as stage:
        report = await send(stage, sdk, events, options=LEAVING[name], leaves=True)
        assert report.arrived_before == 0
        await stage.gateway.drained()
    verdict(stage, sdk, as_sent(stage, sdk, events)).assert_exactly_once()
