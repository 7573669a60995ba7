"""Which dead letters the options of a command mean."""

import msgspec

from gateway.cli.common import fail
from gateway.cli.options import LetterOptions
from gateway.cli.times import time_of
from gateway.spool.dead_letters import MAX_IDS, Filter, Id

__all__ = ["check_id", "chosen"]


def chosen(letters: LetterOptions) -> Filter:
    """Return the filter that the options are; exits with 2 when they cannot be read."""
    ids = letters.ids
    if ids and len(ids) > MAX_IDS:
        raise fail(f"--id: expected up to {MAX_IDS} ids of dead letters", 2)
    for each in ids or ():
        check_id("--id", each)
    return Filter(
        destination=letters.destination,
        endpoint=letters.endpoint,
        reason=letters.reason,
        kind=letters.kind.value if letters.kind else None,
        since_ms=time_of("--since", letters.since),
        until_ms=time_of("--until", letters.until),
        ids=tuple(ids) if ids else None,
    )


def check_id(name: str, text: str) -> None:
    """Exit with 2 when a text can be no id of a dead letter.

    :param name: of the option or argument.
    """
    try:
        msgspec.convert(text or "none", Id)
    except msgspec.ValidationError:
        raise fail(
            f"{name}: not an id: {text[:100]!r}; expected one as list --each shows it, e.g. 17", 2
        ) from None
