"""Reading Mixpanel's answers: from status, headers and body to an outcome, without any I/O.

The documentation contradicts itself in places and says nothing in others, so the rule for whatever
is not understood is: the records stay, and are tried again.  Only Mixpanel's own words deliver a
record.  What other machines on the way say, firewalls, proxies and whatever answers at a wrong
address, is told from them by its shape.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec

from gateway.delivery.mixpanel.quote import cleaned, quoted
from gateway.delivery.outcome import (
    Delivered,
    FailedRecord,
    Outcome,
    Partial,
    Paused,
    RetryLater,
    Split,
)
from gateway.events.depth import check_depth

__all__ = ["interpret"]

_MAX_DETAIL = 500  # characters of a foreign message that are kept
_TEMPORARY_4XX = frozenset({408, 425, 429})

_BLOCKING_4XX = frozenset({403, 406, 418, 422, 451})
"""What firewalls answer to a request that holds something they do not like."""

_COUNTS = {"num_records_imported": "imported", "num_good_events": "good"}
"""What says how many records were taken, and the word for it."""

_MEMBERS = frozenset({"error", "status", "code", "failed_records", *_COUNTS})
"""Mixpanel's answers have at least one of them."""

_CHECK = "check base_url and apiRegion"
_CHECK_CREDENTIALS = "check projectToken, serviceAccount or apiSecret, and apiRegion"


def interpret(
    endpoint: str, status: int, headers: Mapping[str, str], body: bytes, records: int
) -> Outcome:
    """Return what an answer means for the records of its request.

    Never raises, whatever the body.

    :param endpoint: ``import``, ``track``, ``engage`` or ``groups``.
    :param headers: of the answer; ``Retry-After``, ``Date`` and ``Location`` are looked at.  Must
        find names in any case, or hold these as they are written here.
    :param body: of the answer, possibly cut off.
    :param records: how many the request held; at least 1.
    """
    answer = _json(body)
    is_own = _is_own(answer, body)
    error = _error_of(answer)
    if status == 200:
        return _accepted(endpoint, answer, body, records)
    if 200 <= status < 300:
        said = f"with {_described(body)}, which Mixpanel never answers"
        return _wrong_address(f"status {status} from /{endpoint} {said}")
    if 300 <= status < 400:
        return _wrong_address(f"status {status} from /{endpoint}, which {_target_of(headers)}")
    if status == 400:
        return _refused(answer, body, records, is_foreign=not is_own)
    if status == 413:
        return Split("too_large", error or f"request too large (413), {_with(body)}")
    if status in (401, 403) and (error or (status == 401 and not body)):
        said = error or "no reason given"
        return Paused(f"credentials refused ({status}): {said}; {_CHECK_CREDENTIALS}")
    if status == 407:
        return _wrong_address("the proxy on the way asks for credentials (407)")
    if status in _BLOCKING_4XX:
        seen = f"status {status} from /{endpoint} {_with(body)}"
        detail = f"{seen}: blocked by a firewall or proxy on the way, or {_CHECK}"
        return Split("refused", detail, is_foreign=True)
    if 400 <= status < 500 and status not in _TEMPORARY_4XX:
        # Not about the records but about where and how they are sent.
        return _wrong_address(f"unexpected status {status} from /{endpoint} {_with(body)}")
    return RetryLater(_retry_after_s(headers), f"status {status}", throttled=status == 429)


def _is_own(answer: object, body: bytes) -> bool:
    """Tell whether an answer looks like Mixpanel's, perhaps cut off."""
    if answer is None:
        return body.lstrip().startswith(b"{")
    return isinstance(answer, dict) and not _MEMBERS.isdisjoint(answer)


def _wrong_address(what: str) -> Paused:
    return Paused(f"{what}; {_CHECK}", holds_others=False)


def _accepted(endpoint: str, answer: object, body: bytes, records: int) -> Outcome:
    if type(answer) is int and answer == 0:
        return Split("refused", "answered 0")
    match answer:
        case {"failed_records": [_, *_]}:
            return _refused(answer, body, records)
        case {"error": error} if error:
            return Split("refused", _text(error))
        case {"status": 0 | "0" | "error"}:
            return Split("refused", "status 0 without a reason")
        case _ if (taken := _taken(answer, records)) is not None and taken[0] < records:
            # Which ones were not is not said.  The others are applied again when halves show.
            return Split("refused", f"{taken[0]} of {records} records were {taken[1]}")
        case _ if taken or _is_success(endpoint, answer):
            # For /track, /engage and /groups one page says that 1 means all records were valid,
            # another that at least one was, and nothing says which were not.  Sending each alone
            # would tell, at 2000 times the requests; so 1 counts as all, and a record that Mixpanel
            # dropped without a word among good ones counts as delivered.
            return Delivered()
        case _:
            pass
    if answer is None and body.lstrip().startswith(b"{"):
        return RetryLater(None, "status 200 with an answer that is cut off")
    return _wrong_address(
        f"status 200 from /{endpoint} {_with(body)}: nothing says that the records were taken"
    )


