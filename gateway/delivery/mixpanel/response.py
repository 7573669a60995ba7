"""Reading Mixpanel's answers: from status, headers and body to an outcome, without any I/O.

The documentation contradicts itself in places and says nothing in others, so the rule for whatever
is not understood is: the records stay, and are tried again.  The only statuses that end a record's
way are 200 and 400, and 413 for a record that is too large on its own.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from gateway.delivery.outcome import (
    Delivered,
    FailedRecord,
    Outcome,
    Partial,
    Paused,
    RetryLater,
    Split,
)

__all__ = ["interpret"]

_MAX_DETAIL = 500  # characters of a foreign message that are kept
_TEMPORARY_4XX = frozenset({408, 425, 429})


def interpret(
    endpoint: str, status: int, headers: Mapping[str, str], body: bytes, records: int
) -> Outcome:
    """Return what an answer means for the records of its request.

    Never raises, whatever the body.

    :param endpoint: ``import``, ``track``, ``engage`` or ``groups``.
    :param headers: of the answer; ``Retry-After`` and ``Date`` are looked at.  Must find names in
        any case, or hold these two as they are written here.
    :param body: of the answer, possibly cut off.
    :param records: how many the request held; at least 1.
    """
    if status == 200:
        return _accepted(endpoint, body)
    if status == 400:
        return _refused(body, records)
    if status == 413:
        return Split("too_large", _error_of(body) or "request too large (413)")
    if status in (401, 403):
        return Paused(f"credentials refused ({status}): {_error_of(body) or 'no reason given'}")
    if 400 <= status < 500 and status not in _TEMPORARY_4XX:
        # Not about the records but about where and how they are sent.
        return Paused(f"unexpected status {status} from /{endpoint}; check base_url and apiRegion")
    return RetryLater(_retry_after_s(headers), f"status {status}", throttled=status == 429)


def _accepted(endpoint: str, body: bytes) -> Outcome:
    answer = _json(body)
    if endpoint == "import" and not isinstance(answer, dict):
        # The body for strict=0 is not documented, so any will do, except a page of markup: that is
        # some proxy speaking, not Mixpanel.
        if body.lstrip().startswith(b"<"):
            return RetryLater(None, "status 200 with a page that is not Mixpanel's")
        return Delivered()
    match answer:
        case {"error": error} if error:
            return Split("refused", _text(error))
        case {"status": 0 | "0" | "error"}:
            return Split("refused", "status 0 without a reason")
        case {"status": 1 | "OK" | "ok"} | 1:
            # For /track, /engage and /groups one page says that 1 means all records were valid,
            # another that at least one was, and nothing says which were not.  Sending each alone
            # would tell, at 2000 times the requests; so 1 counts as all, and a record that Mixpanel
            # dropped without a word among good ones counts as delivered.
            # num_records_imported may be below what was sent; 200 still means all were taken.
            return Delivered()
        case 0:
            return Split("refused", "answered 0")
        case dict() if endpoint == "import":
            return Delivered()
        case _:
            # Nothing says that the records were taken.
            return RetryLater(None, "status 200 with an answer that is not understood")


def _refused(body: bytes, records: int) -> Outcome:
    answer = _json(body)
    if isinstance(answer, dict):
        failed = _failed_records(answer.get("failed_records"), records)
        # "Nothing imported, one record failed" contradicts itself: then nothing is believed, and
        # halves of the batch show which records are to blame.
        contradicted = answer.get("num_records_imported") == 0 and len(failed) < records
        if failed and not contradicted:
            return Partial(failed)
    return Split("refused", _error_of(body) or "status 400 without a reason")


def _failed_records(items: object, records: int) -> tuple[FailedRecord, ...]:
    """Return the refused records by ascending index; () if one entry cannot be placed.

    The index is the only key that is always there and always unique: ``insert_id`` is spelled in
    two ways, may be absent, and repeats.  A record listed twice has two bad fields.
    """
    if not isinstance(items, list):
        return ()
    messages: dict[int, str] = {}
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < records:
            return ()
        message = _message_of(item)
        messages[index] = f"{messages[index]}; {message}" if index in messages else message
    return tuple(FailedRecord(i, messages[i][:_MAX_DETAIL]) for i in sorted(messages))


def _message_of(item: Mapping[str, object]) -> str:
    parts = [item.get("field"), item.get("message")]
    text = ": ".join(_text(part) for part in parts if part) or "refused without a reason"
    insert_id = item.get("insert_id") or item.get("$insert_id")
    return f"{text} ($insert_id {_text(insert_id)})" if insert_id else text


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds, or a date, which counts from the answer's own ``Date``."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value).timestamp()
        return max(0.0, until - parsedate_to_datetime(headers.get("Date", "")).timestamp())
    except (ValueError, TypeError, OverflowError, OSError):
        return None  # absent, or not a date that anybody could wait for


def _error_of(body: bytes) -> str:
    answer = _json(body)
    error = answer.get("error") if isinstance(answer, dict) else None
    return _text(error) if error else ""


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _text(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:_MAX_DETAIL]
