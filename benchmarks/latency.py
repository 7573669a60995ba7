"""How long answers take at a given load: an open loop, timed from when each request was due."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import trial
from benchmarks.arena import Arena
from benchmarks.load.fleet import Load
from benchmarks.progress import Progress, Show
from benchmarks.trial import Figures

__all__ = ["Options", "Result", "Row", "run"]

_MAX_WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.

    :param batches: sizes, one after the other; None for those that SDKs send.
    :param seconds: of the open loop.
    :param rate: requests a second; None for a share of the peak.
    :param share: of the peak, which is measured first.
    :param peak_seconds: how long.
    """

    batches: Sequence[int | None]
    seconds: float
    rate: float | None
    share: float
    peak_seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of traffic.

    :param peak: requests a second in a closed loop; None when the rate was given.
    :param rate: requests a second that were due on average.
    """

    title: str
    batch: int | None
    peak: float | None
    rate: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Result:
    """All figures."""

    rows: Sequence[Row]


def run(arena: Arena, options: Options, show: Show) -> Result:
    """Measure the gateway.

    :raises Broken: it ended, answered wrongly, lost something, or could not keep up.
    """
    warm_up_s = min(_MAX_WARM_UP_S, options.seconds / 4)
    first_s = warm_up_s if options.rate else warm_up_s + options.peak_seconds
    progress = Progress(show, (first_s + options.seconds) * len(options.batches))
    with arena.gateway() as gateway:

        def once(batch: int | None, name: str, load: Load) -> trial.Trial:
            traffic = arena.traffic(batch)
            watch = progress.step(f"{traffic.title}: {name}", load.seconds)
            fleet = arena.fleet(traffic)
            return trial.run(gateway, fleet, load, sink=arena.sink_program, watch=watch)

        rows = []
        for batch in options.batches:
            once(batch, "warm-up", Load(seconds=warm_up_s, rate=options.rate))
            peak, rate = None, options.rate
            if rate is None:
                found = once(batch, "peak", Load(seconds=options.peak_seconds))
                peak = found.requests / found.settled_s
                rate = options.share * peak
            figures = Figures([once(batch, "latency", Load(seconds=options.seconds, rate=rate))])
            rows.append(Row(arena.traffic(batch).title, batch, peak, rate, figures))
    return Result(rows)
