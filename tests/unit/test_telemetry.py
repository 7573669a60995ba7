"""Metrics: each is written down once, and what is written down is what is exposed."""

import re
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.model import DeadLetterCount, Ledger, Queue, QueueState, Usage
from gateway.spool.sqlite.metrics import SqliteMetrics
from gateway.telemetry import (
    GREATEST,
    LEAST,
    FleetTelemetry,
    ReadMetrics,
    Telemetry,
    metrics_of,
)


def table(*classes: type) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Return kind, labels and text of metrics by their names."""
    return {
        metric.name: (
            kind.__name__.removeprefix("Loop").removesuffix("MetricFamily").lower(),
            metric.labels,
            metric.text,
        )
        for each in classes
        for _, kind, metric in metrics_of(each)
    }


def _kind(kind: type) -> str:
    return kind.__name__.removeprefix("Loop").removesuffix("MetricFamily").lower()


def exposed(registry: CollectorRegistry) -> dict[str, tuple[str, str]]:
    """Return kind and text of metrics by their names."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            family.documentation,
        )
        for family in registry.collect()
    }


def watched(telemetry: Telemetry) -> Telemetry:
    telemetry.watch(
        ledger=lambda: {"mp": Ledger(accepted=3, delivered=1, pending=2)},
        queues=lambda: {Queue("mp", "import"): QueueState(pending=2, oldest_ms=1_000, chunks=1)},
        kept=lambda: {"mp": DeadLetterCount()},
        usage=lambda: Usage(used=1, capacity=2, disk_free=3, min_free=4),
        dropped_fields=lambda: {("mp", "price"): 5},
        lost_lines=lambda: 6,
        now_ms=lambda: 3_000,
    )
    return telemetry


def test_what_is_exposed_is_what_is_written_down() -> None:
    telemetry = watched(Telemetry())
    telemetry.of(SqliteMetrics)
    for registry, classes in (
        (telemetry.registry, (Telemetry, ReadMetrics, SqliteMetrics)),
        (FleetTelemetry(lambda: 0).registry, (FleetTelemetry,)),
    ):
        written = {name: (kind, text) for name, (kind, _, text) in table(*classes).items()}
        if classes == (FleetTelemetry,):
            written |= {
                name: (kind, text)
                for name, (kind, _, text) in table(ReadMetrics).items()
                if name == "gateway_log_lines_lost_total"
            }
        assert exposed(registry) == written


def test_no_name_stands_twice() -> None:
    names = [
        metric.name
        for each in (Telemetry, ReadMetrics, SqliteMetrics, FleetTelemetry)
        for _, _, metric in metrics_of(each)
    ]
    assert len(names) == len(set(names)) > 40
    assert all(re.fullmatch(r"gateway_[a-z_]+", name) for name in names)


def test_labels_are_those_that_are_written_down() -> None:
    telemetry = watched(Telemetry())
    written = table(Telemetry, ReadMetrics)
    for attribute, _, metric in metrics_of(Telemetry):
        made: Any = getattr(telemetry, attribute)
        child = made.labels(*("x" for _ in metric.labels)) if metric.labels else made
        assert made.labels is not None
        assert child is not None
    for family in telemetry.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(written[name][1]), name


def test_what_is_read_has_the_values_of_the_components() -> None:
    value = watched(Telemetry()).registry.get_sample_value
    place = {"destination": "mp", "endpoint": "import"}
    assert value("gateway_ledger_records", {"destination": "mp", "state": "accepted"}) == 3
    assert value("gateway_spool_pending_records", place) == 2
    assert value("gateway_spool_oldest_record_age_seconds", place) == 2
    assert value("gateway_spool_disk_free_bytes") == 3
    assert value("gateway_spool_min_free_bytes") == 4
    dropped = {"destination": "mp", "field": "price"}
    assert value("gateway_fields_dropped_total", dropped) == 5
    assert value("gateway_log_lines_lost_total") == 6


def test_child_of_a_metric_is_found_only_once() -> None:
    requests = Telemetry().requests
    assert requests.labels("segment", "200") is requests.labels("segment", "200")


def test_metrics_of_a_backend_are_made_once() -> None:
    telemetry = Telemetry()
    assert telemetry.of(SqliteMetrics) is telemetry.of(SqliteMetrics)
    telemetry.of(SqliteMetrics).salvages.inc()
    assert telemetry.registry.get_sample_value("gateway_spool_salvages_total") == 1


def test_gauges_of_several_processes_that_do_not_add_up_are_known() -> None:
    assert {
        "gateway_spool_oldest_record_age_seconds",
        "gateway_spool_min_free_bytes",
    } == GREATEST
    assert {
        "gateway_tls_certificate_expiry_timestamp_seconds",
        "gateway_spool_disk_free_bytes",
    } == LEAST