def _is_success(endpoint: str, answer: object) -> bool:
    """Tell whether these are the words with which Mixpanel says that it took what it got.

    Many a service answers with a bare ``{"status": "ok"}``.  The answer of /import with strict=0 is
    not documented; what its other forms have in common is asked for.
    """
    match answer:
        case {"code": 200, "status": "OK"}:
            return True
        case {"status": "OK"}:
            return endpoint != "import"
        case {"status": 1 as one} | (1 as one):
            return one is not True
        case _:
            return False


def _taken(answer: object, records: int) -> tuple[int, str] | None:
    """Return how many records were taken as the answer says, and its word for that.

    Where it says two things, the lesser is believed: too few costs requests, too many a record.
    """
    if not isinstance(answer, dict):
        return None
    said = ((_count(answer.get(member), records), word) for member, word in _COUNTS.items())
    return min(((count, word) for count, word in said if count is not None), default=None)


def _count(value: object, most: int) -> int | None:
    """Read a number of records: 3, 3.0 or "3".  None for what cannot be one, such as true or -1."""
    if isinstance(value, str):
        value = _json(value.encode(errors="replace"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return int(value) if value == int(value) else None


def _refused(answer: object, body: bytes, records: int, *, is_foreign: bool = False) -> Outcome:
    reason, items = _error_of(answer), None
    if isinstance(answer, dict):
        items = answer.get("failed_records")
        failed = _failed_records(items, records)
        # "One record of three failed, one was imported" says nothing of the third: then nothing is
        # believed, and halves of the batch show which records are to blame.
        taken = _taken(answer, records)
        is_short = taken is not None and taken[0] + len(failed) < records
        if failed and not is_short:
            return Partial(failed)
    messages = _messages_of(items)
    detail = ": ".join(part for part in (reason, messages) if part)
    if not detail:
        seen = _with(body) if is_foreign else f"with {_described(body)}"
        detail = f"refused without a reason, {seen}"
    return Split("refused", detail[:_MAX_DETAIL], is_foreign)


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


def _messages_of(items: object) -> str:
    """Return what ``failed_records`` says where it does not say of which record: texts, or less."""
    if not isinstance(items, list):
        return _text(items) if items else ""
    few = (_message_of(item) if isinstance(item, dict) else _text(item) for item in items[:10])
    return "; ".join(dict.fromkeys(few))


def _message_of(item: Mapping[str, object]) -> str:
    parts = [item.get("field"), item.get("message") or item.get("error")]
    text = ": ".join(_text(part) for part in parts if part) or "refused without a reason"
    insert_id = item.get("insert_id") or item.get("$insert_id")
    return f"{text} ($insert_id {_text(insert_id)})" if insert_id else text


def _target_of(headers: Mapping[str, str]) -> str:
    """Say where a redirect leads; its path and query may hold what is not for the log."""
    try:
        target = urlsplit(headers.get("Location", ""))
        scheme, host, port = target.scheme, target.hostname, target.port
    except ValueError:
        return "redirects"
    if not host or not host.isprintable():
        return "redirects"
    named = f"[{host}]" if ":" in host else host
    return f"redirects to {scheme or 'http'}://{named[:255]}{f':{port}' if port else ''}"


def _with(body: bytes) -> str:
    return f"with {_described(body)} that is not Mixpanel's"


def _described(body: bytes) -> str:
    start = body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    kinds = {b"": "an empty answer", b"<": "a page", b"{": "JSON", b"[": "JSON"}
    kind, said = kinds.get(start, "an answer"), quoted(body)
    return f'{kind} ("{said}")' if said else kind


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


def _error_of(answer: object) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return _text(error) if error else ""


def _json(body: bytes) -> object:
    try:
        check_depth(body)
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _text(value: object) -> str:
    return cleaned((value if isinstance(value, str) else repr(value))[:_MAX_DETAIL])
