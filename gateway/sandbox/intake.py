"""What becomes of the records of one request: the contract applied, the store told."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.events.depth import check_depth
from gateway.sandbox.contract import (
    MAX_RECORD_BYTES,
    Violation,
    is_ignored,
    is_too_old,
    validate_event,
    validate_group,
    validate_profile,
    validate_tracked,
)
from gateway.sandbox.faults import EndpointPath
from gateway.sandbox.replies import FailedRecordItem
from gateway.sandbox.store import Store

__all__ = ["Rules", "take_imported", "take_tracked", "take_updates"]

_decode = msgspec.json.Decoder().decode

_VALIDATE_UPDATE: dict[EndpointPath, Callable[[object], str | None]] = {
    "/engage": validate_profile,
    "/groups": validate_group,
}


class Rules(NamedTuple):
    """What is asked of records beside the contract.

    :param token: of the project; None for any.
    :param atomic: of a request to /track, /engage or /groups, take none if one is not valid.
    :param refused: records that hold this text are not valid.
    """

    token: str | None = None
    atomic: bool = False
    refused: bytes | None = None


def take_imported(
    store: Store, records: Sequence[bytes], now_ms: int, rules: Rules
) -> list[FailedRecordItem]:
    """Take the valid events of an /import request; return what is wrong with the others."""
    failed: list[FailedRecordItem] = []
    for index, record in enumerate(records):
        event, problem = _read(record, rules)
        problem = problem or validate_event(event, now_ms)
        if problem is None:
            _take_event(store, "/import", event, record, now_ms)
            continue
        failed.append(
            FailedRecordItem(
                index=index,
                insert_id=_insert_id(event),
                field=problem.field,
                message=problem.message,
            )
        )
    store.counts["/import"].rejected += len(failed)
    return failed


def take_tracked(store: Store, records: Sequence[bytes], now_ms: int, rules: Rules) -> list[str]:
    """Take the valid events of a /track request; return what is wrong with the others.

    Events that Mixpanel drops without a word, those for another project among them, are no
    problem to it.
    """
    counts = store.counts["/track"]
    read = [_read(record, rules) for record in records]
    found = [problem or validate_tracked(event) for event, problem in read]
    problems = [problem.message for problem in found if problem is not None]
    counts.rejected += len(problems)
    if problems and rules.atomic:
        return problems
    for record, (event, _), problem in zip(records, read, found, strict=True):
        if problem is not None:
            continue
        if rules.token is not None and event["properties"]["token"] != rules.token:
            counts.wrong_token += 1
        elif is_too_old(event["properties"], now_ms):
            counts.too_old += 1
        else:
            _take_event(store, "/track", event, record, now_ms)
    return problems


def take_updates(
    store: Store, endpoint: EndpointPath, records: Sequence[bytes], now_ms: int, rules: Rules
) -> list[str]:
    """Take the valid updates of an /engage or /groups request; return what is wrong with others."""
    counts = store.counts[endpoint]
    validate = _VALIDATE_UPDATE[endpoint]
    read = [_read(record, rules) for record in records]
    found = [unread.message if unread else validate(update) for update, unread in read]
    problems = [problem for problem in found if problem is not None]
    counts.rejected += len(problems)
    if problems and rules.atomic:
        return problems
    for record, (update, _), problem in zip(records, read, found, strict=True):
        if problem is not None:
            continue
        if rules.token is not None and update["$token"] != rules.token:
            counts.wrong_token += 1
        else:
            store.add_update(endpoint, record, now_ms)
    return problems


def _read(record: bytes, rules: Rules) -> tuple[Any, Violation | None]:
    if len(record) >= MAX_RECORD_BYTES:
        return None, Violation("", "record is invalid: must be smaller than 1 MB")
    if rules.refused is not None and rules.refused in record:
        return None, Violation("", "record is invalid: the sandbox was told to refuse it")
    try:
        check_depth(record)
        return _decode(record), None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The body's syntax has been checked: what is left is text that no UTF-8 can express,
        # and numbers and depths beyond all bounds.
        return None, Violation("", f"record is invalid: {error}")


def _take_event(
    store: Store, endpoint: EndpointPath, event: Any, record: bytes, now_ms: int
) -> None:
    if is_ignored(event["properties"]):
        store.counts[endpoint].ignored += 1
    else:
        store.add_event(endpoint, event, record, now_ms)


def _insert_id(event: Any) -> str:
    """Return the id of an event of which nothing is known to be right."""
    properties = event.get("properties") if isinstance(event, dict) else None
    insert_id = properties.get("$insert_id") if isinstance(properties, dict) else None
    return insert_id if isinstance(insert_id, str) else ""
