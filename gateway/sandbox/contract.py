"""The rules of Mixpanel's ingestion API, as its documentation states them; no I/O.

Where two pages of the documentation disagree, the stricter one is taken, so that what passes here
passes there.  Three things that Mixpanel documents are deliberately not refused, because it changes
such data silently: strings over 255 characters (truncated), lists of 255 elements or more
(shortened), and unknown keys beside ``event`` and ``properties`` (its own mobile SDKs send one).
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_RECORDS",
    "MAX_RECORD_BYTES",
    "MAX_TRACK_AGE_MS",
    "Violation",
    "event_time_ms",
    "is_ignored",
    "is_too_old",
    "validate_event",
    "validate_group",
    "validate_profile",
    "validate_tracked",
]

JsonObject: TypeAlias = dict[str, Any]

MAX_RECORDS = 2000
"""Records in one request: reference pages of /import, /track, /engage and /groups."""

MAX_BODY_BYTES = 2_097_152
"""Uncompressed bytes in one request: the 413 example of the OpenAPI file.

The text of the /import page says 10 MB; the smaller value is the safe one.
"""

MAX_RECORD_BYTES = 1_048_576
"""A record must be smaller than "1MB"; read as MiB, as Mixpanel itself does in the 413 example."""

MAX_PROPERTIES = 254
"""Properties of an event, and keys of an object in it: "fewer than 255"."""

MAX_DEPTH = 3
"""Objects within objects below ``properties``; lists do not count as a level."""

MIN_TIME_MS = 365 * 86_400_000
"""1971-01-01: earlier events are refused by /import."""

MAX_FUTURE_MS = 3_600_000
"""Events further ahead of the server's clock are refused by /import."""

MAX_TRACK_AGE_MS = 5 * 86_400_000
"""/track silently drops older events."""

FORBIDDEN_IDS = frozenset(
    {
        "00000000-0000-0000-0000-000000000000",
        "anon",
        "anonymous",
        "nil",
        "none",
        "null",
        "n/a",
        "na",
        "undefined",
        "unknown",
        "<nil>",
        "0",
        "-1",
        "true",
        "false",
        "[]",
        "{}",
    }
)
"""Values that distinct_id and $insert_id must not have."""

IDENTITY_EVENTS = frozenset({"$identify", "$create_alias", "$merge"})
"""Commands in the shape of an event; their documented form has no time, distinct_id or id."""

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
_NUMBER = re.compile(r"\d{1,20}(\.\d{1,20})?")


class Violation(NamedTuple):
    """Why a record is refused, in the words of a ``failed_records`` item."""

    field: str
    message: str


