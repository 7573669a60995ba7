"""Histories of a spool with power cuts, as a program: it needs the library of ``faultfs.c``.

    python -m tests.support.power_machine HISTORIES SEED [MUTANT]

prints what happened as JSON, or the smallest history that breaks a promise.
"""

import errno
import json
import logging
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal, NamedTuple

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from gateway.clock import SystemClock
from gateway.spool import room
from gateway.spool.base import DeadLetter, Entry, Queue, Settlement
from gateway.spool.dead_letters import Limits
from gateway.spool.letter_reader import LetterReader
from gateway.spool.reader import Reader
from gateway.spool.work import Append, SetAside, Totals
from gateway.spool.writer import Writer
from gateway.telemetry import Telemetry
from tests.support.disk_model import Disk, Image, Mode
from tests.support.faultfs import Control, Operation, Trace
from tests.support.spool_model import State, Work, contents, observe

QUEUES = (Queue("one", "import"), Queue("one", "engage"), Queue("two", "import"))
EVERYTHING = 1 << 40
TELEMETRY = Telemetry()
CLOCK = SystemClock()

FIGURES: Counter[str] = Counter()


class Cut(NamedTuple):
    """An end after a share of what an action did: of the power, or only of the process.

    :param mode: what the disk made of it; None when the machine runs on.
    """

    share: float
    mode: Mode | None
    seed: int


class Wish(NamedTuple):
    """Work to do, as far as what waits allows it."""

    kind: Literal["append", "letter", "deliver", "keep", "refuse", "set aside"]
    queue: Queue
    number: int


class Failure(NamedTuple):
    """Calls to the file system that fail during an action."""

    operation: Operation
    error: int
    skip: int
    times: int
    suffix: str
    shortened: bool


CUTS = st.builds(
    Cut,
    share=st.just(1.0) | st.floats(0, 1),
    mode=st.sampled_from([None, None, "synced", "all", "in order", "any", "any"]),
    seed=st.integers(0, 1 << 30),
)
WISHES = st.builds(
    Wish,
    kind=st.sampled_from(
        ["append", "append", "append", "letter", "deliver", "keep", "refuse", "set aside"]
    ),
    queue=st.sampled_from(QUEUES),
    number=st.integers(1, 3),
)
FAILURES = st.builds(
    Failure,
    operation=st.sampled_from(
        [*[Operation.SYNC] * 4, Operation.WRITE, Operation.TRUNCATE, Operation.OPEN]
    ),
    error=st.sampled_from([errno.EIO, errno.ENOSPC]),
    skip=st.sampled_from([0, 0, 0, 1, 2, 5]),
    times=st.sampled_from([1, 1, 2, 5, -1]),
    suffix=st.sampled_from(["-wal", "-wal", ".db", ""]),
    shortened=st.booleans(),
)


class Connection(sqlite3.Connection):
    """Checkpoints after few pages, so that short histories have checkpoints too."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA wal_autocheckpoint"):
            sql = "PRAGMA wal_autocheckpoint = 16"
        return super().execute(sql, parameters)


class Unsynced(Connection):
    """The mutant that acknowledges what the disk may not have."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            sql = "PRAGMA synchronous = OFF"
        return super().execute(sql, parameters)


class Early(Connection):
    """The mutant that acknowledges before the commit, which comes with the next statement."""

    late = False

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if self.late:
            self.late = False
            super().execute("COMMIT")
        if sql == "COMMIT":
            self.late = True
            return super().execute("SELECT 1")
        return super().execute(sql, parameters)


MUTANTS: dict[str, type[Connection]] = {"": Connection, "unsynced": Unsynced, "early": Early}


