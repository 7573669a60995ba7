"""Whether a case did its work: what its answers have to be, and how they are compared.

The records that the plain-Python peer makes are the measure for those of all others.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from benchmarks.measure import Settings
from benchmarks.peers.plain_python import PlainPython

__all__ = ["Answers", "events_of", "records_of", "same", "same_as_segment"]

Answers = list[Any]


def events_of(bodies: Sequence[bytes]) -> Answers:
    """Return type and message id of each event."""
    events = (event for body in bodies for event in json.loads(body)["batch"])
    return [[event["type"], event["messageId"]] for event in events]


def records_of(bodies: Sequence[bytes], settings: Settings) -> Answers:
    """Return the records of all events, each with its endpoint."""
    plain_python = PlainPython(*msgspec.structs.astuple(settings))
    return [
        [endpoint, json.loads(line)]
        for body in bodies
        for endpoint, lines in plain_python(body)
        for line in lines.splitlines()
    ]


def same(expected: Answers) -> Callable[[Sequence[bytes]], str]:
    """Return a check for exactly these answers, in any order."""
    return _check(expected, lambda answer: answer)


def same_as_segment(expected: Answers) -> Callable[[Sequence[bytes]], str]:
    """Return a check for these records where Segment's engine means to make the same ones."""
    return _check(expected, _without_differences)


def _without_differences(answer: Any) -> Any:
    """Leave out what the engine does otherwise: long unique ids, and empty texts in batches."""
    endpoint, record = answer
    properties = record.get("properties")
    if properties is None:
        return answer
    kept = {
        name: value
        for name, value in properties.items()
        if name != "$insert_id" and (name, value) != ("$referrer", "")
    }
    return [endpoint, {**record, "properties": kept}]


def _check(expected: Answers, compared: Callable[[Any], Any]) -> Callable[[Sequence[bytes]], str]:
    wanted = _counted(compared(answer) for answer in expected)

    def check(lines: Sequence[bytes]) -> str:
        found = _counted(compared(json.loads(line)) for line in lines)
        missing, unexpected = wanted - found, found - wanted
        if not missing and not unexpected:
            return ""
        return (
            f"{missing.total()} of {wanted.total()} are missing, as {min(missing, default='')}; "
            f"{unexpected.total()} are unexpected, as {min(unexpected, default='')}"
        )

    return check


def _counted(answers: Iterable[Any]) -> Counter[str]:
    return Counter(json.dumps(_plain(answer), sort_keys=True) for answer in answers)


def _plain(value: Any) -> Any:
    """Write whole numbers in one way: JavaScript knows no 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
