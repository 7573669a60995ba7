"""Measuring one way to do something: in a process of its own, checked first, then timed.

The process gets a ``Task`` as its last argument.  It writes its answers for the whole corpus, says
``ready``, waits until they have been found right, and then prints the CPU microseconds an event of
one repetition after the other.
"""

import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

__all__ = ["CaseFailed", "Figure", "Job", "Settings", "Task", "repetitions_of"]


class CaseFailed(Exception):
    """A case could not be measured."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What all ways to map events are told."""

    token: str = "0123456789abcdef" * 2
    source_name: str = "Nordwind app"
    client_ip: str = "203.0.113.7"
    received_ms: int


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is asked to do.

    :param case: which of the ways the program knows.
    :param corpus: a file of bodies, one a line.
    :param answers: the file to write JSON texts to, one a line.
    :param events: in the corpus.
    :param seconds: of CPU that a repetition takes at least, about.
    """

    case: str
    corpus: str
    answers: str
    events: int
    repetitions: int
    seconds: float
    settings: Settings


@dataclass(slots=True)
class Figure:
    """CPU microseconds an event, of every repetition."""

    us: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.us)

    @property
    def best(self) -> float:
        """The least one."""
        return min(self.us)


@dataclass(frozen=True, slots=True)
class Job:
    """A case on a corpus.

    :param command: the program; its last argument is added when it is run.
    :param check: gets the answers; returns what is wrong with them, or "".
    :param figure: where what was measured is kept.
    """

    name: str
    command: Sequence[str]
    case: str
    bodies: Sequence[bytes]
    events: int
    check: Callable[[Sequence[bytes]], str]
    figure: Figure = field(default_factory=Figure)


def repetitions_of(
    job: Job, settings: Settings, *, repetitions: int, seconds: float, directory: Path
) -> Iterator[float]:
    """Run a job in a fresh process and yield CPU microseconds an event.

    :raises CaseFailed: the process failed, or its answers are wrong.
    """
    corpus, answers = directory / "corpus", directory / "answers"
    corpus.write_bytes(b"\n".join(job.bodies))
    task = Task(
        case=job.case,
        corpus=str(corpus),
        answers=str(answers),
        events=job.events,
        repetitions=repetitions,
        seconds=seconds,
        settings=settings,
    )
    argument = msgspec.json.encode(task).decode()
    with (
        (directory / "errors").open("w+") as errors,
        subprocess.Popen(  # noqa: S603 - a program of this directory
            [*job.command, argument],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            if process.stdout.readline() == "ready\n":
                problem = job.check(answers.read_bytes().splitlines())
                if problem:
                    raise CaseFailed(f"{job.name}: wrong answers: {problem}")
                process.stdin.write("go\n")
                process.stdin.flush()
                yield from map(float, process.stdout)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            errors.seek(0)
            raise CaseFailed(f"{job.name}: {errors.read().strip() or process.returncode}")
