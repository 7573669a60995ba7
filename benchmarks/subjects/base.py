"""What all subjects have in common, and how their pages are read."""

import http.client
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from benchmarks.load.client import Result
from benchmarks.processes import Broken, Program, python, until
from benchmarks.sink import Stats

__all__ = ["Facts", "OwnSink", "Subject", "get", "new_sink"]

SETTLE_S = 60.0
"""How long everything may take to arrive after the last answer."""

_TIMEOUT_S = 10.0

Facts = dict[str, float]
"""Further figures of a run, by name."""


def get(url: str) -> bytes:
    """Return a page.

    :raises Broken: it could not be had.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"{url} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise Broken(f"{url} answers {response.status}: {body[:200].decode(errors='replace')}")
    return body


class OwnSink:
    """The sink of these benchmarks, which counts; see ``benchmarks.sink``."""

    def __init__(self, program: Program, url: str) -> None:
        self.program = program
        self.url = url

    def stats(self) -> Stats:
        """Return what it has got so far.

        :raises Broken: it ended, or got what it cannot read.
        """
        self.program.check()
        stats = msgspec.json.decode(get(f"{self.url}/stats"), type=Stats)
        if stats.unreadable:
            raise Broken(f"the sink got {stats.unreadable} requests without records in them")
        return stats


def new_sink(stack: ExitStack, directory: Path) -> OwnSink:
    """Start a sink that ends with the stack."""
    log = directory / "sink.log"
    program = stack.enter_context(Program("the sink", python("benchmarks.sink"), log=log))
    return OwnSink(program, program.wait_for(r"(http://\S+)")[1])


class Subject(ABC):
    """Something that takes events over HTTP.

    Use it as a context: at its end its processes are gone.

    :cvar name: in tables and files.
    :cvar about: what it does.
    """

    name: str
    about: str
    program: Program

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start(self._stack)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @classmethod
    def missing(cls) -> str:
        """Return how to install what it needs; "" when that is there."""
        return ""

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Start its processes."""

    @property
    @abstractmethod
    def address(self) -> tuple[str, int]:
        """Where it takes events."""

    @abstractmethod
    def before(self) -> None:
        """Take note of its counters before a load."""

    @abstractmethod
    def settle(self, results: Sequence[Result]) -> Facts:
        """Wait until all that came from a load has been delivered; return further figures.

        :raises Broken: something of it is missing.
        """


class Delivering(Subject):
    """A subject that delivers the records of its events to our sink, and knows no counters.

    :param sink: where it delivers.
    """

    def __init__(self, sink: OwnSink) -> None:
        super().__init__()
        self.sink = sink
        self._url = ""
        self._before = Stats()

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes events."""
        return address_of(self._url)

    def before(self) -> None:
        """Take note of what the sink has."""
        self._before = self.sink.stats()

    def settle(self, results: Sequence[Result]) -> Facts:
        """Wait until the sink has all records."""
        wanted = self.wanted(results)

        def arrived() -> int | None:
            self.program.check()
            got = self.got(self._before, self.sink.stats())
            return got if got >= wanted else None

        got = until(arrived, SETTLE_S)
        if got != wanted:
            got = self.got(self._before, self.sink.stats()) if got is None else got
            raise Broken(f"{self.name}: {wanted} records should be in the sink, which has {got}")
        return {}

    def wanted(self, results: Sequence[Result]) -> int:
        """Return how much should arrive."""
        return sum(result.records for result in results)

    def got(self, before: Stats, after: Stats) -> int:
        """Return how much did."""
        return after.records - before.records


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise Broken(f"no host and port in {url!r}")
    return parts.hostname, parts.port


def read_json(url: str) -> Any:
    """Return the JSON of a page."""
    return json.loads(get(url))
