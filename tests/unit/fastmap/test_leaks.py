"""Memory: after any number of runs, successful or not, nothing more is held than before."""

import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastmap
from fastmap import Folded, SpecError, fold, has_list_beside, spec
from fastmap._scan import KeyTable
from fastmap.compiler import compile_mapping
from tests.support.plans import item, record, value

RUNS = 20_000
TOLERATED_BLOCKS = RUNS // 50  # free lists and caches breathe; a leak is one a run
TOLERATED_BYTES = 4 * 1024 * 1024

SHOUT = spec.Derivation(lambda text: [text.upper()], outputs=1, remembered=8)
BODY = spec.Object(
    (
        spec.Fields(
            (
                ("id", value("text", spec.UniqueId())),
                ("time", value("raw.t", spec.Time())),
                ("loud", value("raw.k", spec.Derived(SHOUT, 0))),
                ("found", spec.Lookup(spec.Path("raw"), value("text", spec.String()))),
            )
        ),
        spec.Spread(spec.Path("raw")),
    )
)
MAPPING = spec.Mapping(
    ("raw", "text", "number"),
    (
        record(BODY),
        record({"p": item("p", spec.Number(), "p")}, each=spec.Path("raw", ("items",))),
    ),
    require=((value("number"), "no_number"),),
)
SMALL = spec.Mapping(("raw",), (record({"v": value("raw.k")}),))
WRONG = spec.Mapping(("raw",), (record({"v": value("other")}),))
PLAN = fastmap.compile(MAPPING)
OUT = fastmap.Buffer()


def run(raw: object, text: object = "some text", number: object = 5) -> None:
    PLAN.run(SimpleNamespace(raw=raw, text=text, number=number), [OUT], 0)
    OUT.clear()


def fails(error: type[Exception], call: Callable[[], object]) -> Callable[[], object]:
    def attempt() -> None:
        try:
            call()
        except error:
            return
        raise AssertionError("it should have failed")

    return attempt


GOOD = b'{"k":"\\u0061b","k":"c","t":"Tue, 17 Aug 2021 15:21:15 GMT","items":[{"p":"x"},{"p":1}]}'

KINDS = fastmap.Dispatch(
    {"a": PLAN, "none": None},
    None,
    kind="kind",
    skew="skew",
    reasons=fastmap.Reasons("unmatched", "empty", "malformed"),
)


def dispatch(*raws: object, kind: object = "a", skew: object = 0) -> None:
    KINDS.run(
        [SimpleNamespace(kind=kind, skew=skew, raw=raw, text="t", number=5) for raw in raws],
        [OUT],
        0,
    )
    OUT.clear()


LONG = b'{"k":"a value that is long enough to fold"}'


TWICE = b'{"k":%b}{"k":%b}' % (LONG, LONG)


def folded() -> Folded:
    found = fold(TWICE, b"k")
    assert found is not None
    return found


def unfold(*, is_whole: bool) -> None:
    text = folded()
    view = memoryview(text.text)
    first = view[TWICE.index(LONG) :][: len(LONG)]
    second = view[text.text.index(b"{}") :][:2]
    objects = [SimpleNamespace(k=first), SimpleNamespace(k=second)]
    assert text.unfold(objects if is_whole else objects[1:], "k") is is_whole


