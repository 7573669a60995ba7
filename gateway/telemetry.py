"""Every metric of the gateway; nobody else names one."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.model import DeadLetterCount, Ledger, Queue, QueueState, Usage

__all__ = ["GREATEST", "LEAST", "FleetTelemetry", "Telemetry"]

_OLDEST_AGE = "gateway_spool_oldest_record_age_seconds"
_CERTIFICATE_END = "gateway_tls_certificate_expiry_timestamp_seconds"

_DISK_FREE = "gateway_spool_disk_free_bytes"
_MIN_FREE = "gateway_spool_min_free_bytes"

GREATEST = frozenset({_OLDEST_AGE, _MIN_FREE})
LEAST = frozenset({_CERTIFICATE_END, _DISK_FREE})
"""Gauges of which several processes have the greatest or least; those of all others add up."""


class _State(Collector):
    """Metrics that are read from the components instead of being counted twice."""

    def __init__(
        self,
        ledger: Callable[[], Mapping[str, Ledger]],
        queues: Callable[[], Mapping[Queue, QueueState]],
        kept: Callable[[], Mapping[str, DeadLetterCount]],
        usage: Callable[[], Usage],
        dropped_fields: Callable[[], Mapping[tuple[str, str], int]],
        lost_lines: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._usage = usage
        self._kept = kept
        self._dropped_fields = dropped_fields
        self._lost_lines = lost_lines
        self._now_ms = now_ms

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        yield from self._ledger_metrics()
        yield from self._queue_metrics()
        yield from self._letter_metrics()
        yield from self._usage_metrics()
        dropped = CounterMetricFamily(
            "gateway_fields_dropped",
            "Values that could not be converted to their field's type; their events went on.",
            labels=("destination", "field"),
        )
        for (destination, field), count in self._dropped_fields().items():
            dropped.add_metric((destination, field), count)
        yield dropped
        yield _lines_lost(self._lost_lines())

    def _ledger_metrics(self) -> Iterable[Metric]:
        records = GaugeMetricFamily(
            "gateway_ledger_records",
            "Records by what became of them; accepted = delivered + dead_lettered + pending.",
            labels=("destination", "state"),
        )
        lost = CounterMetricFamily(
            "gateway_spool_lost_records",
            "Records that damage to the spool destroyed; they count as dead-lettered.",
            labels=("destination",),
        )
        gap = GaugeMetricFamily(
            "gateway_ledger_gap",
            "Records that vanished or appeared from nowhere; always 0.",
            labels=("destination",),
        )
        for destination, ledger in self._ledger().items():
            for state in ("accepted", "delivered", "dead_lettered", "pending"):
                records.add_metric((destination, state), getattr(ledger, state))
            gap.add_metric((destination,), ledger.gap)
            lost.add_metric((destination,), ledger.lost)
        yield records
        yield gap
        yield lost

    def _queue_metrics(self) -> Iterable[Metric]:
        pending = GaugeMetricFamily(
            "gateway_spool_pending_records",
            "Records waiting for delivery.",
            labels=("destination", "endpoint"),
        )
        age = GaugeMetricFamily(
            _OLDEST_AGE,
            "Age of the oldest record that waits for delivery; 0 when none does.",
            labels=("destination", "endpoint"),
        )
        now_ms = self._now_ms()
        for queue, state in self._queues().items():
            pending.add_metric(queue, state.pending)
            oldest = now_ms if state.oldest_ms is None else state.oldest_ms
            age.add_metric(queue, max(0, now_ms - oldest) / 1000)
        yield pending
        yield age

    def _usage_metrics(self) -> Iterable[Metric]:
        usage = self._usage()
        yield GaugeMetricFamily(
            "gateway_spool_used_bytes", "Room that the spool takes on disk.", usage.used
        )
        yield GaugeMetricFamily(
            "gateway_spool_capacity_bytes",
            "Room that the spool may take; see spool.max_bytes.",
            usage.capacity,
        )
        yield GaugeMetricFamily(
            _DISK_FREE, "Room that the disk of the spool has left.", usage.disk_free
        )
        yield GaugeMetricFamily(
            _MIN_FREE,
            "Room that the disk has to have left; see spool.min_free_bytes.",
            usage.min_free,
        )

    def _letter_metrics(self) -> Iterable[Metric]:
        letters = GaugeMetricFamily(
            "gateway_dead_letters",
            "Dead letters by what became of them; kept are those that are there now.",
            labels=("destination", "state"),
        )
        size = GaugeMetricFamily(
            "gateway_dead_letters_bytes",
            "Room that the kept dead letters take, as spool.dead_letter_max_bytes counts it.",
            labels=("destination",),
        )
        gap = GaugeMetricFamily(
            "gateway_dead_letters_gap",
            "Dead letters that the ledger counts and are not there, or the reverse; always 0.",
            labels=("destination",),
        )
        kept = self._kept()
        for destination, ledger in self._ledger().items():
            here = kept.get(destination)
            count, room = (here.letters, here.bytes) if here else (0, 0)
            letters.add_metric((destination, "kept"), count)
            for state in ("replayed", "purged", "dropped", "lost"):
                letters.add_metric((destination, state), getattr(ledger, state))
            size.add_metric((destination,), room)
            gap.add_metric((destination,), ledger.kept - count)
        yield letters
        yield size
        yield gap


def _lines_lost(number: int) -> Metric:
    return CounterMetricFamily(
        "gateway_log_lines_lost",
        "Lines of the log that nobody took: its disk is full, or its reader has gone or hangs.",
        value=number,
    )


class FleetTelemetry(Collector):
    """The counters of the process that watches over the others.

    :param lost_lines: how many lines of its log nobody took.
    """

    def __init__(self, lost_lines: Callable[[], int]) -> None:
        self._lost_lines = lost_lines
        self.registry = registry = CollectorRegistry()
        self.restarts = Counter(
            "gateway_worker_restarts_total",
            "Worker processes that took the place of others, by why those ended: reload, ended (by "
            "themselves, or somebody ended them), hung.",
            ("reason",),
            registry=registry,
        )
        self.reloads = Counter(
            "gateway_reloads_total",
            "Times that the configuration was to be read again, by whether it could be used.",
            ("outcome",),
            registry=registry,
        )
        self.silent = Gauge(
            "gateway_workers_silent",
            "Workers that run and do not answer; they are replaced after server.worker_timeout_s.",
            registry=registry,
        )
        for reason in ("reload", "ended", "hung"):
            self.restarts.labels(reason)
        for outcome in ("applied", "refused"):
            self.reloads.labels(outcome)
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics that are counted elsewhere."""
        yield _lines_lost(self._lost_lines())

    def render(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()


class Telemetry:
    """The counters of one process.

    Components get this object and touch its attributes.  Label values come from the configuration
    or from closed sets, never from what clients send.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "gateway_http_requests_total",
            "Requests answered, by route family and status.",
            ("family", "status"),
            registry=registry,
        )
        self.refusals = Counter(
            "gateway_refusals_total",
            "Requests and connections refused for want of room or time, by reason.",
            ("reason",),
            registry=registry,
        )
        self.rate_limited = Counter(
            "gateway_rate_limited_total",
            "Requests refused because a source, or Mixpanel's SDKs with the token of a "
            "destination, sent more than they may, by what was too much.",
            ("source", "destination", "limit"),
            registry=registry,
        )
        self.malformed = Counter(
            "gateway_http_malformed_total",
            "Requests that were refused because they are no HTTP or their head is too large, by "
            "reason.",
            ("reason",),
            registry=registry,
        )
        self.connections = Gauge(
            "gateway_connections", "Connections of clients.", registry=registry
        )
        self.tls_certificate_expiry = Gauge(
            _CERTIFICATE_END,
            "When the certificate in use ends to be valid, in seconds since the epoch.",
            ("file",),
            registry=registry,
        )
        self.tls_reloads = Counter(
            "gateway_tls_reloads_total",
            "Changes of the certificate's files, by whether what they held could be used.",
            ("outcome",),
            registry=registry,
        )
        self.bytes_in_flight = Gauge(
            "gateway_bytes_in_flight",
            "Bytes that requests hold until they are on disk; see server.max_bytes_in_flight.",
            registry=registry,
        )
        self.events_received = Counter(
            "gateway_events_received_total",
            "Events in accepted requests, by source.",
            ("source",),
            registry=registry,
        )
        self.events_skipped = Counter(
            "gateway_events_skipped_total",
            "Events that nothing was made of, by destination and reason.",
            ("destination", "reason"),
            registry=registry,
        )
        self.times_uncorrected = Counter(
            "gateway_times_uncorrected_total",
            "Events whose sentAt is more than a day from their receipt: they waited on the device, "
            "and their times are not corrected by it.",
            ("source",),
            registry=registry,
        )
        self.times_replaced = Counter(
            "gateway_times_replaced_total",
            "Events that got the time of their receipt because theirs could not be read "
            "(unreadable), or Mixpanel would refuse it (impossible).",
            ("source", "reason"),
            registry=registry,
        )
        self.numbers_nulled = Counter(
            "gateway_numbers_nulled_total",
            "Numbers that are none, as NaN and Infinity, which became null, by source.",
            ("source",),
            registry=registry,
        )
        self.events_filtered = Counter(
            "gateway_events_filtered_total",
            "Events that the options of their source keep away, by source and reason.",
            ("source", "reason"),
            registry=registry,
        )
        self.values_removed = Counter(
            "gateway_values_removed_total",
            "Values that the options of a source took out of its events, by source and reason.",
            ("source", "reason"),
            registry=registry,
        )
        self.events_rejected = Counter(
            "gateway_events_rejected_total",
            "Events kept as dead letters when they were received, by destination and reason.",
            ("destination", "reason"),
            registry=registry,
        )
        self.spool_commits = Counter(
            "gateway_spool_commits_total", "Transactions committed.", registry=registry
        )
        self.spool_commit_seconds = Histogram(
            "gateway_spool_commit_seconds",
            "Time of one commit, compression and fsync included.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.spool_failures = Counter(
            "gateway_spool_failures_total", "Commits that failed.", registry=registry
        )
        self.spool_damaged = Counter(
            "gateway_spool_damaged_chunks_total",
            "Chunks set aside because their checksum did not match.",
            registry=registry,
        )
        self.letters_damaged = Counter(
            "gateway_dead_letters_damaged_total",
            "Dead letters set aside because their checksum did not match.",
            registry=registry,
        )
        self.spool_salvages = Counter(
            "gateway_spool_salvages_total",
            "Attempts to make a new file of what a damaged one holds.",
            registry=registry,
        )
        self.delivery_requests = Counter(
            "gateway_delivery_requests_total",
            "Requests to a destination, by endpoint and outcome.",
            ("destination", "endpoint", "outcome"),
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "gateway_delivery_request_seconds",
            "Time of one request to a destination.",
            ("destination", "endpoint"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self.delivery_concurrency = Gauge(
            "gateway_delivery_concurrency",
            "Batches that may be under way to an endpoint at once; adapts to what it takes.",
            ("destination", "endpoint"),
            registry=registry,
        )
        self.delivery_state = Gauge(
            "gateway_delivery_state",
            "1 for the state of an endpoint: ok, retrying, or paused, which needs a person.",
            ("destination", "endpoint", "state"),
            registry=registry,
        )
        self.delivery_refused = Gauge(
            "gateway_delivery_refused_in_a_row",
            "Records that an endpoint refused since it accepted something.",
            ("destination", "endpoint"),
            registry=registry,
        )
        self.delivery_isolated = Gauge(
            "gateway_delivery_isolated_records",
            "Records that fail alone while others are accepted, and are tried apart from these.",
            ("destination", "endpoint"),
            registry=registry,
        )
        self.delivery_memory = Gauge(
            "gateway_delivery_memory_bytes",
            "Memory set aside for the batches that are under way; see delivery.max_memory_bytes.",
            registry=registry,
        )
        self.delivery_lag = Histogram(
            "gateway_delivery_lag_seconds",
            "Age of the oldest record of a batch when it was delivered.",
            ("destination", "endpoint"),
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
            registry=registry,
        )
        for metric in vars(self).values():
            if isinstance(metric, Counter | Gauge | Histogram):
                # Finding a child takes longer than counting with it.
                cached: Any = lru_cache(maxsize=None)(metric.labels)
                metric.labels = cached  # type: ignore[method-assign]

    def watch(
        self,
        *,
        ledger: Callable[[], Mapping[str, Ledger]],
        queues: Callable[[], Mapping[Queue, QueueState]],
        kept: Callable[[], Mapping[str, DeadLetterCount]],
        usage: Callable[[], Usage],
        dropped_fields: Callable[[], Mapping[tuple[str, str], int]],
        lost_lines: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        """Read these whenever the metrics are asked for."""
        self.registry.register(
            _State(ledger, queues, kept, usage, dropped_fields, lost_lines, now_ms)
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
