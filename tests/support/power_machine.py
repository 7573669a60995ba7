"""Histories of a spool with power cuts, as a program: it needs the library of ``faultfs.c``.

    python -m tests.support.power_machine HISTORIES SEED [MUTANT]

prints what happened as JSON, or the smallest history that breaks a promise.
"""

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
from typing import ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from gateway.clock import SystemClock
from gateway.spool.dead_letters import LetterLimits
from gateway.spool.sqlite import space
from gateway.spool.sqlite.chunk_reader import ChunkReader
from gateway.spool.sqlite.commands import Purge, Replay, Totals
from gateway.spool.sqlite.dead_letters.reader import LetterReader
from gateway.spool.sqlite.writer import Writer
from gateway.telemetry import Telemetry
from tests.support.disk_model import Disk, Image
from tests.support.faultfs import Control, Trace
from tests.support.power_moves import CUTS, FAILURES, QUEUES, WISHES, Cut, Failure, Wish, Worker
from tests.support.power_mutants import MUTANTS, Connection
from tests.support.spool_model import Seen, State, observe

EVERYTHING = 1 << 40
TELEMETRY = Telemetry()
CLOCK = SystemClock()

FIGURES: Counter[str] = Counter()


class Machine(RuleBasedStateMachine):
    """One spool, through many lives."""

    connection: ClassVar[type[Connection]] = Connection
    root: ClassVar[Path]
    trace: ClassVar[Trace]
    control: ClassVar[Control]

    def __init__(self) -> None:
        super().__init__()
        self.possible = [State()]  # what may be on the disk, by what was acknowledged
        self.worker = Worker()
        self.totals = Totals()
        self.booted = False
        self.directory = self.root / "none"
        self.writer: Writer | None = None
        self.reader: ChunkReader | None = None
        self.letters: LetterReader | None = None
        FIGURES["histories"] += 1

    def teardown(self) -> None:
        self._leave()

    @initialize(cut=st.none() | CUTS)
    def begin(self, cut: Cut | None) -> None:
        self._boot({})
        self._open(cut)

    # What a spool is for

    @rule(wishes=st.lists(WISHES, max_size=4))
    def commit(self, wishes: Sequence[Wish]) -> None:
        self._commit(wishes)

    @rule(
        wishes=st.lists(WISHES, max_size=4),
        large=st.booleans(),
        cut=st.none() | CUTS,
        failure=st.none() | FAILURES,
    )
    def commit_in_trouble(
        self, wishes: Sequence[Wish], large: bool, cut: Cut | None, failure: Failure | None
    ) -> None:
        self._commit(wishes, large=large, cut=cut, failure=failure)

    def _commit(
        self,
        wishes: Sequence[Wish],
        *,
        large: bool = False,
        cut: Cut | None = None,
        failure: Failure | None = None,
    ) -> None:
        assert self.writer
        seen = self._observe()
        works = self.worker.works(wishes, seen, large=large)
        FIGURES["replays"] += sum(isinstance(work, Replay) for work in works)
        FIGURES["purges"] += sum(isinstance(work, Purge) for work in works)
        if failure:
            self.control.set(**failure._asdict())
        outcome = self.writer.commit(works)
        self.control.clear()
        FIGURES["commits"] += 1
        # What was refused may be there all the same, as far as all of it is.
        kept = [work for i, work in enumerate(works) if i not in outcome.refused]
        before = self.possible
        whole = [each for state in before if (each := state.apply(works, seen))]
        self.possible = [each for state in before if (each := state.apply(kept, seen))]
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

    @rule(closes=st.booleans(), cut=st.none() | CUTS, again=st.none() | CUTS)
    def leave(self, closes: bool, cut: Cut | None, again: Cut | None) -> None:
        """Close the spool, or only its readers.

        Without another connection, the writer's last one writes the log into the file.
        """
        assert self.writer
        self._leave_readers()
        if not closes:
            self.disk.follow(self.trace.take())
            return
        self.writer.close()
        self.writer = None
        if not self._end_of_action(cut, self.possible):
            self._open(again)

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
            letter_limits=LetterLimits(),
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

    def _observe(self) -> Seen:
        """Return what is in the spool, which may be there."""
        assert self.writer
        if self.reader is None or self.letters is None:
            path, connect = self.directory / "worker-0.db", _connect(self.connection)
            self.reader, self.letters = ChunkReader(path, connect), LetterReader(path, connect)
        seen = observe(self.reader, self.letters, self.totals, QUEUES)
        assert seen.state in self.possible, "\n".join(
            ["found:", str(seen.state), "possible:", *map(str, self.possible)]
        )
        if self.booted:  # what was found after a power cut is on the disk
            self.possible, self.booted = [seen.state], False
        self.disk.follow(self.trace.take())
        return seen


def _connect(kind: type[sqlite3.Connection]) -> Callable[[Path], sqlite3.Connection]:
    return lambda path: sqlite3.connect(path, timeout=5.0, isolation_level=None, factory=kind)


def _distinct(states: Sequence[State]) -> list[State]:
    return [state for i, state in enumerate(states) if state not in states[:i]]


def main(histories: int, chosen: int, mutant: str) -> None:
    """Play histories; print what happened."""
    logging.disable()
    space.KEPT_FREE_PAGES = 4  # so that short histories give pages back too
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
            # Of a mutant only that it is found matters, not how shortly that can be told.
            phases=[Phase.generate] if mutant else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(json.dumps(FIGURES))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
