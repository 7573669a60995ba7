"""What must hold for any bytes whatever."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, get_args

import fastmap
from gateway.config import DestinationConfig, DestinationSettings, Secret, SourceConfig
from gateway.errors import RequestError
from gateway.events import Received, decode
from gateway.events.mixpanel import EndpointName
from gateway.events.mixpanel import decode as decode_records
from gateway.mapping import Mapper, NativeMapper, prepare
from gateway.model import DeadLetter, Entry
from gateway.policy import SourcePolicy, policy_of
from gateway.telemetry import Telemetry
from tests.support.decoding import check_folding

__all__ = ["check_body", "check_inputs", "check_records"]

RECEIVED_MS = 1_700_000_000_000
ENDPOINTS: tuple[EndpointName, ...] = get_args(EndpointName)

_SETTINGS = DestinationSettings(projectToken="token", sourceName="source")
_DESTINATIONS = tuple(
    DestinationConfig(name=profile, profile=profile, settings=_SETTINGS)
    for profile in ("syft", "segment")
)
_MAPPER = Mapper(_DESTINATIONS, Telemetry())
_NATIVE = NativeMapper(_DESTINATIONS)
_STRICT = policy_of(
    SourceConfig(
        name="strict",
        write_key=Secret("k"),
        ip="truncate",
        denied_events=("*b*",),
        denied_properties=("id", "a.b", "email", "products.name", "context.page"),
        anonymous_only=True,
        sample_rate=0.9,
    )
)


def check_body(body: bytes, decode: Callable[[bytes], Received] = decode) -> int:
    """Take a body the way of the gateway; returns how many records it became.

    :param decode: what its route reads it with.
    """
    _check(body, decode, _STRICT)
    return _check(body, decode, None)


def _check(body: bytes, decode: Callable[[bytes], Received], policy: SourcePolicy | None) -> int:
    received = check_folding(body, decode)
    if received is None:
        return 0
    try:
        prepare(
            received,
            received_ms=RECEIVED_MS,
            default_type="track",
            client_ip="192.0.2.1",
            user_agent="Mozilla/5.0",
            is_retry=False,
        )
    except RequestError:
        return 0
    events = received.events if policy is None else policy.apply(received).events
    mapped = _MAPPER.map(
        [destination.name for destination in _DESTINATIONS],
        events,
        received_ms=RECEIVED_MS,
        misfits=received.misfits,
    )
    return _count(mapped.entries, mapped.dead, _strict)


def check_records(body: bytes) -> int:
    """Take a body the way of Mixpanel's own SDKs; returns how many of its records are good."""
    count = 0
    for endpoint in ENDPOINTS:
        for is_lines in (False, True):
            try:
                records = decode_records(body, endpoint, is_lines=is_lines)
            except RequestError:
                continue
            mapped = _NATIVE.map(
                endpoint,
                records,
                received_ms=RECEIVED_MS,
                client_ip="192.0.2.1",
                destination="syft",
            )
            taken = _count(mapped.entries, mapped.dead, partial(_of_native, endpoint))
            assert taken == mapped.verdict.taken
            assert taken + len(mapped.dead) == len(records)
            count += taken
    return count


def _count(
    entries: Sequence[Entry], dead: Sequence[DeadLetter], read: Callable[[bytes], Any]
) -> int:
    for entry in entries:
        lines = entry.lines.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == entry.records
        for line in lines:
            assert isinstance(read(line), dict)
    for letter in dead:
        assert isinstance(json.loads(letter.payload), dict)  # as it came: keys may stand twice
    return sum(entry.records for entry in entries)


_INPUT = fastmap.spec.Path("raw")
_ITEMS = fastmap.spec.Path("raw", ("products",))
_PLAN = fastmap.compile(
    fastmap.spec.Mapping(
        ("raw",),
        (
            fastmap.spec.Record(
                0,
                fastmap.spec.Object(
                    (
                        fastmap.spec.Fields(
                            (
                                ("s", fastmap.spec.Value(_INPUT, fastmap.spec.String())),
                                ("t", fastmap.spec.Value(_INPUT, fastmap.spec.Time())),
                            )
                        ),
                        fastmap.spec.Spread(_INPUT, frozenset(("time", "id"))),
                    )
                ),
            ),
            fastmap.spec.Record(
                0,
                fastmap.spec.Object((fastmap.spec.Spread(fastmap.spec.Path("@item")),)),
                each=_ITEMS,
            ),
        ),
    )
)


def check_inputs(raw: bytes) -> None:
    """Run a plan on bytes that nobody has checked: an answer or an error, never a crash."""
    out = fastmap.Buffer()
    try:
        records = _PLAN.run(SimpleNamespace(raw=raw), [out], RECEIVED_MS)
    except fastmap.MalformedInput:
        assert len(out) == 0
        return
    assert records == out.records == out.take().count(b"\n")


def _strict(line: bytes) -> Any:
    return json.loads(line, object_pairs_hook=_without_repetition, parse_constant=_refuse)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # What a client repeats inside of a value is only carried over; the gateway's own objects
    # are those with members of its own.
    if "$insert_id" in members or "$token" in members:
        assert len(members) == len(pairs), [key for key, _ in pairs]
    return members


def _of_native(endpoint: EndpointName, line: bytes) -> Any:
    """Read a record; only it and its properties are written anew, the rest is carried over."""
    record = dict(_distinct(json.loads(line, object_pairs_hook=_Pairs, parse_constant=_refuse)))
    if endpoint == "import" and isinstance(record.get("properties"), _Pairs):
        _distinct(record["properties"])
    return record


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written."""


def _distinct(pairs: Any) -> _Pairs:
    assert isinstance(pairs, _Pairs)
    assert len(dict(pairs)) == len(pairs), [key for key, _ in pairs]
    return pairs


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")
