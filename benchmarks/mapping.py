"""The mapping benchmark: from the bytes of a body to the bytes of its records."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus
from benchmarks.answers import Answers, events_of, records_of, same, same_as_segment
from benchmarks.line import Fit, fit
from benchmarks.measure import Job, Settings, repetitions_of

__all__ = ["NOT_INSTALLED", "Case", "Line", "Options", "Result", "Row", "run"]

NOT_INSTALLED = "not installed: run make bench-peers"

_WORKER = (sys.executable, "-m", "benchmarks.worker")
_NODE_DRIVER = Path(__file__).parent / "peers/node/segment.mjs"
_BATCHES_OF = (1, 10, 100, 1000)
_EVENT_BYTES = (300, 1_000, 3_000, 10_000, 20_000)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to do the work, or a part of it.

    :param about: what is timed.
    :param answers: what its answers are: the events, or the records of them.
    :param check: makes a check of the answers from what they have to be.
    :param in_node: whether it runs in Node.
    """

    name: str
    about: str
    answers: str
    check: Callable[[Answers], Callable[[Sequence[bytes]], str]] = same
    in_node: bool = False


_GATEWAY = Case("gateway", "body to records", "records")
_CASES = (
    _GATEWAY,
    Case("decode", "its decoding alone", "events"),
    Case("msgspec", "msgspec to typed structs, no more", "events"),
    Case("python", "orjson and dicts, body to records", "records"),
    Case("segment", "Segment's engine, in batches", "records", same_as_segment, in_node=True),
    Case(
        "segment-single", "Segment's engine, one by one", "records", same_as_segment, in_node=True
    ),
)
_RATIOS = (
    ("gateway", "msgspec"),
    ("python", "gateway"),
    ("segment", "gateway"),
    ("segment-single", "gateway"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.

    :param rounds: how often each case gets a fresh process, in turn with all others.
    :param repetitions: in each of these processes.
    :param seconds: of CPU that a repetition takes at least, about.
    :param lines: whether to measure how the cost grows.
    """

    events: int
    seed: int
    rounds: int
    repetitions: int
    seconds: float
    lines: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A case and its job; none when the case is not installed."""

    case: Case
    job: Job | None


@dataclass(frozen=True, slots=True)
class Line:
    """The gateway's cost as something grows.

    :param title: what grows.
    :param each: one of what it has more and more of.
    :param points: how many of these, and the job that measures it.
    :param of_batch: whether the cost that grows with them is that of a batch, not of an event.
    """

    title: str
    each: str
    points: Sequence[tuple[float, Job]]
    of_batch: bool = False

    def fit(self) -> Fit:
        """Return the straight line through the costs, in microseconds."""
        xs = [x for x, _ in self.points]
        return fit(xs, [job.figure.median * (x if self.of_batch else 1) for x, job in self.points])


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of a run.

    :param event_bytes: size of an event on average.
    """

    rows: Sequence[Row]
    lines: Sequence[Line]
    event_bytes: float

    def ratios(self) -> dict[str, float]:
        """Return those for which both cases were measured, by name."""
        medians = {row.case.name: row.job.figure.median for row in self.rows if row.job}
        return {
            f"{over} / {under}": medians[over] / medians[under]
            for over, under in _RATIOS
            if over in medians and under in medians
        }


def run(options: Options, progress: Callable[[str, int, int], None]) -> Result:
    """Measure all cases.

    :param progress: gets what is being measured, and how much of how much is done.
    :raises CaseFailed: a case stopped, or gave wrong answers.
    """
    settings = Settings(received_ms=corpus.RECEIVED_MS)
    bodies = corpus.traffic(options.events, seed=options.seed)
    expected = {"events": events_of(bodies), "records": records_of(bodies, settings)}
    rows = [
        Row(case, _job(case.name, case, bodies, expected[case.answers]))
        if _is_installed(case)
        else Row(case, None)
        for case in _CASES
    ]
    lines: list[Line] = []
    if options.lines:
        lines = [_by_batch_size(options, settings), _by_event_size(options, settings)]
    jobs = [row.job for row in rows if row.job]
    jobs += [job for line in lines for _, job in line.points]
    _measure(jobs, options, settings, progress)
    return Result(rows, lines, sum(map(len, bodies)) / options.events)


def _is_installed(case: Case) -> bool:
    if not case.in_node:
        return True
    packages = _NODE_DRIVER.parent / "node_modules/.installed"  # written by make bench-peers
    return shutil.which("node") is not None and packages.exists()


def _job(name: str, case: Case, bodies: Sequence[bytes], expected: Answers) -> Job:
    return Job(
        name=name,
        command=("node", str(_NODE_DRIVER)) if case.in_node else _WORKER,
        case=case.name,
        bodies=bodies,
        events=len(events_of(bodies)),
        check=case.check(expected),
    )


def _by_batch_size(options: Options, settings: Settings) -> Line:
    traffic = corpus.traffic(max(options.events, _BATCHES_OF[-1]), seed=options.seed)
    points = []
    for size in _BATCHES_OF:
        bodies = corpus.batched(traffic, size)
        job = _job(f"batches of {size}", _GATEWAY, bodies, records_of(bodies, settings))
        points.append((float(size), job))
    return Line("batch size", "event of a batch", points, of_batch=True)


def _by_event_size(options: Options, settings: Settings) -> Line:
    points = []
    for event_bytes in _EVENT_BYTES:
        events = max(50, options.events * 500 // event_bytes)
        bodies = corpus.sized(events, event_bytes, seed=options.seed)
        job = _job(f"{event_bytes} bytes", _GATEWAY, bodies, records_of(bodies, settings))
        points.append((sum(map(len, bodies)) / events / 1000, job))
    return Line("event size", "kB of an event", points)


def _measure(
    jobs: Sequence[Job],
    options: Options,
    settings: Settings,
    progress: Callable[[str, int, int], None],
) -> None:
    total = len(jobs) * options.rounds * options.repetitions
    done = 0
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        for _ in range(options.rounds):
            for job in jobs:
                progress(job.name, done, total)
                for us in repetitions_of(
                    job,
                    settings,
                    repetitions=options.repetitions,
                    seconds=options.seconds,
                    directory=Path(directory),
                ):
                    job.figure.us.append(us)
                    done += 1
                    progress(job.name, done, total)
