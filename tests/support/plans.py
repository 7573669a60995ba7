"""Running small mappings of ``fastmap``."""

import json
from types import SimpleNamespace
from typing import Any, NamedTuple

import fastmap
from fastmap import spec

__all__ = [
    "RECEIVED_MS",
    "Token",
    "carried",
    "convert",
    "item",
    "record",
    "records",
    "run",
    "tokens",
    "value",
]

RECEIVED_MS = 1_790_000_000_000


class Token(NamedTuple):
    """A number as it is written, so that no digit is lost in a comparison."""

    text: str


def value(path: str, convert: spec.Conversion | None = None, label: str = "") -> spec.Value:
    """Read a dotted path, as it is unless a conversion is given."""
    root, *keys = path.split(".")
    return spec.Value(spec.Path(root, tuple(keys)), convert or spec.Json(), label)


def item(key: str, convert: spec.Conversion | None = None, label: str = "") -> spec.Value:
    return spec.Value(spec.Path(spec.ITEM, (key,)), convert or spec.Json(), label)


def record(
    members: dict[str, spec.Expression | spec.Object] | spec.Object, **options: Any
) -> spec.Record:
    body = members
    if isinstance(body, dict):
        body = spec.Object((spec.Fields(tuple(body.items())),))
    return spec.Record(0, body, **options)


def run(
    *wanted: spec.Record,
    require: tuple[tuple[spec.Expression, str], ...] = (),
    received_ms: int = RECEIVED_MS,
    skew_ms: int = 0,
    **inputs: object,
) -> tuple[int | str, bytes]:
    """Return the result of one run and what it wrote."""
    plan = fastmap.compile(spec.Mapping(tuple(inputs), wanted, require))
    out = fastmap.Buffer()
    result = plan.run(SimpleNamespace(**inputs), [out], received_ms, skew_ms)
    count = out.records
    written = out.take()
    assert written.count(b"\n") == count == (0 if isinstance(result, str) else result)
    return result, written


def records(*wanted: spec.Record, **options: Any) -> list[Any]:
    """Return the records of one run, parsed."""
    _, written = run(*wanted, **options)
    return [carried(line) for line in written.split(b"\n")[:-1]]


def convert(conversion: spec.Conversion, token: str, **options: Any) -> str | None:
    """Return the JSON that a JSON value is converted to, None when there is none."""
    _, written = run(
        record({"v": value("raw.k", conversion)}), raw=f'{{"k":{token}}}'.encode(), **options
    )
    line = written.decode().removesuffix("\n")
    return None if line == "{}" else line.removeprefix('{"v":').removesuffix("}")


def tokens(text: str | bytes) -> Any:
    """Parse JSON as every reader does: the last of repeated keys wins."""
    return json.loads(text, parse_int=Token, parse_float=Token)


def carried(line: bytes) -> Any:
    """Parse a record; no key may be repeated in the objects that the mapping made."""
    parsed: Any = json.loads(
        line, parse_int=Token, parse_float=Token, object_pairs_hook=_without_repeated_keys
    )
    return parsed


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), f"a key is repeated: {[key for key, _ in pairs]}"
    return members
