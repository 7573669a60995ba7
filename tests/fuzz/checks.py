"""What must hold for any bytes whatever."""

import json
from types import SimpleNamespace
from typing import Any

import fastmap
from gateway.config import DestinationConfig, DestinationSettings
from gateway.errors import RequestError
from gateway.mapping import Mapper, prepare
from gateway.telemetry import Telemetry
from tests.support.decoding import check_folding

__all__ = ["check_body", "check_inputs"]

RECEIVED_MS = 1_700_000_000_000

_SETTINGS = DestinationSettings(projectToken="token", sourceName="source")
_DESTINATIONS = tuple(
    DestinationConfig(name=profile, profile=profile, settings=_SETTINGS)
    for profile in ("syft", "segment")
)
_MAPPER = Mapper(_DESTINATIONS, Telemetry())


def check_body(body: bytes) -> int:
    """Take a body the way of the gateway; returns how many records it became."""
    received = check_folding(body)
    if received is None:
        return 0
    try:
        prepare(
            received,
            received_ms=RECEIVED_MS,
            default_type="track",
            client_ip="192.0.2.1",
            is_retry=False,
        )
    except RequestError:
        return 0
    mapped = _MAPPER.map(
        [destination.name for destination in _DESTINATIONS],
        received.events,
        received_ms=RECEIVED_MS,
        misfits=received.misfits,
    )
    for entry in mapped.entries:
        lines = entry.lines.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == entry.records
        for line in lines:
            assert isinstance(_strict(line), dict)
    for letter in mapped.dead:
        assert isinstance(_strict(letter.payload), dict)
    return sum(entry.records for entry in mapped.entries)


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


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")
