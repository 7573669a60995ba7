"""Every metric that all deployments have, and how others are made; nobody else names one.

A metric is written down once: its name, what it says, its labels.  docs/metrics.md comes from here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, cast, get_args, get_type_hints

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.model import DeadLetterCount, Ledger, Queue, QueueState, Usage

__all__ = [
    "GREATEST",
    "LEAST",
    "FleetTelemetry",
    "LoopCounter",
    "Metric",
    "Metrics",
    "ReadMetrics",
    "Telemetry",
    "metrics_of",
]

_M = TypeVar("_M", bound="Metrics")


class Metric(NamedTuple):
    """What a metric is; stands in the ``Annotated`` of the attribute that holds it.

    :param name: as it is exposed.
    :param text: what it says.
    :param labels: their values come from the configuration or from closed sets, never from what
        clients send.
    :param buckets: upper bounds, of a histogram.
    :param of_several: what becomes of the values of several processes: ``sum``, ``max`` or ``min``.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    of_several: Callable[..., Any] = sum


def metrics_of(table: type) -> Iterator[tuple[str, type, Metric]]:
    """Yield the metrics of a class: attribute, kind, and what it is."""
    for attribute, hint in get_type_hints(table, include_extras=True).items():
        kind, *said = get_args(hint) or (hint,)
        if said and isinstance(said[0], Metric):
            yield attribute, kind, said[0]


class _Count:
    """One series of a ``LoopCounter``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count so many more."""
        self.value += amount


class LoopCounter(Collector):
    """A counter for what comes with every request.

    It counts on the event loop alone, without the lock and checks of ``Counter``, which cost more
    than the rest of accepting an event does.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: dict[tuple[str, ...], _Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> _Count:
        """Return the series with these labels."""
        return self._counts.setdefault(values, _Count())

    def collect(self) -> Iterable[Family]:
        """Return the counts as they are now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family


