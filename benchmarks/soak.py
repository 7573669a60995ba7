"""A long load: whether memory, descriptors and the ledger stay as they should."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import trial
from benchmarks.arena import Arena
from benchmarks.line import fit
from benchmarks.load.fleet import Load
from benchmarks.processes import total
from benchmarks.progress import Progress, Show
from benchmarks.subjects.gateway import Gateway
from benchmarks.trial import Figures

__all__ = ["Options", "Result", "Sample", "run"]

_MAX_WARM_UP_S = 2.0
_SAMPLES = 300
_LEAST_STEP_S = 0.5
_SETTLES = 0.25  # the share of the time before which memory may still grow


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.

    :param batch: size; None for those that SDKs send.
    :param share: of the peak, which is measured first.
    :param peak_seconds: how long.
    """

    batch: int | None
    seconds: float
    share: float
    peak_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The gateway at one moment.

    :param at_s: since the load began.
    :param largest_bytes: of memory that one of its processes has.
    :param cpu_s: used so far.
    """

    at_s: float
    resident_bytes: int
    largest_bytes: int
    descriptors: int
    cpu_s: float
    accepted: int
    delivered: int
    pending: int
    gap: int


@dataclass(frozen=True, slots=True)
class Result:
    """What the load showed.

    :param peak, rate: requests a second: measured, and due on average.
    :param samples: in order of time, during the load.
    :param end: when everything was delivered.
    """

    title: str
    peak: float
    rate: float
    figures: Figures
    samples: Sequence[Sample]
    end: Sample

    def settled(self) -> Sequence[Sample]:
        """Return the samples after the warm-up; all of them where these were too few."""
        until = self.samples[-1].at_s * _SETTLES
        late = [sample for sample in self.samples if sample.at_s >= until]
        return late if len(late) > 1 else self.samples

    def growth(self) -> float:
        """Return by how many bytes a minute the memory grew after the warm-up."""
        samples = self.settled()
        minutes = [sample.at_s / 60 for sample in samples]
        return fit(minutes, [sample.resident_bytes for sample in samples]).slope

    def descriptor_growth(self) -> int:
        """Return by how many the open descriptors grew after the warm-up."""
        samples = self.settled()
        return samples[-1].descriptors - samples[0].descriptors


def run(arena: Arena, options: Options, show: Show) -> Result:
    """Put a load on the gateway and look at it now and then.

    :raises Broken: it ended, answered wrongly, lost something, or could not keep up.
    """
    traffic = arena.traffic(options.batch)
    fleet = arena.fleet(traffic)
    warm_up_s = min(_MAX_WARM_UP_S, options.seconds / 4)
    progress = Progress(show, warm_up_s + options.peak_seconds + options.seconds)
    with arena.gateway() as gateway:

        def once(name: str, load: Load, also: Callable[[], None] = lambda: None) -> trial.Trial:
            bar = progress.step(name, load.seconds)

            def watch() -> None:
                bar()
                also()

            return trial.run(gateway, fleet, load, sink=arena.sink_program, watch=watch)

        once("warm-up", Load(seconds=warm_up_s))
        found = once("peak", Load(seconds=options.peak_seconds))
        peak = found.requests / found.settled_s
        rate = options.share * peak
        camera = _Camera(gateway, max(_LEAST_STEP_S, options.seconds / _SAMPLES))
        last = once("soak", Load(seconds=options.seconds, rate=rate), camera.look)
        end = camera.take()
    return Result(traffic.title, peak, rate, Figures([last]), camera.samples, end)


class _Camera:
    """Looks at the gateway at regular times."""

    def __init__(self, gateway: Gateway, step_s: float) -> None:
        self._gateway = gateway
        self._step_s = step_s
        self._began = self._due = 0.0
        self.samples: list[Sample] = []

    def look(self) -> None:
        """Take a sample when one is due."""
        if time.monotonic() >= self._due:
            self.samples.append(self.take())
            self._due = time.monotonic() + self._step_s

    def take(self) -> Sample:
        """Return how the gateway is now."""
        self._began = self._began or time.monotonic()
        usages = self._gateway.program.usages()
        usage = total(usages)
        ledger = self._gateway.ledger()
        return Sample(
            at_s=time.monotonic() - self._began,
            resident_bytes=usage.resident_bytes,
            largest_bytes=max(each.resident_bytes for each in usages.values()),
            descriptors=usage.descriptors,
            cpu_s=usage.cpu_s,
            accepted=ledger["accepted"],
            delivered=ledger["delivered"],
            pending=ledger["pending"],
            gap=ledger["gap"],
        )
