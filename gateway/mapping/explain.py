"""The account of a mapping for people: a line for each value, with where it came from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import combinations

from fastmap import spec
from fastmap.reference import JsonValue, Note, Numeral, Result, Source, encode
from gateway.events import Event
from gateway.mapping.doubles import is_double
from gateway.mapping.paths import ROOTS
from gateway.model import ENDPOINTS

__all__ = ["account"]

_MAX_SHOWN = 60  # characters of a value
_NAMES = {root: name for name, root in ROOTS.items()}
_CONVERSIONS: dict[type[object], str] = {
    spec.String: "as a text",
    spec.Id: "as a text",
    spec.Number: "as a number",
    spec.Boolean: "as true or false",
    spec.UniqueId: "as a unique id",
    spec.Ip: "as an IP address",
    spec.Derived: "derived from the text",
    spec.Time: "as a time",
}
_DIRECTIVES: dict[type[object], str] = {
    spec.If: "@if",
    spec.Case: "@case",
    spec.Replace: "@replace",
    spec.Join: "joined (@template)",
}


def account(result: Result, event: Event, received_ms: int) -> Iterator[str]:
    """Give the lines that tell how records came about and what did not get into them."""
    for number, (output, record) in enumerate(result.records):
        yield f"-> {ENDPOINTS[output]}"
        notes = [note for note in result.notes if note.record == number]
        yield from _written(record, notes, event, received_ms)
        yield from _lost(notes)
    events = [record for output, record in result.records if ENDPOINTS[output] == "import"]
    if any(is_double(one, other) for one, other in combinations(events, 2)):
        yield (
            "   two events have one name and one $insert_id: Mixpanel takes them for the same one "
            "and keeps one of them"
        )
    if not result.records:
        yield from _lost([note for note in result.notes if note.lost])


def _written(
    record: dict[str, JsonValue], notes: Sequence[Note], event: Event, received_ms: int
) -> Iterator[str]:
    """Give a line for each member, in the order of the record."""
    kept = {note.keys: note for note in notes if not note.lost}
    rows = []
    for keys, value in _leaves(record, kept):
        origin = _origin(kept[keys], event, received_ms) if keys in kept else ""
        rows.append((f"{'.'.join(keys)} = {_shown(value)}", origin))
    width = min(_MAX_SHOWN, max((len(left) for left, _ in rows), default=0))
    for left, origin in rows:
        yield f"   {left:<{width}}  {origin}".rstrip()


def _leaves(
    value: JsonValue, kept: dict[tuple[str, ...], Note], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """Give the members that are values, down through the objects that the mapping made."""
    if isinstance(value, dict) and value and at not in kept:
        for key, member in value.items():
            yield from _leaves(member, kept, (*at, key))
    else:
        yield at, value


def _lost(notes: Sequence[Note]) -> Iterator[str]:
    """Give a line for each value that was there and was not written, once each."""
    by = {note.keys: note for note in notes if not note.lost}
    lines: dict[str, None] = {}
    for note in notes:
        if not note.lost:
            continue
        why = note.lost
        if why == "omitted":
            why = "the mapping leaves this name out"
        elif why == "overridden" and note.keys in by:
            why = f"overridden by {_place(by[note.keys])}"
        name = ".".join(note.keys) or "(condition)"
        lines[f"   not sent: {name}: {_shown(note.value)} from {_place(note)}: {why}"] = None
    yield from lines


def _origin(note: Note, event: Event, received_ms: int) -> str:
    """Tell where a value came from, by which field and directives, and how it was converted."""
    parts = [_place(note)]
    labels = list(dict.fromkeys(label for label in _labels(note.whole) if label))
    if labels:
        parts.append(f"field {', '.join(labels)}")
    if isinstance(note.whole, spec.Spread):
        parts.append("copied" if note.whole.convert is None else "as a number")
    directives = list(dict.fromkeys(_directives(note.whole)))
    if directives:
        parts.append(", ".join(directives))
    if isinstance(note.source, spec.Value | spec.Converted):
        parts.append(_CONVERSIONS.get(type(note.source.convert), ""))
        if isinstance(note.source.convert, spec.Time):
            parts.append(_time_note(note.value, event, received_ms))
    return "from " + "; ".join(part for part in parts if part)


def _time_note(value: JsonValue, event: Event, received_ms: int) -> str:
    if isinstance(value, Numeral) and received_ms - 1000 <= int(value.digits) <= received_ms:
        return "none there that can be used: the time of receipt"
    if event.skew_ms:
        return f"corrected by {event.skew_ms:+d} ms for the client's clock"
    return ""


def _place(note: Note) -> str:
    """Name what gave a value: a path, a constant or what is computed from others."""
    match note.source:
        case spec.Const():
            return "a constant" if isinstance(note.whole, spec.Const) else "the default"
        case spec.Spread(path):
            return _path(path) + ("" if note.lost == "not an object" else _step(note.keys[-1]))
        case spec.Lookup(path):
            return f"the member of {_path(path)} that another value names"
        case source:
            paths = list(dict.fromkeys(map(_path, _paths(source))))
            return " and ".join(paths) or "a constant"


def _path(path: spec.Path) -> str:
    if path.root == "client_ip":
        return "the client's address"
    if path == spec.Path(spec.ITEM):
        return "the value that the record is for"
    root = "item" if path.root == spec.ITEM else f"$.{_NAMES.get(path.root, path.root)}"
    return root + "".join(map(_step, path.keys))


def _step(key: str | int) -> str:
    if isinstance(key, str) and key.replace("$", "").replace("_", "").isalnum():
        return f".{key}"
    return f"[{json.dumps(key, ensure_ascii=False)}]"


def _parts(part: object) -> Iterator[object]:
    """Give a part of a specification and everything in it."""
    yield part
    if isinstance(part, tuple):
        for item in part:
            yield from _parts(item)
    elif is_dataclass(part) and not isinstance(part, type):
        for each in fields(part):
            yield from _parts(getattr(part, each.name))


def _paths(source: Source) -> Iterator[spec.Path]:
    return (part for part in _parts(source) if isinstance(part, spec.Path))


def _labels(source: Source) -> Iterator[str]:
    return (getattr(part, "label", "") for part in _parts(source))


def _directives(source: Source) -> Iterator[str]:
    return (_DIRECTIVES[type(part)] for part in _parts(source) if type(part) in _DIRECTIVES)


def _shown(value: JsonValue) -> str:
    text = encode(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
