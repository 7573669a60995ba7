"""Which pending records the options of a command mean."""

import msgspec

from gateway.cli.common import fail
from gateway.cli.options import RecordOptions
from gateway.cli.times import time_of
from gateway.pending.choice import Ids
from gateway.spool.dead_letters import MAX_IDS
from gateway.spool.pending import PendingFilter

__all__ = ["chosen"]


def chosen(records: RecordOptions) -> PendingFilter:
    """Return the filter that the options are; exits with 2 when they cannot be read."""
    ids = records.ids
    if ids and len(ids) > MAX_IDS:
        raise fail(f"--id: expected up to {MAX_IDS} ids of pending records", 2)
    try:
        Ids(ids)
    except msgspec.ValidationError as error:
        raise fail(f"--id: {error}", 2) from None
    return PendingFilter(
        destination=records.destination,
        endpoint=records.endpoint,
        since_ms=time_of("--since", records.since),
        until_ms=time_of("--until", records.until),
        event=records.event,
        token=records.project_token,
        source=records.source,
        ids=tuple(ids) if ids else None,
    )
