"""Write the tables of the documents that come from the code: ``make docs``.

A table stands between ``<!-- keys of server -->`` and ``<!-- end -->``, or the like; everything
else in a page is written by hand.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gateway.config.reference import KeyEntry, entries
from gateway.spool.sqlite.metrics import SqliteMetrics
from gateway.telemetry import FleetTelemetry, ReadMetrics, Telemetry, metrics_of

__all__ = ["written"]

_ROOT = Path(__file__).parents[1]

_TABLE = re.compile(
    r"(<!-- (keys of|keys|variables|metrics) ?([^>]*) -->\n)(?:[^<].*?)?(<!-- end -->)", re.S
)
_RELATIVE = re.compile(r"(?<=\]\()(?=[\w-]+\.md)")


def written() -> dict[Path, str]:
    """Return the pages that have such tables, as they should be."""
    found = {}
    for page in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))):
        text = page.read_text("utf-8")
        if _TABLE.search(text):
            found[page] = _TABLE.sub(_in_docs if page.parent.name == "docs" else _beside_docs, text)
    return found


def _in_docs(match: re.Match[str]) -> str:
    begin, kind, names, end = match.groups()
    rows = "\n".join(_TABLES[kind](names.split()))
    return f"{begin}\n{rows}\n\n{end}"


def _beside_docs(match: re.Match[str]) -> str:
    return _RELATIVE.sub("docs/", _in_docs(match))


def _keys_of_tables(names: Sequence[str]) -> Iterator[str]:
    cells = (
        (f"`{each.path}`", _default(each), each.accepted, each.text)
        for each in entries()
        if each.table in names
    )
    return _table(("key", "default", "accepted", "what it is"), cells)


def _keys(names: Sequence[str]) -> Iterator[str]:
    known = {each.path: each for each in entries()}
    chosen = [known[name] for name in names]
    cells = ((f"`{each.path}`", _default(each), each.text) for each in chosen)
    return _table(("key", "default", "what it is"), cells)


def _variables(_: Sequence[str]) -> Iterator[str]:
    cells = ((f"`{each.variable}`", f"`{each.path}`") for each in entries() if each.variable)
    return _table(("variable", "key"), cells)


def _metrics(names: Sequence[str]) -> Iterator[str]:
    found = sorted(
        (metric, kind.__name__.removeprefix("Loop").removesuffix("MetricFamily").lower())
        for name in names
        for _, kind, metric in metrics_of(_METRICS[name])
    )
    cells = (
        (
            f"`{metric.name}`",
            kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.text + _OF_SEVERAL.get(metric.of_several, ""),
        )
        for metric, kind in found
    )
    return _table(("metric", "type", "labels", "what it says"), cells)


_METRICS = {
    "read": ReadMetrics,
    "process": Telemetry,
    "supervisor": FleetTelemetry,
    "sqlite": SqliteMetrics,
}

_OF_SEVERAL = {max: " Of several workers: the greatest.", min: " Of several workers: the least."}

_TABLES: Mapping[str, Callable[[Sequence[str]], Iterator[str]]] = {
    "keys of": _keys_of_tables,
    "keys": _keys,
    "variables": _variables,
    "metrics": _metrics,
}


def _default(entry: KeyEntry) -> str:
    return entry.default or "*required*"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    for page, text in written().items():
        page.write_text(text, "utf-8")
