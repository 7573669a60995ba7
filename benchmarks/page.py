"""The report as one HTML page that needs nothing else; no I/O."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from benchmarks.charts import bars, curves, stacks

__all__ = ["render"]

_STYLE = """
:root { color-scheme: light dark; --grid: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
svg { width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: var(--grid); } .note { opacity: .75; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
"""

Json = Mapping[str, Any]


def render(report: Json) -> str:
    """Return the page.

    :param report: as ``python -m benchmarks report`` writes it.
    """
    body = "\n".join(_body(report))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Benchmarks</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _body(report: Json) -> Iterator[str]:
    machine = report["machine"]
    load = ", ".join(f"{value:g}" for value in report["load"])
    yield "<h1>What the gateway costs</h1>"
    yield _note(
        f"{report['time']}, commit {report['commit'] or 'unknown'}. {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['system']}; Python {report['python']}, Node "
        f"{report['node'] or 'not installed'}. Spool in "
        f"{report['disk']}. Load average before and after: {load}."
    )
    yield _note(
        "Load generator, gateway, peers and sink share these cores, so events a second are those "
        "of the whole; CPU time an event is the gateway's alone. Compare figures of one run only."
    )
    for title, section in report["gateway"]["traffic"].items():
        yield from _traffic(title, section, report["gateway"]["missing"])
    yield "<h2>CPU time an event by stage</h2>"
    yield _note("Decoding and mapping are measured alone; the others are differences.")
    yield from _parts(report["stages"])
    yield "<h2>CPU time an event by process</h2>"
    yield from _parts(_processes(report))
    yield from _latency(report["latency"])
    yield from _soak(report["soak"])


def _traffic(title: str, section: Json, missing: Mapping[str, str]) -> Iterator[str]:
    subjects = section["subjects"]
    yield f"<h2>{escape(title[:1].upper() + title[1:])}</h2>"
    yield "<h3>Events a second</h3>"
    yield bars({name: s["events_per_s"] for name, s in subjects.items()}, "/s")
    yield "<h3>CPU time an event</h3>"
    costs = {name: s["us_per_event"] for name, s in subjects.items()}
    yield bars(costs, "µs", is_logarithmic=True)
    if section["ratios"]:
        yield "<h3>CPU time an event as a multiple of the gateway's</h3>"
        ratios = {f"{name} / gateway": r["cpu_per_event"] for name, r in section["ratios"].items()}
        yield bars(ratios, "times", is_logarithmic=True)
    yield _table(
        ("", "what it does", "µs/event", "events/s", "requests/s", "p50 ms", "p99 ms"),
        [
            (
                name,
                subject["about"],
                f"{subject['us_per_event']:.2f}",
                f"{subject['events_per_s']:,.0f}",
                f"{subject['requests_per_s']:,.0f}",
                f"{subject['latency_ms']['p50']:.1f}",
                f"{subject['latency_ms']['p99']:.1f}",
            )
            for name, subject in subjects.items()
        ],
    )
    for name, how in missing.items():
        yield _note(f"{name}: {how}")


def _parts(values: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield stacks(values, "µs")
    names = list(next(iter(values.values())))
    yield _table(
        ("µs/event", *names),
        [(title, *(f"{parts[name]:.2f}" for name in names)) for title, parts in values.items()],
    )


def _processes(report: Json) -> dict[str, dict[str, float]]:
    found = {}
    for title, section in report["gateway"]["traffic"].items():
        ours = section["subjects"]["gateway"]
        per_request = ours["us_per_request"] / ours["us_per_event"]
        found[title] = {
            "gateway": ours["us_per_event"],
            "load generator": ours["load_us_per_request"] / per_request,
            "sink": ours["sink_us_per_event"] or 0.0,
        }
    return found


def _latency(latency: Json) -> Iterator[str]:
    rows = latency["traffic"]
    yield "<h2>Latency at a given load</h2>"
    yield _note(
        "Open loop; from when a request was due to its answer, which follows the write to disk. "
        + "; ".join(
            f"{title}: {row['rate']:,.0f} requests/s"
            + (
                f" of {row['peak_requests_per_s']:,.0f} at most"
                if row["peak_requests_per_s"]
                else ""
            )
            + (f", 99 % delivered within {row['lag_p99_s']:.2f} s" if "lag_p99_s" in row else "")
            for title, row in rows.items()
        )
        + "."
    )
    names = list(next(iter(rows.values()))["latency_ms"])
    lines = {
        title: [(float(at), row["latency_ms"][name]) for at, name in enumerate(names)]
        for title, row in rows.items()
    }
    yield curves(lines, x_title="percentile", y_title="ms", x_labels=names, is_logarithmic=True)
    yield _table(
        ("", *(f"{name} ms" for name in names)),
        [
            (title, *(f"{row['latency_ms'][name]:.2f}" for name in names))
            for title, row in rows.items()
        ],
    )


def _soak(soak: Json) -> Iterator[str]:
    samples = soak["samples"]
    last, end = samples[-1], soak["end"]
    yield "<h2>Over time</h2>"
    yield _note(
        f"{soak['title']}, {soak['rate']:,.0f} requests/s for {last['at_s']:.0f} s. Memory grew by "
        f"{soak['bytes_a_minute'] / 1e6:+.2f} MB a minute after the first quarter, open "
        f"descriptors by {soak['descriptors_gained']:+d}. {end['accepted']:,} records accepted, "
        f"{end['delivered']:,} delivered, {end['pending']:,} pending, gap {end['gap']}."
    )
    for title, unit, key, scale in (
        ("Resident memory", "MB", "resident_bytes", 1e6),
        ("Open descriptors", "", "descriptors", 1),
        ("Records that wait for delivery", "", "pending", 1),
    ):
        yield f"<h3>{title}</h3>"
        line = [(sample["at_s"], sample[key] / scale) for sample in samples]
        yield curves({title.lower(): line}, x_title="seconds", y_title=unit)


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + row(head, "th") + "".join(row(cells, "td") for cells in rows) + "</table>"