CALLS: dict[str, Callable[[], object]] = {
    "run": lambda: run(GOOD),
    "run, rejected": lambda: run(GOOD, number=None),
    "run, too many items": lambda: run(b'{"items":[' + b"{}," * 1000 + b"{}]}"),
    "run, malformed": fails(fastmap.MalformedInput, lambda: run(b'{"k":')),
    "run, malformed item": fails(fastmap.MalformedInput, lambda: run(b'{"items":[{"p":1},{"p"}]}')),
    "run, half a surrogate pair": fails(fastmap.MalformedInput, lambda: run(GOOD, "\ud800")),
    "run, no attribute": fails(AttributeError, lambda: PLAN.run(None, [OUT], 0)),
    "run, no buffer": fails(TypeError, lambda: PLAN.run(None, [object()], 0)),  # type: ignore[list-item]
    "dropped": PLAN.dropped,
    "Dispatch": lambda: fastmap.Dispatch({}, PLAN, kind="a", skew="b", reasons=()),  # type: ignore[arg-type]
    "dispatch": lambda: dispatch(GOOD, b'{"k":', GOOD),
    "dispatch, unmatched": lambda: dispatch(GOOD, kind="none"),
    "dispatch, no skew": fails(TypeError, lambda: dispatch(GOOD, skew=None)),
    "compile": lambda: fastmap.compile(SMALL),
    "compile, contradiction": fails(SpecError, lambda: fastmap.compile(WRONG)),
    "Plan": lambda: fastmap.Plan(compile_mapping(SMALL)),
    "Plan, no program": fails(AttributeError, lambda: fastmap.Plan(None)),  # type: ignore[arg-type]
    "KeyTable": lambda: KeyTable({b"a": 1, b"b": 2}),
    "KeyTable, no bytes": fails(TypeError, lambda: KeyTable({"a": 1})),  # type: ignore[dict-item]
    "Buffer": fastmap.Buffer,
    "Buffer.take": OUT.take,
    "parse_time": lambda: fastmap.parse_time("2021-08-17T15:21:15Z"),
    "parse_time, mail": lambda: fastmap.parse_time("Tue, 17 Aug 2021 15:21:15 GMT"),
    "parse_time, unreadable": lambda: fastmap.parse_time("not a time"),
    "list beside": lambda: has_list_beside(TWICE, b"k", (TWICE,), (TWICE,)),
    "fold": folded,
    "fold, nothing": lambda: fold(LONG, b"k"),
    "unfold": lambda: unfold(is_whole=True),
    "unfold, refused": lambda: unfold(is_whole=False),
    "unfold, no attribute": fails(AttributeError, lambda: folded().unfold([None], "k")),
    "is_deeper": lambda: fastmap.is_deeper(b"[[]]", 1),
    "is_deeper, no bytes": fails(TypeError, lambda: fastmap.is_deeper("", 1)),  # type: ignore[arg-type]
    "is_utf8": lambda: fastmap.is_utf8(b"\xc3\xa9"),
    "is_utf8, refused": lambda: fastmap.is_utf8(b"\xff"),
    "without_lone_surrogates": lambda: fastmap.without_lone_surrogates(rb"a\udc00"),
    "without_lone_surrogates, none": lambda: fastmap.without_lone_surrogates(rb"a\n"),
}


def allocated_blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def resident_bytes() -> int:
    """Return the memory of the process, which memory outside of Python's pools counts in, too."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: what Python counts has to do
        return 0
    return int(statm.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("name", CALLS)
def test_repeated_calls_hold_no_more_memory(name: str) -> None:
    call = CALLS[name]
    for _ in range(200):
        call()
    blocks, resident = allocated_blocks(), resident_bytes()
    for _ in range(RUNS):
        call()

    assert allocated_blocks() - blocks < TOLERATED_BLOCKS
    assert resident_bytes() - resident < TOLERATED_BYTES


def test_derivations_memory_is_bounded() -> None:
    for number in range(2000):
        run(b'{"k":"%d"}' % number)
    blocks = allocated_blocks()
    for number in range(RUNS):
        run(b'{"k":"text %d"}' % number)

    assert allocated_blocks() - blocks < TOLERATED_BLOCKS


def test_memory_of_a_giant_is_given_back() -> None:
    out = fastmap.Buffer()
    plan = fastmap.compile(spec.Mapping(("text",), (record({"t": value("text")}),)))
    before = resident_bytes()
    plan.run(SimpleNamespace(text="x" * (64 << 20)), [out], 0)
    out.clear()

    assert resident_bytes() - before < 16 << 20
