"""Events of different kinds: each by its plan, and a reason for each that becomes no record."""

from types import SimpleNamespace
from typing import Any

import pytest

import fastmap
from fastmap import spec
from tests.support.plans import RECEIVED_MS, record, value

REASONS = fastmap.Reasons(unmatched="unmatched", empty="empty", malformed="malformed")


def plan(name: str, *, when: tuple[spec.Condition, ...] = ()) -> fastmap.Plan:
    body: dict[str, spec.Expression | spec.Object] = {
        "plan": spec.Const(name),
        "at": value("raw.at", spec.Time()),
    }
    demand = (value("raw.id", spec.String()), "no_id")
    mapping = spec.Mapping(("raw",), (record(body, when=when),), require=(demand,))
    return fastmap.compile(mapping)


def event(kind: object, raw: object = b'{"id":"i"}', skew: object = 0) -> Any:
    return SimpleNamespace(kind=kind, raw=raw, skew=skew)


def dispatch(
    plans: dict[str, fastmap.Plan | None], other: fastmap.Plan | None = None
) -> fastmap.Dispatch:
    return fastmap.Dispatch(plans, other, kind="kind", skew="skew", reasons=REASONS)


def run(
    plans: fastmap.Dispatch, *events: Any, received_ms: int = 9_000_000
) -> tuple[list[bytes], list[tuple[Any, str]]]:
    out = fastmap.Buffer()
    left = plans.run(events, [out], received_ms)
    assert out.records == len(events) - len(left)
    return out.take().splitlines(), left


def test_each_event_goes_by_the_plan_for_its_kind() -> None:
    plans = dispatch({"a": plan("A"), "b": plan("B")}, plan("other"))
    kinds = ("a", "b", "b", "a", "c", None, 5, ["a"], "", "".join("a"))

    lines, left = run(plans, *map(event, kinds))

    names = ("A", "B", "B", "A", "other", "other", "other", "other", "other", "A")
    assert lines == [b'{"plan":"%b","at":9000000}' % name.encode() for name in names]
    assert left == []


def test_events_that_become_no_record_come_back_in_order_with_a_reason() -> None:
    never = (spec.Exists(value("raw.never")),)
    plans = dispatch({"a": plan("A"), "none": None, "never": plan("N", when=never)})
    good = event("a")
    lost = [
        event("none"),
        event("unknown"),
        event("a", b"{}"),
        event("never"),
        event("a", b'{"id":'),
        event("a", "\ud800"),
    ]

    lines, left = run(plans, good, *lost[:3], good, *lost[3:], good)

    assert len(lines) == 3
    assert left == list(
        zip(
            lost,
            ("unmatched", "unmatched", "no_id", "empty", "malformed", "malformed"),
            strict=True,
        )
    )


def test_each_events_skew_moves_its_times() -> None:
    plans = dispatch({"a": plan("A")})
    raw = b'{"id":"i","at":"2021-08-17T15:21:15Z"}'
    skews = (0, 60_000, -1_000)

    lines, _ = run(plans, *(event("a", raw, skew) for skew in skews), received_ms=RECEIVED_MS)

    assert lines == [b'{"plan":"A","at":%d}' % (1_629_213_675_000 + skew) for skew in skews]


def test_events_whose_times_are_those_of_receipt_are_counted_for_each_run() -> None:
    plans = dispatch({"a": plan("A")})
    times = (b'"soon"', b"[1,2]", b'"0001-01-01"', b"2000000000", b'"2021-08-17"', b"null", b'""')
    events = [event("a", b'{"id":"i","at":%b}' % time) for time in times]

    run(plans, *events, event("a", b'{"at":"soon"'), received_ms=RECEIVED_MS)
    assert (plans.unreadable_times, plans.impossible_times) == (2, 2)
    run(plans, events[4], received_ms=RECEIVED_MS)
    assert (plans.unreadable_times, plans.impossible_times) == (0, 0)


def test_kinds_are_read_where_a_type_keeps_them() -> None:
    class Slotted:
        __slots__ = ("kind", "raw", "skew")

        def __init__(self, kind: object) -> None:
            self.kind, self.raw, self.skew = kind, b'{"id":"i"}', 0

    class Computed:
        raw, skew = b'{"id":"i"}', 0

        @property
        def kind(self) -> str:
            return "b"

    plans = dispatch({"a": plan("A"), "b": plan("B")})
    lines, left = run(plans, Slotted("a"), Computed(), Slotted("b"), event("a"), Slotted(None))

    assert [line[9:10] for line in lines] == [b"A", b"B", b"B", b"A"]
    assert [reason for _, reason in left] == ["unmatched"]


def test_error_ends_the_run_and_the_next_one_is_good() -> None:
    plans = dispatch({"a": plan("A")})
    out = fastmap.Buffer()
    for bad, error in (
        (SimpleNamespace(raw=b"{}", skew=0), AttributeError),
        (SimpleNamespace(kind="a", skew=0), AttributeError),
        (SimpleNamespace(kind="a", raw=b"{}"), AttributeError),
        (event("a", skew="1"), TypeError),
        (event("a", skew=1 << 70), OverflowError),
    ):
        with pytest.raises(error):
            plans.run([event("a"), bad], [out], 0)
        assert out.records == 1
        out.clear()

    assert run(plans, event("a"))[1] == []


def test_wrong_outputs_are_errors() -> None:
    plans = dispatch({"a": plan("A")})

    with pytest.raises(IndexError):
        plans.run([event("a")], [], 0)
    with pytest.raises(TypeError):
        plans.run([event("a")], [b""], 0)  # type: ignore[list-item]
    with pytest.raises(TypeError):
        dispatch({}, "plan")  # type: ignore[arg-type]
