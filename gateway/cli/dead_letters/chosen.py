"""Which dead letters the options of a command mean."""

from gateway.cli.common import fail
from gateway.cli.options import LetterOptions
from gateway.cli.times import time_of
from gateway.spool.dead_letters import MAX_IDS, Filter

__all__ = ["chosen"]


def chosen(letters: LetterOptions) -> Filter:
    """Return the filter that the options are; exits with 2 when they cannot be read."""
    ids = letters.ids
    if ids and len(ids) > MAX_IDS:
        raise fail(f"--id: expected up to {MAX_IDS} ids of dead letters", 2)
    return Filter(
        destination=letters.destination,
        endpoint=letters.endpoint,
        reason=letters.reason,
        kind=letters.kind.value if letters.kind else None,
        since_ms=time_of("--since", letters.since),
        until_ms=time_of("--until", letters.until),
        ids=tuple(ids) if ids else None,
    )