class Metrics:
    """Metrics that components touch: an attribute for each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        for attribute, kind, metric in metrics_of(type(self)):
            more = {"buckets": metric.buckets} if metric.buckets else {}
            made = kind(metric.name, metric.text, metric.labels, registry=registry, **more)
            # Finding a child takes longer than counting with it.
            made.labels = lru_cache(maxsize=None)(made.labels)
            setattr(self, attribute, made)


class ReadMetrics:
    """Metrics that are read from the components instead of being counted twice."""

    ledger_records: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_ledger_records",
            "Records by what became of them; accepted = delivered + dead_lettered + pending.",
            labels=("destination", "state"),
        ),
    ]
    ledger_gap: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_ledger_gap",
            "Records that vanished or appeared from nowhere; always 0.",
            labels=("destination",),
        ),
    ]
    lost_records: Annotated[
        CounterMetricFamily,
        Metric(
            "gateway_spool_lost_records_total",
            "Records that damage to the spool destroyed; they count as dead-lettered.",
            labels=("destination",),
        ),
    ]
    pending_records: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_spool_pending_records",
            "Records waiting for delivery.",
            labels=("destination", "endpoint"),
        ),
    ]
    oldest_age: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_spool_oldest_record_age_seconds",
            "Age of the oldest record that waits for delivery; 0 when none does.",
            labels=("destination", "endpoint"),
            of_several=max,
        ),
    ]
    dead_letters: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_dead_letters",
            "Dead letters by what became of them; kept are those that are there now.",
            labels=("destination", "state"),
        ),
    ]
    dead_letters_bytes: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_dead_letters_bytes",
            "Room that the kept dead letters take, as spool.dead_letter_max_bytes counts it.",
            labels=("destination",),
        ),
    ]
    dead_letters_gap: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_dead_letters_gap",
            "Dead letters that the ledger counts and are not there, or the reverse; always 0.",
            labels=("destination",),
        ),
    ]
    used_bytes: Annotated[
        GaugeMetricFamily,
        Metric("gateway_spool_used_bytes", "Room that the spool takes on disk."),
    ]
    capacity_bytes: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_spool_capacity_bytes", "Room that the spool may take; see spool.max_bytes."
        ),
    ]
    disk_free_bytes: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_spool_disk_free_bytes",
            "Room that the disk of the spool has left.",
            of_several=min,
        ),
    ]
    min_free_bytes: Annotated[
        GaugeMetricFamily,
        Metric(
            "gateway_spool_min_free_bytes",
            "Room that the disk has to have left; see spool.min_free_bytes.",
            of_several=max,
        ),
    ]
    fields_dropped: Annotated[
        CounterMetricFamily,
        Metric(
            "gateway_fields_dropped_total",
            "Values that could not be converted to their field's type; their events went on.",
            labels=("destination", "field"),
        ),
    ]
    lines_lost: Annotated[
        CounterMetricFamily,
        Metric(
            "gateway_log_lines_lost_total",
            "Lines of the log that nobody took: its disk is full, or its reader has gone or hangs.",
        ),
    ]

    def __init__(self) -> None:
        for attribute, kind, metric in metrics_of(ReadMetrics):
            name = metric.name.removesuffix("_total")
            setattr(self, attribute, kind(name, metric.text, labels=metric.labels))

    def families(self) -> Iterator[Family]:
        """Yield all of them."""
        yield from vars(self).values()


class _State(Collector):
    """Reads the components whenever the metrics are asked for."""

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

    def collect(self) -> Iterable[Family]:
        """Return the metrics as they are now."""
        now = ReadMetrics()
        self._read_ledger(now)
        self._read_queues(now)
        self._read_letters(now)
        usage = self._usage()
        now.used_bytes.add_metric((), usage.used)
        now.capacity_bytes.add_metric((), usage.capacity)
        now.disk_free_bytes.add_metric((), usage.disk_free)
        now.min_free_bytes.add_metric((), usage.min_free)
        for place, count in self._dropped_fields().items():
            now.fields_dropped.add_metric(place, count)
        now.lines_lost.add_metric((), self._lost_lines())
        return now.families()

    def _read_ledger(self, now: ReadMetrics) -> None:
        for destination, ledger in self._ledger().items():
            for state in ("accepted", "delivered", "dead_lettered", "pending"):
                now.ledger_records.add_metric((destination, state), getattr(ledger, state))
            now.ledger_gap.add_metric((destination,), ledger.gap)
            now.lost_records.add_metric((destination,), ledger.lost)

    def _read_queues(self, now: ReadMetrics) -> None:
        now_ms = self._now_ms()
        for queue, state in self._queues().items():
            now.pending_records.add_metric(queue, state.pending)
            oldest = now_ms if state.oldest_ms is None else state.oldest_ms
            now.oldest_age.add_metric(queue, max(0, now_ms - oldest) / 1000)

    def _read_letters(self, now: ReadMetrics) -> None:
        kept = self._kept()
        for destination, ledger in self._ledger().items():
            here = kept.get(destination)
            count, room = (here.letters, here.bytes) if here else (0, 0)
            now.dead_letters.add_metric((destination, "kept"), count)
            for state in ("replayed", "purged", "dropped", "lost"):
                now.dead_letters.add_metric((destination, state), getattr(ledger, state))
            now.dead_letters_bytes.add_metric((destination,), room)
            now.dead_letters_gap.add_metric((destination,), ledger.kept - count)


class FleetTelemetry(Metrics, Collector):
    """The counters of the process that watches over the others.

    :param lost_lines: how many lines of its log nobody took.
    """

    restarts: Annotated[
        Counter,
        Metric(
            "gateway_worker_restarts_total",
            "Worker processes that took the place of others, by why those ended: reload, "
            "ended (by themselves, or somebody ended them), hung.",
            labels=("reason",),
        ),
    ]
    reloads: Annotated[
        Counter,
        Metric(
            "gateway_reloads_total",
            "Times that the configuration was to be read again, by whether it could be used.",
            labels=("outcome",),
        ),
    ]
    silent: Annotated[
        Gauge,
        Metric(
            "gateway_workers_silent",
            "Workers that run and do not answer; they are replaced after server.worker_timeout_s.",
        ),
    ]

    def __init__(self, lost_lines: Callable[[], int]) -> None:
        self._lost_lines = lost_lines
        self.registry = CollectorRegistry()
        super().__init__(self.registry)
        for reason in ("reload", "ended", "hung"):
            self.restarts.labels(reason)
        for outcome in ("applied", "refused"):
            self.reloads.labels(outcome)
        self.registry.register(self)

    def collect(self) -> Iterable[Family]:
        """Return the metrics that are counted elsewhere."""
        now = ReadMetrics()
        now.lines_lost.add_metric((), self._lost_lines())
        yield now.lines_lost

    def render(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode()


class Telemetry(Metrics):
    """The counters of one process: components get this object and touch its attributes."""

    requests: Annotated[
        LoopCounter,
        Metric(
            "gateway_http_requests_total",
            "Requests answered, by route family and status.",
            labels=("family", "status"),
        ),
    ]
    refusals: Annotated[
        Counter,
        Metric(
            "gateway_refusals_total",
            "Requests and connections refused for want of room or time, by reason.",
            labels=("reason",),
        ),
    ]
    rate_limited: Annotated[
        Counter,
        Metric(
            "gateway_rate_limited_total",
            "Requests refused because a source, or Mixpanel's SDKs with the token of a "
            "destination, sent more than they may, by what was too much.",
            labels=("source", "destination", "limit"),
        ),
    ]
    malformed: Annotated[
        Counter,
        Metric(
            "gateway_http_malformed_total",
            "Requests that were refused because they are no HTTP or their head is too "
            "large, by reason.",
            labels=("reason",),
        ),
    ]
    connections: Annotated[Gauge, Metric("gateway_connections", "Connections of clients.")]
    tls_certificate_expiry: Annotated[
        Gauge,
        Metric(
            "gateway_tls_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends to be valid, in seconds since the epoch.",
            labels=("file",),
            of_several=min,
        ),
    ]
    tls_reloads: Annotated[
        Counter,
        Metric(
            "gateway_tls_reloads_total",
            "Changes of the certificate's files, by whether what they held could be used.",
            labels=("outcome",),
        ),
    ]
    bytes_in_flight: Annotated[
        Gauge,
        Metric(
            "gateway_bytes_in_flight",
            "Bytes that requests hold until they are on disk; see server.max_bytes_in_flight.",
        ),
    ]
    events_received: Annotated[
        LoopCounter,
        Metric(
            "gateway_events_received_total",
            "Events in accepted requests, by source.",
            labels=("source",),
        ),
    ]
    events_skipped: Annotated[
        Counter,
        Metric(
            "gateway_events_skipped_total",
            "Events that nothing was made of, by destination and reason.",
            labels=("destination", "reason"),
        ),
    ]
    times_uncorrected: Annotated[
        Counter,
        Metric(
            "gateway_times_uncorrected_total",
            "Events whose sentAt is more than a day from their receipt: they waited on the "
            "device, and their times are not corrected by it.",
            labels=("source",),
        ),
    ]
    times_replaced: Annotated[
        Counter,
        Metric(
            "gateway_times_replaced_total",
            "Events that got the time of their receipt because theirs could not be read "
            "(unreadable), or Mixpanel would refuse it (impossible).",
            labels=("source", "reason"),
        ),
    ]
    numbers_nulled: Annotated[
        Counter,
        Metric(
            "gateway_numbers_nulled_total",
            "Numbers that are none, as NaN and Infinity, which became null, by source.",
            labels=("source",),
        ),
    ]
    events_filtered: Annotated[
        Counter,
        Metric(
            "gateway_events_filtered_total",
            "Events that the options of their source keep away, by source and reason.",
            labels=("source", "reason"),
        ),
    ]
    values_removed: Annotated[
        Counter,
        Metric(
            "gateway_values_removed_total",
            "Values that the options of a source took out of its events, by source and reason.",
            labels=("source", "reason"),
        ),
    ]
    events_rejected: Annotated[
        Counter,
        Metric(
            "gateway_events_rejected_total",
            "Events kept as dead letters when they were received, by destination and reason.",
            labels=("destination", "reason"),
        ),
    ]
    spool_commits: Annotated[
        Counter, Metric("gateway_spool_commits_total", "Transactions committed.")
    ]
    spool_commit_seconds: Annotated[
        Histogram,
        Metric(
            "gateway_spool_commit_seconds",
            "Time of one commit, compression and fsync included.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
        ),
    ]
    spool_failures: Annotated[
        Counter, Metric("gateway_spool_failures_total", "Commits that failed.")
    ]
    delivery_requests: Annotated[
        Counter,
        Metric(
            "gateway_delivery_requests_total",
            "Requests to a destination, by endpoint and outcome.",
            labels=("destination", "endpoint", "outcome"),
        ),
    ]
    delivery_seconds: Annotated[
        Histogram,
        Metric(
            "gateway_delivery_request_seconds",
            "Time of one request to a destination.",
            labels=("destination", "endpoint"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        ),
    ]
    delivery_concurrency: Annotated[
        Gauge,
        Metric(
            "gateway_delivery_concurrency",
            "Batches that may be under way to an endpoint at once; adapts to what it takes.",
            labels=("destination", "endpoint"),
        ),
    ]
    delivery_state: Annotated[
        Gauge,
        Metric(
            "gateway_delivery_state",
            "1 for the state of an endpoint: ok, retrying, or paused, which needs a person.",
            labels=("destination", "endpoint", "state"),
        ),
    ]
    delivery_refused: Annotated[
        Gauge,
        Metric(
            "gateway_delivery_refused_in_a_row",
            "Records that an endpoint refused since it accepted something.",
            labels=("destination", "endpoint"),
        ),
    ]
    delivery_isolated: Annotated[
        Gauge,
        Metric(
            "gateway_delivery_isolated_records",
            "Records that fail alone while others are accepted, and are tried apart from these.",
            labels=("destination", "endpoint"),
        ),
    ]
    delivery_memory: Annotated[
        Gauge,
        Metric(
            "gateway_delivery_memory_bytes",
            "Memory set aside for the batches that are under way; see delivery.max_memory_bytes.",
        ),
    ]
    delivery_lag: Annotated[
        Histogram,
        Metric(
            "gateway_delivery_lag_seconds",
            "Age of the oldest record of a batch when it was delivered.",
            labels=("destination", "endpoint"),
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
        ),
    ]

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._added: dict[type[Metrics], Metrics] = {}
        super().__init__(self.registry)

    def of(self, table: type[_M]) -> _M:
        """Return metrics that only some deployments have, as those of one kind of spool."""
        if table not in self._added:
            self._added[table] = table(self.registry)
        return cast(_M, self._added[table])

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


def _names(tables: Sequence[type], how: Callable[..., Any]) -> frozenset[str]:
    return frozenset(
        metric.name
        for table in tables
        for _, _, metric in metrics_of(table)
        if metric.of_several is how
    )


GREATEST = _names((ReadMetrics, Telemetry, FleetTelemetry), max)
LEAST = _names((ReadMetrics, Telemetry, FleetTelemetry), min)
"""Gauges of which several processes have the greatest or least; those of all others add up."""
