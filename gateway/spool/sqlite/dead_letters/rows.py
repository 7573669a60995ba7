"""How a dead letter lies in its row, and how a row is proven to be as it was written."""

from collections.abc import Sequence
from typing import Any

from isal import isal_zlib

from gateway.model import DeadLetter, Origin, Queue

__all__ = ["COLUMNS", "SELECT", "read_row", "row_of"]

COLUMNS = (
    *("created_ms", "kind", "reason", "detail", "payload"),
    *("source", "received_ms", "skew_ms", "client_ip", "size", "checksum"),
)
"""All but the id and that of the queue, whose name is proven with them."""


SELECT = (
    f"SELECT destination, endpoint, {', '.join(COLUMNS)} FROM dead_letters"  # noqa: S608
    " LEFT JOIN queues ON queues.id = queue_id WHERE dead_letters.id = ?"
)
"""The names of a letter's queue, null where it has none, and the values of ``COLUMNS``."""


def row_of(letter: DeadLetter, created_ms: int) -> tuple[Any, ...]:
    """Return the values of ``COLUMNS``."""
    # A client's text may hold half of a surrogate pair, which SQLite cannot store.
    detail = letter.detail.encode("utf-8", "replace")
    origin: tuple[object, ...] = (None, None, None, None)
    if (known := letter.origin) is not None:
        origin = (known.source, known.received_ms, known.skew_ms, known.client_ip)
    return (
        *(created_ms, letter.kind, letter.reason, detail.decode(), letter.payload),
        *(*origin, len(letter.payload) + len(detail), _checksum(letter, created_ms)),
    )


def read_row(queue: Queue, row: Sequence[Any]) -> DeadLetter | None:
    """Return the letter that values of ``COLUMNS`` are, None when they are damaged."""
    if None in queue:
        return None
    created_ms, kind, reason, detail, payload, source, *origin, _, expected = row
    received_ms, skew_ms, client_ip = origin
    letter = DeadLetter(
        queue=queue,
        kind=kind,
        reason=reason,
        detail=detail,
        payload=payload if isinstance(payload, bytes) else str(payload).encode(),
        origin=None
        if source is None
        else Origin(source=source, received_ms=received_ms, skew_ms=skew_ms, client_ip=client_ip),
    )
    # Format 1 had no checksum of letters: those are taken as they are.
    return letter if expected in (None, _checksum(letter, created_ms)) else None


def _checksum(letter: DeadLetter, created_ms: int) -> int:
    """Return the CRC-32 of a dead letter and of everything that says what it is."""
    origin = letter.origin
    values: list[object] = [*letter.queue, letter.kind, letter.reason, letter.detail, created_ms]
    if origin is not None:
        values += [origin.source, origin.received_ms, origin.skew_ms, origin.client_ip]
    labels = "\0".join(map(str, values)).encode("utf-8", "replace")
    return isal_zlib.crc32(letter.payload, isal_zlib.crc32(labels))