def event_time_ms(value: object) -> int | None:
    """Return a ``time`` property as epoch milliseconds, or None when it is not a time.

    SDKs send seconds or milliseconds, as an integer, a float or digits in a string.  A number that
    is too small to be a permitted time in milliseconds is one in seconds.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if value >= MIN_TIME_MS else int(value * 1000)


def validate_event(event: object, now_ms: int) -> Violation | None:
    """Check an event as /import does with ``strict=1``; return the first problem found."""
    properties = _properties(event)
    if isinstance(properties, Violation):
        return properties
    return (
        _time_problem(properties, now_ms)
        or _distinct_id_problem(properties)
        or _insert_id_problem(properties)
        or _shape_problem(properties)
    )


def validate_tracked(event: object) -> Violation | None:
    """Check an event as /track does, which asks for a token but neither for ids nor for a time."""
    properties = _properties(event)
    if isinstance(properties, Violation):
        return properties
    if isinstance(event, dict) and event["event"] == "$merge":
        return Violation("event", "'$merge' is accepted by /import only")
    if not _is_text(properties.get("token")):
        return Violation("properties.token", "'properties.token' is missing or empty")
    if "time" in properties and event_time_ms(properties["time"]) is None:
        return _NOT_A_TIME
    return _shape_problem(properties)


def is_too_old(properties: Mapping[str, Any], now_ms: int) -> bool:
    """Tell whether /track would silently drop an event with these properties."""
    time_ms = event_time_ms(properties.get("time"))
    return time_ms is not None and time_ms < now_ms - MAX_TRACK_AGE_MS


def is_ignored(properties: Mapping[str, Any]) -> bool:
    """Tell whether ``$ignore`` makes Mixpanel silently drop an event with these properties."""
    flag = properties.get("$ignore")
    return flag is True or _is_text(flag)


def validate_profile(update: object) -> str | None:
    """Check one update of a user profile (/engage); return what is wrong with it."""
    return _update_problem(update, ("$distinct_id",), _PROFILE_OPERATIONS)


def validate_group(update: object) -> str | None:
    """Check one update of a group profile (/groups); return what is wrong with it."""
    return _update_problem(update, ("$group_key", "$group_id"), _GROUP_OPERATIONS)


def _properties(event: object) -> JsonObject | Violation:
    if not isinstance(event, dict):
        return Violation("", "record is invalid: must be a JSON object")
    if not _is_text(event.get("event")):
        return Violation("event", "'event' is invalid: must be a non-empty string")
    properties = event.get("properties")
    if not isinstance(properties, dict):
        return Violation("properties", "'properties' is invalid: must be a JSON object")
    if event["event"] in IDENTITY_EVENTS:
        # What such an event leaves out is not missing; what it has must be right all the same.
        return {**_IDENTITY_DEFAULTS, **properties}
    return properties


_IDENTITY_DEFAULTS: JsonObject = {"time": MIN_TIME_MS, "distinct_id": "", "$insert_id": "identity"}

_NOT_A_TIME = Violation(
    "properties.time", "'properties.time' is invalid: must be specified as seconds since epoch"
)


def _time_problem(properties: JsonObject, now_ms: int) -> Violation | None:
    time_ms = event_time_ms(properties.get("time"))
    if time_ms is None:
        return _NOT_A_TIME
    if time_ms < MIN_TIME_MS:
        return Violation(
            "properties.time", "'properties.time' is invalid: must not be before 1971-01-01"
        )
    if time_ms > now_ms + MAX_FUTURE_MS:
        return Violation(
            "properties.time",
            "'properties.time' is invalid: must not be more than 1 hour in the future",
        )
    return None


def _distinct_id_problem(properties: JsonObject) -> Violation | None:
    value = properties.get("distinct_id")
    if _is_number(value):
        value = str(value)
    if not isinstance(value, str):
        return Violation(
            "properties.distinct_id", "'properties.distinct_id' is invalid: must be a string"
        )
    if _is_forbidden(value):
        return Violation(
            "properties.distinct_id", "'properties.distinct_id' is invalid: value is not allowed"
        )
    return None


def _insert_id_problem(properties: JsonObject) -> Violation | None:
    value = properties.get("$insert_id")
    if not isinstance(value, str) or not value:
        return Violation("$insert_id", "'$insert_id' is invalid: must be a non-empty string")
    if not _INSERT_ID.fullmatch(value):
        return Violation(
            "$insert_id",
            "'$insert_id' is invalid: must be at most 36 bytes and "
            "must only contain alphanumeric or hyphen '-' characters",
        )
    if _is_forbidden(value):
        return Violation("$insert_id", "'$insert_id' is invalid: value is not allowed")
    return None


def _is_forbidden(value: str) -> bool:
    # Whether case matters is not documented; a value that only differs in it is as meaningless.
    return value.strip().lower() in FORBIDDEN_IDS


def _shape_problem(properties: JsonObject) -> Violation | None:
    if len(properties) > MAX_PROPERTIES:
        return Violation("properties", "'properties' is invalid: must have fewer than 255 keys")
    for name, value in properties.items():
        # Most values are scalars: the walk is only for those that can hold others.
        message = _nesting_problem(value) if isinstance(value, dict | list) else None
        if message:
            return Violation(f"properties.{name}", f"'properties.{name}' is invalid: {message}")
    return None


def _nesting_problem(value: dict[str, Any] | list[Any]) -> str | None:
    # Not recursive: lists in lists are permitted to any depth, Python's stack is not.
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        current, depth = waiting.pop()
        if isinstance(current, list):
            waiting.extend((item, depth) for item in current)
        elif isinstance(current, dict):
            if depth == MAX_DEPTH:
                return "must not be nested more than 3 levels deep"
            if len(current) > MAX_PROPERTIES:
                return "nested objects must have fewer than 255 keys"
            waiting.extend((item, depth + 1) for item in current.values())
    return None


class _Operand(NamedTuple):
    """What an operation of a profile update works with."""

    words: str
    fits: Callable[[Any], bool]


def _is_object_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


_OBJECT = _Operand("an object", lambda value: isinstance(value, dict))
_PROFILE_OPERATIONS = {
    "$set": _OBJECT,
    "$set_once": _OBJECT,
    "$add": _Operand("an object of numbers", _is_object_of(lambda v: type(v) in (int, float))),
    "$union": _Operand("an object of lists", _is_object_of(lambda v: isinstance(v, list))),
    "$append": _OBJECT,
    "$remove": _OBJECT,
    "$unset": _Operand(
        "a list of strings",
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    ),
    "$delete": _Operand("anything", lambda value: True),
}
# $append is documented as not supported for groups.
_GROUP_OPERATIONS = {k: v for k, v in _PROFILE_OPERATIONS.items() if k != "$append"}


def _update_problem(
    update: object, ids: tuple[str, ...], operations: Mapping[str, _Operand]
) -> str | None:
    if not isinstance(update, dict):
        return "update must be a JSON object"
    for name in ("$token", *ids):
        value = update.get(name)
        if not _is_text(value) and not (name != "$token" and _is_number(value)):
            return f"{name} is missing or empty"
    given = [name for name in operations if name in update]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        return f"update must have exactly one of {', '.join(operations)}; got {found}"
    operand = operations[given[0]]
    return None if operand.fits(update[given[0]]) else f"{given[0]} must be {operand.words}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
