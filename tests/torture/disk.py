"""A disk that fails under load: told at once, healed by itself, nothing lost.

A real gateway runs on a file system that fails as told (``tests/support/faultfs.c``), between a
client that knows what was acknowledged and a sandbox that knows what arrived.
"""

import asyncio
import errno
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gateway.sandbox import Sandbox
from gateway.spool.sqlite.spool import MAX_WAIT_S
from tests.support.faultfs import Control, Operation, build, environment, real
from tests.support.oracle_client import Answer, Client
from tests.support.oracle_judge import judge, records_of
from tests.support.processes import TOKEN, GatewayProcess, Running, wait_for

__all__ = ["FAULTS", "run"]

SETTLING_S = 0.1
"""A request that is sent this long after a fault began has to meet it."""


class Fault(NamedTuple):
    """What goes wrong.

    :param rules: arguments of ``Control.set``.
    :param refuses: whether nothing can be stored while it lasts.
    :param waits_s: how long the gateway may take to notice it; those who wait are not answered
        before.
    """

    rules: Sequence[tuple[Operation, dict[str, Any]]] = ()
    refuses: bool = True
    waits_s: float = 0.0


def _all_fail(error: int, *operations: Operation, **options: Any) -> Fault:
    return Fault([(operation, {"error": error, **options}) for operation in operations])


FAULTS = {
    "no space left": _all_fail(errno.ENOSPC, Operation.WRITE),
    "over quota": _all_fail(errno.EDQUOT, Operation.WRITE),
    "writes fail": _all_fail(errno.EIO, Operation.WRITE),
    "fsync fails": _all_fail(errno.EIO, Operation.SYNC),
    "fsync fails once": Fault([(Operation.SYNC, {"error": errno.EIO, "times": 1})], refuses=False),
    "fsync hangs": Fault([(Operation.SYNC, {"delay_s": 60.0})], waits_s=MAX_WAIT_S),
    "read-only": _all_fail(
        errno.EROFS,
        *(Operation.WRITE, Operation.OPEN, Operation.TRUNCATE),
        *(Operation.UNLINK, Operation.RENAME, Operation.MKDIR),
    ),
    "nearly full": Fault([(Operation.STATVFS, {"shortened": True})]),
    "no statistics": _all_fail(errno.EIO, Operation.STATVFS),
    "everything fails": _all_fail(errno.EIO, *Operation),
    "the file cannot be written": _all_fail(errno.EIO, Operation.WRITE, suffix=".db")._replace(
        refuses=False
    ),
    "reads fail": _all_fail(errno.EIO, Operation.READ)._replace(refuses=False),
    "no file handles": Fault(
        [
            (Operation.OPEN, {"error": errno.EMFILE}),
            (Operation.WRITE, {"error": errno.EIO, "times": 1, "suffix": "-wal"}),
        ]
    ),
    "short writes": Fault([(Operation.WRITE, {"shortened": True})], refuses=False),
    "renamed away": Fault(),
    "removed": Fault(),  # the cure is an empty directory; the records come from open files
}


