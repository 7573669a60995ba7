"""As much as a subject takes, in a closed loop: the gateway beside its peers, round by round."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import trial
from benchmarks.arena import Arena
from benchmarks.load.fleet import Load
from benchmarks.progress import Progress, Show
from benchmarks.subjects.base import Subject
from benchmarks.trial import Figures

__all__ = ["Options", "Result", "Row", "Section", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.

    :param batches: sizes, one after the other; None for those that SDKs send.
    :param seconds: of each round.
    :param rounds: of each subject, in turn with the others.
    :param peers: names of those to compare with.
    :param delivers: whether the gateway delivers.
    """

    batches: Sequence[int | None]
    seconds: float
    rounds: int
    peers: Sequence[str]
    delivers: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A subject and its figures."""

    name: str
    about: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Section:
    """All subjects under one kind of traffic; the gateway is the first."""

    title: str
    batch: int | None
    rows: Sequence[Row]

    @property
    def gateway(self) -> Figures:
        """The gateway's figures."""
        return self.rows[0].figures

    def ratios(self) -> dict[str, dict[str, float]]:
        """Return each peer's figures as multiples of the gateway's, by name."""
        ours = self.gateway
        return {
            row.name: {
                "cpu_per_event": row.figures.us_per_event / ours.us_per_event,
                "events_per_s": row.figures.events_per_s / ours.events_per_s,
                "requests_per_s": row.figures.requests_per_s / ours.requests_per_s,
                "p99": row.figures.ms(99) / ours.ms(99),
            }
            for row in self.rows[1:]
        }


@dataclass(frozen=True, slots=True)
class Result:
    """All figures.

    :param missing: how to install peers that are left out, by name.
    """

    sections: Sequence[Section] = ()
    missing: dict[str, str] = field(default_factory=dict)


def run(arena: Arena, options: Options, show: Show) -> Result:
    """Measure all subjects under all kinds of traffic.

    :raises Broken: one of them ended, answered wrongly, or lost something.
    """
    peers, missing = arena.peers(options.peers)
    subjects: list[Subject] = [arena.gateway(delivers=options.delivers), *peers]
    warm_up_s = options.seconds / 2
    each_s = warm_up_s + options.seconds * options.rounds
    progress = Progress(show, each_s * len(subjects) * len(options.batches))
    with ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(subject)
        sections = [
            _section(arena, batch, subjects, options, warm_up_s, progress)
            for batch in options.batches
        ]
    return Result(sections, missing)


def _section(
    arena: Arena,
    batch: int | None,
    subjects: Sequence[Subject],
    options: Options,
    warm_up_s: float,
    progress: Progress,
) -> Section:
    traffic = arena.traffic(batch)
    fleet = arena.fleet(traffic)
    section = Section(traffic.title, batch, [Row(s.name, s.about, Figures()) for s in subjects])

    def once(subject: Subject, seconds: float) -> trial.Trial:
        watch = progress.step(f"{traffic.title}: {subject.name}", seconds)
        load = Load(seconds=seconds)
        return trial.run(subject, fleet, load, sink=arena.sink_program, watch=watch)

    for subject in subjects:
        once(subject, warm_up_s)
    for _ in range(options.rounds):
        for subject, row in zip(subjects, section.rows, strict=True):
            row.figures.trials.append(once(subject, options.seconds))
    return section