class Machine(RuleBasedStateMachine):
    """One spool, through many lives."""

    connection: ClassVar[type[Connection]] = Connection
    root: ClassVar[Path]
    trace: ClassVar[Trace]
    control: ClassVar[Control]

    def __init__(self) -> None:
        super().__init__()
        self.possible = [State()]  # what may be on the disk, by what was acknowledged
        self.serial = 0
        self.totals = Totals()
        self.booted = False
        self.directory = self.root / "none"
        self.writer: Writer | None = None
        self.reader: Reader | None = None
        self.letters: LetterReader | None = None
        FIGURES["histories"] += 1

    def teardown(self) -> None:
        self._leave()

    @initialize(cut=st.none() | CUTS)
    def begin(self, cut: Cut | None) -> None:
        self._boot({})
        self._open(cut)

    # What a spool is for

    @rule(
        wishes=st.lists(WISHES, max_size=4),
        large=st.booleans(),
        cut=st.none() | CUTS,
        failure=st.none() | FAILURES,
    )
    def commit(
        self, wishes: Sequence[Wish], large: bool, cut: Cut | None, failure: Failure | None
    ) -> None:
        assert self.writer
        found = self._observe()
        names = {chunk_id: lines for chunk_id, (_, lines) in found.items()}
        works = []
        for wish in wishes:
            work = self._work(wish, found, large)
            works += [work] if work else []
        if failure:
            self.control.set(**failure._asdict())
        outcome = self.writer.commit(works)
        self.control.clear()
        FIGURES["commits"] += 1
        # What was refused may be there all the same, as far as all of it is.
        kept = [work for i, work in enumerate(works) if i not in outcome.refused]
        before = self.possible
        whole = [each for state in before if (each := state.apply(works, names))]
        self.possible = [each for state in before if (each := state.apply(kept, names))]
        assert self.possible
        if outcome.refused or outcome.problem:
            FIGURES["failed commits"] += 1
            assert failure, outcome
            self.possible = _distinct([*self.possible, *whole])
        if outcome.totals is None:
            self.totals.apply(outcome.changes)
        else:
            self.totals = outcome.totals
        self._end_of_action(cut, [*before, *self.possible, *whole])

    @rule(cut=st.none() | CUTS, again=st.none() | CUTS)
    def close_and_open(self, cut: Cut | None, again: Cut | None) -> None:
        assert self.writer
        self._leave_readers()
        self.writer.close()
        self.writer = None
        if not self._end_of_action(cut, self.possible):
            self._open(again)

    @rule()
    def drop_reader(self) -> None:
        """Without another connection, the writer's last one writes the log into the file."""
        self._leave_readers()
        self.disk.follow(self.trace.take())

    # Lives

    def _boot(self, image: Image) -> None:
        """Start a machine with what is on its disk; nothing is open yet."""
        self.trace.stop()
        self._leave()
        FIGURES["boots"] += 1
        self.directory = self.root / f"spool-{FIGURES['boots']}"
        names = {str(self.directory / Path(name).name): data for name, data in image.items()}
        self._write(names)
        self.disk = Disk(names)
        self.booted = True
        self.trace.start()

    def _open(self, cut: Cut | None = None) -> None:
        path = self.directory / "worker-0.db"
        self.writer = Writer(
            path,
            _connect(self.connection),
            clock=CLOCK,
            telemetry=TELEMETRY,
            max_bytes=EVERYTHING,
            min_free_bytes=0,
            letter_limits=Limits(),
        )
        self.totals = self.writer.open()
        if not self._end_of_action(cut, self.possible):
            self._observe()

    def _leave_readers(self) -> None:
        for reader in (self.reader, self.letters):
            if reader:
                reader.disconnect()
        self.reader = self.letters = None

    def _leave(self) -> None:
        """Close everything on a disk that nobody looks at any more."""
        self.trace.stop()
        self.control.clear()
        self._leave_readers()
        if self.writer:
            self.writer.close()
        self.writer = None
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def _end_of_action(self, cut: Cut | None, possible: Sequence[State]) -> bool:
        """Let the disk follow; cut the power within the action when told to.

        :param possible: what may be on the disk while the action is not complete.
        """
        steps = self.trace.take()
        until = len(steps) if cut is None else round(cut.share * len(steps))
        self.disk.follow(steps[:until])
        if cut is None:
            return False
        if until < len(steps):
            self.possible = _distinct(possible)
        if cut.mode is None:
            FIGURES["kills"] += 1
            self._leave()
            self._write(self.disk.kill())
            self.trace.start()
        else:
            FIGURES["power cuts"] += 1
            self._boot(self.disk.crash(cut.mode, Random(cut.seed)))
        self._open()
        return True

    def _write(self, image: Image) -> None:
        self.directory.mkdir()
        for name, content in image.items():
            Path(name).write_bytes(content)

    def _observe(self) -> dict[int, tuple[Queue, bytes]]:
        """Compare the spool with what may be there; return its chunks by their ids."""
        assert self.writer
        if self.reader is None or self.letters is None:
            path, connect = self.directory / "worker-0.db", _connect(self.connection)
            self.reader, self.letters = Reader(path, connect), LetterReader(path, connect)
        state = observe(self.reader, self.letters, self.totals, QUEUES)
        assert state in self.possible, "\n".join(
            ["found:", str(state), "possible:", *map(str, self.possible)]
        )
        if self.booted:  # what was found after a power cut is on the disk
            self.possible, self.booted = [state], False
        found = contents(self.reader, QUEUES)
        self.disk.follow(self.trace.take())
        return found

    def _work(
        self, wish: Wish, waiting: dict[int, tuple[Queue, bytes]], large: bool
    ) -> Work | None:
        """Return what a wish comes to; a chunk that it ends waits no more."""
        kind, queue, number = wish
        if kind == "append":
            return Append([Entry(queue, self._lines(number, large), number)], [])
        if kind == "letter":
            self.serial += 1
            return Append([], [_letter(queue, b"event %d" % self.serial)])
        ids = [chunk_id for chunk_id, (its, _) in waiting.items() if its == queue]
        if not ids:
            return None
        chunk_id = ids[number % len(ids)]
        _, lines = waiting.pop(chunk_id)
        if kind == "set aside":
            return SetAside(queue, chunk_id, "checksum")
        first, rest = lines.splitlines(keepends=True)[0], lines.splitlines(keepends=True)[1:]
        remaining = Entry(queue, b"".join(rest), len(rest)) if rest and kind == "keep" else None
        return Settlement(
            queue=queue,
            chunk_ids=(chunk_id,),
            delivered=(0 if remaining else len(rest)) + (kind != "refuse"),
            dead=[_letter(queue, first[:-1])] if kind == "refuse" else [],
            remaining=remaining,
        )

    def _lines(self, records: int, large: bool) -> bytes:
        rng = Random(self.serial)
        lines = b""
        for _ in range(records):
            self.serial += 1
            filler = rng.randbytes(5000).hex() if large else ""
            lines += b'{"n":%d,"filler":"%s"}\n' % (self.serial, filler.encode())
        return lines


def _letter(queue: Queue, payload: bytes) -> DeadLetter:
    return DeadLetter(queue=queue, kind="record", reason="refused", detail="why", payload=payload)


def _connect(kind: type[sqlite3.Connection]) -> Callable[[Path], sqlite3.Connection]:
    return lambda path: sqlite3.connect(path, timeout=5.0, isolation_level=None, factory=kind)


def _distinct(states: Sequence[State]) -> list[State]:
    return [state for i, state in enumerate(states) if state not in states[:i]]


def main(histories: int, chosen: int, mutant: str) -> None:
    """Play histories; print what happened."""
    logging.disable()
    room.KEPT_FREE_PAGES = 4  # so that short histories give pages back too
    Machine.connection = MUTANTS[mutant]
    Machine.root = Path(os.environ["FAULTFS_PREFIX"])
    Machine.trace = Trace()
    Machine.control = Control(Path(os.environ["FAULTFS_CONTROL"]), new=False)
    run_state_machine_as_test(
        seed(chosen)(Machine),
        settings=settings(
            max_examples=histories,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(json.dumps(FIGURES))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
