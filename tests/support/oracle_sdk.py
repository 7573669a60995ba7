"""Real SDKs: programs that get events, call the SDK with them, and tell what it made of them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.sandbox import Sandbox
from tests.support.oracle import expected
from tests.support.oracle_events import Event, mixed_events
from tests.support.oracle_judge import judge, records_of
from tests.support.processes import TOKEN, WRITE_KEY, GatewayProcess, run

__all__ = ["check_sdk", "send_with"]


async def send_with(
    command: Sequence[str],
    events: Sequence[Event],
    *,
    url: str,
    library: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
) -> list[Event]:
    """Send events with an SDK; return them as the SDK completed them.

    From the SDK come only the ids and times that the events left to it, so that what it was told
    to send is what has to arrive.

    :param command: the program; it reads a job and prints a line for each event, in order.
    :param library: what the SDK calls itself.
    :param options: for the SDK.
    """
    job = {"url": url, "writeKey": WRITE_KEY, "options": options or {}, "events": events}
    done = await run(*command, stdin=json.dumps(job))
    assert done.code == 0, done.stderr
    stamps = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(stamps) == len(events), done.stderr
    return [
        {**stamp, **event, "context": {**event["context"], "library": library}}
        for stamp, event in zip(stamps, events, strict=True)
    ]


async def check_sdk(
    directory: Path,
    command: Sequence[str],
    *,
    library: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
) -> list[Event]:
    """Send a thousand events with an SDK; fail unless each arrives exactly once, as it should.

    :returns: the events as they were sent.
    """
    sandbox = Sandbox(token=TOKEN, keep=100_000)
    await sandbox.start()
    try:
        async with GatewayProcess(directory, sandbox.url) as gateway:
            events = list(islice(mixed_events(), 1000))
            sent = await send_with(
                command, events, url=gateway.url, library=library, options=options
            )
            ledger = await gateway.drained()
            metrics = await gateway.metrics()
    finally:
        await sandbox.stop()

    judge(sandbox.store.records(), acknowledged=sent, sent=sent).assert_exactly_once()
    records = records_of(sent).total()
    assert ledger == {
        "accepted": records,
        "delivered": records,
        "dead_lettered": 0,
        "pending": 0,
        "gap": 0,
    }
    for endpoint, counts in sandbox.store.counts.items():
        assert counts.unique == counts.received > 0, endpoint
        assert (counts.duplicates, counts.rejected, counts.wrong_token) == (0, 0, 0), endpoint
    assert metrics['gateway_events_received_total{source="sdk"}'] == 1000
    nothing_made = Counter(event["type"] for event in sent if not expected(event, TOKEN))
    skipped = 'gateway_events_skipped_total{destination="mixpanel",reason="no_subscription"}'
    assert metrics[skipped] == nothing_made["alias"] > 0
    return sent
