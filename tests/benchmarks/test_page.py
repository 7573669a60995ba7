"""What the figures of the benchmarks are made of, and the page that shows them."""

import html.parser
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import page
from benchmarks.charts import bars, curves, stacks
from benchmarks.stages import STAGES, stages
from benchmarks.subjects import metrics

# Metrics


def test_metrics_are_read_subtracted_and_summed() -> None:
    before = metrics.parse('# HELP a\na_total{x="1"} 2.0\na_total{x="2"} 3.0\n')
    after = metrics.parse('a_total{x="1"} 5.0\na_total{x="2"} 3.0\na_total{x="3"} 1.0\n')
    assert metrics.total(metrics.difference(before, after), "a_total") == 4


def test_quantile_lies_in_its_bucket() -> None:
    text = "".join(
        f'lag_bucket{{endpoint="{name}",le="{le}"}} {count}\n'
        for name, counts in (("a", (5, 9, 10, 10)), ("b", (5, 9, 10, 10)))
        for le, count in zip(("0.1", "0.5", "1.0", "+Inf"), counts, strict=True)
    )
    samples = metrics.parse(text)
    assert metrics.quantile(samples, "lag", 0.5) == pytest.approx(0.1)
    assert metrics.quantile(samples, "lag", 0.7) == pytest.approx(0.3)
    assert metrics.quantile(samples, "lag", 1.0) == pytest.approx(1.0)
    assert metrics.quantile(samples, "nothing", 0.5) is None
    assert metrics.quantile(metrics.parse('l_bucket{le="+Inf"} 0.0'), "l", 0.5) is None


# Stages, charts and the page


def report(title: str = "batches of 50") -> dict[str, Any]:
    latencies = {"p50": 1.0, "p90": 2.0, "p99": 12.5, "p99.9": 40.0}

    def figures(us: float) -> dict[str, Any]:
        return {
            "about": "what <it> does",
            "us_per_event": us,
            "us_per_request": us * 50,
            "events_per_s": 1e6 / us,
            "requests_per_s": 2e4 / us,
            "latency_ms": latencies,
            "load_us_per_request": 20.0,
            "sink_us_per_event": 0.1,
        }

    def section(*names: str) -> dict[str, Any]:
        us = dict(zip(names, (6.0, 36.0), strict=False))
        return {
            "batch": 50,
            "subjects": {name: figures(us[name]) for name in names},
            "ratios": {name: {"cpu_per_event": us[name] / 6.0} for name in names[1:]},
        }

    sample = {"at_s": 0.0, "resident_bytes": 10**8, "descriptors": 40, "pending": 0}
    return {
        "time": "2026-06-01T12:00:00+00:00",
        "commit": None,
        "machine": {"cpu": "A & B", "cores": 2, "system": "Linux"},
        "python": "3.11",
        "node": None,
        "disk": "/var/tmp (ext4)",
        "load": [0.5, 1.5],
        "map": {
            "cases": {"decode": {"median_us": 1.0}, "gateway": {"median_us": 2.0}},
            "lines": {"batch size": {"fit_us": {"fixed": 10.0, "slope": 1.8}}},
        },
        "ingest": {"traffic": {title: {"subjects": {"gateway": {"us_per_event": 5.0}}}}},
        "gateway": {
            "traffic": {title: section("gateway", "python")},
            "missing": {"nginx": "not installed: apt-get install nginx-light"},
        },
        "latency": {
            "traffic": {
                title: {
                    "rate": 500.0,
                    "peak_requests_per_s": 1000.0,
                    "latency_ms": latencies,
                    "lag_p99_s": 0.3,
                }
            }
        },
        "soak": {
            "title": title,
            "rate": 700.0,
            "bytes_a_minute": 1e5,
            "descriptors_gained": 0,
            "samples": [sample, {**sample, "at_s": 60.0, "pending": 3}],
            "end": {"accepted": 9, "delivered": 9, "pending": 0, "gap": 0},
        },
    }


def test_stages_add_up_to_the_whole() -> None:
    found = stages(report())["batches of 50"]
    assert list(found) == list(STAGES)
    assert found == pytest.approx(
        {"decode": 1.0, "map": 1.0, "HTTP and disk": 3.0, "delivery": 1.0}
    )


class Reader(html.parser.HTMLParser):
    """Notes what a page would load, its texts, and whether its tags match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.foreign: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.foreign += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_page_is_whole_and_needs_nothing_else() -> None:
    figures = report("batches of <50>")
    figures["stages"] = stages(figures)
    text = page.render(figures)
    reader = Reader()
    reader.feed(text)
    assert (reader.open, reader.foreign) == ([], [])
    assert not re.search(r"<script|<link|<img|@import|url\(", text)
    for told in (
        "A & B, 2 cores",
        "Batches of <50>",
        "python / gateway",
        "what <it> does",
        "nginx: not installed: apt-get install nginx-light",
        "12.50",
        "delivered within 0.30 s",
        "+0.10 MB a minute",
    ):
        assert told in reader.text
    assert text.count("<svg") == 3 + 2 + 1 + 3


def marks(svg: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.fromstring(svg).iter() if element.tag.endswith(tag)]


def test_bars_are_as_long_as_their_values() -> None:
    widths = [
        float(bar["width"]) for bar in marks(bars({"a": 10, "b": 5, "c & d": 0}, "µs"), "rect")
    ]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert widths[2] == 0
    logarithmic = bars({"a": 1000, "b": 10, "c": 1}, "µs", is_logarithmic=True)
    widths = [float(bar["width"]) for bar in marks(logarithmic, "rect")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.001)


def test_stacks_are_divided_as_their_sums() -> None:
    chart = stacks({"x": {"a": 1.0, "b": 3.0}, "y": {"a": 2.0}}, "µs")
    first, second, whole, nothing = [float(bar["width"]) for bar in marks(chart, "rect")[2:]]
    assert second == pytest.approx(3 * first)
    assert whole == pytest.approx(first + second)
    assert nothing == 0
    assert ">4 µs<" in chart


@pytest.mark.parametrize("is_logarithmic", [False, True])
def test_curves_stay_inside_and_rise_with_their_values(is_logarithmic: bool) -> None:
    chart = curves(
        {"a": [(0, 1), (1, 10), (2, 1000)], "b": [(0, 500), (2, 0.3)]},
        x_title="x",
        y_title="y",
        is_logarithmic=is_logarithmic,
    )
    size = [float(number) for number in ET.fromstring(chart).attrib["viewBox"].split()]
    for line in marks(chart, "polyline"):
        points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
        assert all(0 <= x <= size[2] and 0 <= y <= size[3] for x, y in points)
    rising = [float(point.split(",")[1]) for point in marks(chart, "polyline")[0]["points"].split()]
    assert rising == sorted(rising, reverse=True)


def test_charts_of_nothing_are_still_charts() -> None:
    for chart in (bars({}, ""), stacks({}, ""), curves({"a": []}, x_title="", y_title="")):
        assert ET.fromstring(chart) is not None
    flat = curves({"a": [(0.0, 0.0), (1.0, 0.0)]}, x_title="", y_title="")
    assert "nan" not in flat
