"""What the admin ports of several processes say, as one: sums, and what stands in for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.telemetry import GREATEST, LEAST

__all__ = ["sum_metrics", "sum_statuses"]

_Sum: TypeAlias = Callable[[Sequence[Any]], Any]


def _first(values: Sequence[Any]) -> Any:
    return values[0]


def _most(values: Sequence[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _least(values: Sequence[Any]) -> Any:
    return min((value for value in values if value is not None), default=None)


_STATUS: Final[Mapping[str, _Sum]] = {
    "version": _first,
    "max_age_days": _first,
    "uptime_seconds": _most,
    "oldest_age_seconds": _most,
    "since_ms": _most,
    "last_success_ms": _most,
    "consecutive_failures": _most,
    "next_attempt_in_s": _least,
    "disk_free_bytes": _least,
    "min_free_bytes": _most,
}
"""Members of ``/statusz`` that are not added up."""

_STATES: Final = ("ok", "retrying", "paused")
"""From good to bad: the worst is what an operator has to know."""

_CUMULATIVE: Final = frozenset({"counter", "histogram"})


def sum_statuses(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``/statusz`` says of several processes together.

    :param documents: one of each; at least one.
    """
    endpoint = _worst(documents)
    total: dict[str, Any] = {}
    for key in dict.fromkeys(key for document in documents for key in document):
        values = [document[key] for document in documents if key in document]
        if key in ("state", "detail"):
            total[key] = endpoint[key]
        elif key in _STATUS:
            total[key] = _STATUS[key](values)
        elif isinstance(values[0], Mapping):
            total[key] = sum_statuses(values)
        elif isinstance(values[0], bool):
            total[key] = all(values)
        elif isinstance(values[0], int | float):
            total[key] = sum(values)
        else:
            total[key] = next(filter(None, values), values[0])
    return total


def _worst(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the endpoint that is in the worst state; any mapping that has none."""

    def badness(document: Mapping[str, Any]) -> tuple[int, bool]:
        state, detail = document.get("state"), document.get("detail")
        return _STATES.index(state) if state in _STATES else -1, bool(detail)

    return max((each for each in documents if "detail" in each), key=badness, default=documents[0])


def sum_metrics(texts: Iterable[str], *, cumulative: bool = False) -> bytes:
    """Return the metrics of several processes as those of one, in Prometheus' text format.

    :param cumulative: leave out gauges: they say nothing about a process that has ended.
    """
    sums: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if cumulative and family.type not in _CUMULATIVE:
                continue
            sums.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                place = sample.name, tuple(sample.labels.items())
                samples.setdefault(place, []).append(sample.value)
    for name, samples in values.items():
        for (sample_name, labels), found in samples.items():
            if sample_name in LEAST or sample_name.endswith("_created"):
                total = min(found)
            else:
                total = max(found) if sample_name in GREATEST else sum(found)
            sums[name].add_sample(sample_name, dict(labels), total)
    registry = CollectorRegistry()
    registry.register(_Fixed(sums.values()))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
