"""Several processes of the load together, and what they saw."""

import itertools
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import msgspec

from benchmarks.load.client import Result, Task
from benchmarks.load.histogram import Histogram
from benchmarks.processes import ROOT, Broken, python

__all__ = ["Fleet", "Load", "Seen", "processes_for"]

_TICK_S = 0.1
_MAX_REQUESTS = 100_000_000

_RATE_OF_ONE = 10_000
"""Requests a second that an open loop has one process send, which could send three times as many.
Where there are few cores, a second one only takes turns with what is measured, and that counts as
latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is sent.

    :param rate: requests a second of an open loop; None for a closed one.
    :param max_requests: after which it ends, whatever the time.
    :param grace_s: time for the last answers.
    """

    seconds: float
    rate: float | None = None
    max_requests: int = _MAX_REQUESTS
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What all processes of a load saw.

    :param seconds: from the first request to the last answer.
    """

    results: Sequence[Result]

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        ended = max(result.ended for result in self.results)
        return max(1e-9, ended - min(result.began for result in self.results))

    @property
    def requests(self) -> int:
        """Answered as they should be."""
        return sum(result.requests for result in self.results)

    @property
    def events(self) -> int:
        """Of these requests."""
        return sum(result.events for result in self.results)

    @property
    def cpu_s(self) -> float:
        """CPU time of the load itself."""
        return sum(result.cpu_seconds for result in self.results)

    def statuses(self) -> Counter[int]:
        """Return how often each status was answered."""
        return sum((Counter(result.statuses) for result in self.results), Counter())

    def latencies(self) -> Histogram:
        """Return the times of all answers."""
        merged = Histogram()
        for result in self.results:
            merged.add(Histogram(result.latencies))
        return merged

    def check(self, name: str) -> None:
        """See whether every request was answered, and rightly.

        :param name: of who was asked, for messages.
        :raises Broken: one was not.
        """
        for result in self.results:
            if result.wrong:
                raise Broken(f"{name} gave a wrong answer:\n{result.wrong}")
        if unanswered := sum(each.unanswered + each.under_way for each in self.results):
            raise Broken(f"{name} left {unanswered} requests without an answer")
        if unsent := sum(result.unsent for result in self.results):
            raise Broken(
                f"{name} could not keep up: {unsent} requests were due and could not even be sent; "
                "choose a lower rate"
            )
        if not self.requests:
            raise Broken(f"{name} took no request: {dict(self.statuses())}")


def processes_for(rate: float | None, at_most: int) -> int:
    """Return how many processes send a load.

    :param rate: requests a second of an open loop; None for a closed one.
    """
    return at_most if rate is None else min(at_most, ceil(rate / _RATE_OF_ONE))


class Fleet:
    """Starts processes for each load.

    :param requests: a file of prepared requests.
    :param count: how many requests it holds.
    :param processes: of each load; an open loop has no more of them than its rate needs.
    :param connections: of all of them together.
    :param per_connection: requests on each, before another one takes its place; 0 for all.
    :param directory: for what they write.
    :param body: of an answer to a request that was taken.
    """

    def __init__(
        self,
        requests: Path,
        count: int,
        *,
        processes: int,
        connections: int,
        directory: Path,
        body: bytes,
        seed: int,
        per_connection: int = 0,
    ) -> None:
        self._requests = requests
        self._count = count
        self._processes = processes
        self._connections = max(connections, processes)
        self._per_connection = per_connection
        self._directory = directory
        self._body = body
        self._seeds = itertools.count(seed)

    def run(
        self,
        address: tuple[str, int],
        load: Load,
        *,
        ready: Callable[[], None] = lambda: None,
        watch: Callable[[], None] = lambda: None,
    ) -> Seen:
        """Send a load to an address and to no other.

        :param ready: called when all connections are open and nothing has been sent.
        :param watch: called again and again meanwhile; what it raises ends the load.
        :raises Broken: a process of the load failed.
        """
        count = processes_for(load.rate, self._processes)
        tasks = [self._task(address, load, number, count) for number in range(count)]
        with ExitStack() as stack:
            running = [stack.enter_context(_Sender(task)) for task in tasks]
            for sender in running:
                sender.wait_until_ready()
            ready()
            for sender in running:
                sender.go()
            while any(not sender.has_ended() for sender in running):
                watch()
                time.sleep(_TICK_S)
            return Seen([sender.result() for sender in running])

    def _task(self, address: tuple[str, int], load: Load, number: int, processes: int) -> Task:
        share, left = divmod(self._connections, processes)
        return Task(
            host=address[0],
            port=address[1],
            requests=str(self._requests),
            first=self._count * number // processes,
            result=str(self._directory / f"load-{number}.json"),
            connections=share + (number < left),
            per_connection=self._per_connection,
            seconds=load.seconds,
            rate=load.rate and load.rate / processes,
            max_requests=max(1, load.max_requests // processes),
            seed=next(self._seeds),
            body=self._body,
            grace_s=load.grace_s,
        )


class _Sender:
    """A process of the load; as a context, gone at the end."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._process = subprocess.Popen(  # noqa: S603 - a module of this package
            python("benchmarks.load", msgspec.json.encode(task).decode()),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if line != "ready\n":
            self._fail(line)

    def go(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def result(self) -> Result:
        if self._process.returncode:
            self._fail("")
        return msgspec.json.decode(Path(self._task.result).read_bytes(), type=Result)

    def _fail(self, printed: str) -> None:
        assert self._process.stdout is not None  # noqa: S101
        text = (printed + self._process.stdout.read()).strip() or "it printed nothing"
        raise Broken(f"a process of the load ended with {self._process.wait()}: {text}")
