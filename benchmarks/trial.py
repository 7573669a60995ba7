"""One load on one subject, and everything that is measured meanwhile."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.load.fleet import Fleet, Load
from benchmarks.load.histogram import Histogram
from benchmarks.processes import Program
from benchmarks.subjects.base import Facts, Subject

__all__ = ["PERCENTILES", "Figures", "Trial", "run"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one load showed.

    :param requests, events: taken.
    :param refused: requests answered 503.
    :param bytes: of the requests that were taken, as sent.
    :param seconds: from the first request to the last answer.
    :param settled_s: from the first request until everything was delivered.
    :param cpu_s: of the subject's whole process tree, from before the first request until
        everything was delivered.
    :param load_cpu_s: of the load's processes.
    :param sink_cpu_s: of the sink; None where it is not ours.
    :param latencies: of all answers.
    :param facts: what else the subject tells.
    """

    requests: int
    events: int
    refused: int
    bytes: int
    seconds: float
    settled_s: float
    cpu_s: float
    load_cpu_s: float
    sink_cpu_s: float | None
    latencies: Histogram
    facts: Facts


def run(
    subject: Subject,
    fleet: Fleet,
    load: Load,
    *,
    sink: Program | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Trial:
    """Put a load on a subject, wait until everything is delivered, and check all of it.

    :param sink: of which the CPU time is measured too.
    :param watch: called again and again during the load.
    :raises Broken: the subject ended, answered wrongly, or lost something.
    """
    subject.before()
    before = subject.program.usage().cpu_s
    sink_before = sink.usage().cpu_s if sink else 0.0

    def check() -> None:
        subject.program.check()
        if sink:
            sink.check()
        watch()

    seen = fleet.run(subject.address, load, watch=check)
    check()
    seen.check(subject.name)
    sink_cpu_s = sink.usage().cpu_s - sink_before if sink else None
    facts = subject.settle(seen.results)
    ended = time.monotonic()
    return Trial(
        requests=seen.requests,
        events=seen.events,
        refused=seen.statuses()[503],
        bytes=sum(result.bytes for result in seen.results),
        seconds=seen.seconds,
        settled_s=ended - min(result.began for result in seen.results),
        cpu_s=subject.program.usage().cpu_s - before,
        load_cpu_s=seen.cpu_s,
        sink_cpu_s=sink_cpu_s,
        latencies=seen.latencies(),
        facts=facts,
    )


@dataclass(slots=True)
class Figures:
    """What several trials of the same kind show; all but latencies are medians."""

    trials: list[Trial] = field(default_factory=list)

    @property
    def us_per_event(self) -> float:
        """CPU microseconds an event of the subject."""
        return self._median(lambda trial: trial.cpu_s / trial.events * 1e6)

    @property
    def us_per_request(self) -> float:
        """CPU microseconds a request of the subject."""
        return self._median(lambda trial: trial.cpu_s / trial.requests * 1e6)

    @property
    def load_us_per_request(self) -> float:
        """CPU microseconds a request of the load itself."""
        return self._median(lambda trial: trial.load_cpu_s / trial.requests * 1e6)

    @property
    def sink_us_per_event(self) -> float | None:
        """CPU microseconds an event of the sink; None where it is not ours."""
        shares = [t.sink_cpu_s / t.events * 1e6 for t in self.trials if t.sink_cpu_s is not None]
        return statistics.median(shares) if shares else None

    @property
    def events_per_s(self) -> float:
        """Events a second, until all were delivered."""
        return self._median(lambda trial: trial.events / trial.settled_s)

    @property
    def requests_per_s(self) -> float:
        """Requests a second, until the last answer."""
        return self._median(lambda trial: trial.requests / trial.seconds)

    @property
    def bytes_per_event(self) -> float:
        """Bytes an event, as sent."""
        return self._median(lambda trial: trial.bytes / trial.events)

    def latencies(self) -> Histogram:
        """Return the times of all answers of all trials."""
        merged = Histogram()
        for trial in self.trials:
            merged.add(trial.latencies)
        return merged

    def ms(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return self.latencies().percentile(percent) * 1e3

    def facts(self) -> Facts:
        """Return the medians of what else the subject told."""
        names = {name for trial in self.trials for name in trial.facts}
        return {
            name: statistics.median(
                trial.facts[name] for trial in self.trials if name in trial.facts
            )
            for name in sorted(names)
        }

    def as_json(self) -> dict[str, object]:
        """Return all figures by name."""
        return {
            "us_per_event": self.us_per_event,
            "us_per_request": self.us_per_request,
            "events_per_s": self.events_per_s,
            "requests_per_s": self.requests_per_s,
            "latency_ms": {f"p{percent:g}": self.ms(percent) for percent in PERCENTILES},
            "load_us_per_request": self.load_us_per_request,
            "sink_us_per_event": self.sink_us_per_event,
            "bytes_per_event": self.bytes_per_event,
            "requests": sum(trial.requests for trial in self.trials),
            "refused": sum(trial.refused for trial in self.trials),
            "rounds": {
                "us_per_event": [trial.cpu_s / trial.events * 1e6 for trial in self.trials],
                "events_per_s": [trial.events / trial.settled_s for trial in self.trials],
            },
            **self.facts(),
        }

    def _median(self, of: Callable[[Trial], float]) -> float:
        return statistics.median(map(of, self.trials))