async def run(
    directory: Path,
    *,
    faults: Sequence[str] = tuple(FAULTS),
    fault_s: float = 2.0,
    answer_s: float = 1.0,
    recovery_s: float = 5.0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """Switch faults on and off, one after the other; return figures.

    :param faults: names in ``FAULTS``.
    :param fault_s: how long each lasts.
    :param answer_s: time in which every request has to be answered meanwhile.
    :param recovery_s: time after the cure in which one has to be accepted.
    :raises AssertionError: a promise is broken.
    """
    sandbox = Sandbox(token=TOKEN, keep=1_000_000)
    await sandbox.start()
    spool = real(directory) / "spool"
    figures: dict[str, float] = {}
    slowest = healed = 0.0
    try:
        with Control(directory / "control") as control:
            env = environment(build(directory), prefix=spool, control=control.path)
            async with GatewayProcess(directory, sandbox.url, env=env) as gateway:
                async with Client(gateway.url) as client:
                    for name in faults:
                        await wait_for(partial(client.has_answers, client.answered + 20))
                        progress(name)
                        seen = await _suffer(
                            *(name, client, control, spool),
                            fault_s=fault_s,
                            answer_s=answer_s,
                            recovery_s=recovery_s,
                        )
                        seen.assert_answered(answer_s)
                        slowest, healed = max(slowest, seen.noticed), max(healed, seen.recovery)
                        figures[f"{name}: refused"] = seen.refused
                    await _assert_owned(gateway)
                assert_balanced(await gateway.drained(), client)
                await gateway.kill()  # what is in files without names is gone now
                await gateway.restart()
                assert_balanced(await gateway.drained(), client)
    finally:
        await sandbox.stop()
    verdict = judge(sandbox.store.records(), acknowledged=client.acknowledged, sent=client.sent)
    verdict.assert_nothing_lost()
    return {
        **figures,
        "acknowledged records": records_of(client.acknowledged).total(),
        "missing": len(verdict.missing),
        "slowest answer, s": round(slowest, 2),
        "slowest recovery, s": round(healed, 2),
    }


class _Seen(NamedTuple):
    """What clients saw of a fault."""

    name: str
    answers: Sequence[Answer]
    during: Sequence[Answer]
    recovery: float

    @property
    def noticed(self) -> float:
        """Return the slowest answer, beyond what the gateway may take to notice."""
        return max(answer.seconds for answer in self.answers) - FAULTS[self.name].waits_s

    @property
    def refused(self) -> int:
        return sum(answer.status == 503 for answer in self.answers)

    def assert_answered(self, answer_s: float) -> None:
        """Fail unless every request was answered in time, and truly."""
        assert self.during, f"{self.name}: nobody was answered"
        answer_s += FAULTS[self.name].waits_s
        late = [answer for answer in self.answers if answer.seconds > answer_s]
        assert not late, f"{self.name}: {len(late)} of {len(self.answers)} late: {late[:3]}"
        vague = [a for a in self.answers if a.status == 503 and not (a.retry_after or "").isdigit()]
        assert not vague, f"{self.name}: without Retry-After: {vague[:3]}"
        if FAULTS[self.name].refuses:
            taken = [answer for answer in self.during if answer.status != 503]
            assert not taken, f"{self.name}: not refused: {taken[:3]}"


async def _suffer(
    name: str,
    client: Client,
    control: Control,
    spool: Path,
    *,
    fault_s: float,
    answer_s: float,
    recovery_s: float,
) -> _Seen:
    """Let a fault come and go under load."""
    loop = asyncio.get_running_loop()
    before, began = len(client.answers), loop.time()
    for operation, options in FAULTS[name].rules:
        control.set(operation, **options)
    _move(name, spool)
    if FAULTS[name].waits_s:
        fault_s = FAULTS[name].waits_s + answer_s + 1
    await asyncio.sleep(fault_s)
    ended = loop.time()
    waiting = client.waiting()
    control.clear()
    _move_back(name, spool)
    cured, answered = loop.time(), client.answered
    await wait_for(partial(client.has_answers, answered + 1), recovery_s)
    recovery = loop.time() - cured
    for operation, _ in FAULTS[name].rules[:1]:
        assert control.hits(operation), f"{name}: no {operation.name} under way"
    late = [ended - sent for sent in waiting]
    answers = client.answers[before:]
    answers += [Answer(ended - each, each, 0, None) for each in late]
    during = [a for a in answers if began + SETTLING_S < a.sent and a.sent + a.seconds < ended]
    return _Seen(name, answers, during, recovery)


def _move(name: str, spool: Path) -> None:
    away = spool.with_name("away")
    if name == "renamed away":
        spool.rename(away)
    elif name == "removed":
        shutil.rmtree(spool.rename(away))  # in one step: somebody makes files in it meanwhile


def _move_back(name: str, spool: Path) -> None:
    if name == "renamed away":
        spool.with_name("away").rename(spool)
    elif name == "removed":
        spool.mkdir(mode=0o700)


async def _assert_owned(gateway: GatewayProcess) -> None:
    """Fail unless a second process is refused, and says why."""
    config = gateway.directory / "second.toml"
    lines = gateway.config().read_text().splitlines()
    config.write_text("\n".join("port = 0" if x.startswith("port = ") else x for x in lines))
    async with Running(
        *("run", "--config", str(config)), log=gateway.directory / "second.log"
    ) as second:
        assert await second.ended() != 0
        assert "in use" in second.output(), second.output()


def assert_balanced(ledger: dict[str, int], client: Client) -> None:
    """Fail unless nothing vanished, and all that was acknowledged is in the ledger."""
    assert ledger["gap"] == 0, ledger
    assert ledger["dead_lettered"] == 0, ledger
    assert ledger["accepted"] >= records_of(client.acknowledged).total(), ledger
