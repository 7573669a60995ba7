"""Hostile clients beside good ones: what the good ones notice, and what it costs the gateway."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.support import loop_turns
from tests.support.loop_turns import FILE, read, wait_of
from tests.support.processes import GatewayProcess
from tests.torture import Figures
from tests.torture.traffic import port_of, traffic

__all__ = ["ATTACKS", "run"]

_NOWHERE = "http://127.0.0.1:9"
_MIB = 1024 * 1024
_QUIET_S = 0.01
"""On a machine that has nothing else to do, 99 of 100 requests are answered in this time."""

_TURNS = 3
"""Of the event loop that a request waits for: to be read, to be handled, to be answered.  Any of
them may be a long one."""

_REST_S = 2.0
_LINGER_BYTES = 16 * _MIB
"""What a refused client can send at most: nearly all of it stays in the system's buffers."""


class Attack(NamedTuple):
    """What an attack may achieve.

    :param share: of the connections given, for those that cost work and not only patience.
    :param statuses: the only answers to it.
    :param longest_s: how long a connection of it may live; 0 where it may stay.
    """

    share: float
    statuses: frozenset[str]
    longest_s: float


def _attack(share: float, statuses: str, longest_s: float) -> Attack:
    return Attack(share, frozenset(statuses.split()), longest_s)


ATTACKS = {
    "Silent": _attack(1, "503", 16),
    "SlowHead": _attack(1, "503", 16),
    "SlowBody": _attack(1, "503", 16),
    "SlowChunks": _attack(1, "503", 16),
    "LongHeads": _attack(1, "503 400", 16),
    "HeaderFlood": _attack(0.002, "400", 5),
    "Lengths": _attack(0.002, "400", 5),
    "Endless": _attack(0.002, "401", 5),
    "Bombs": _attack(0.0004, "400", 5),
    "Deep": _attack(0.002, "400", 0),
    "Unread": _attack(0.002, "200 503", 0),
}


async def run(
    *,
    connections: int = 10_000,
    seconds: float = 12.0,
    rounds: int = 3,
    attacks: Sequence[str] = tuple(ATTACKS),
    rate: float = 200.0,
    most_times: float = 2.0,
    slack_s: float = 0.002,
    max_growth: int = 320 * _MIB,
) -> Figures:
    """Run each attack on one gateway, beside another one that nobody attacks.

    Good clients send to both in turns.  What the attackers, or anybody else, take of the machine
    strikes both gateways alike; only what is slower at the attacked one is the gateway's doing.
    On a machine that is busy with other things even that is not: who computes more waits longer
    for a processor.  Then only what the attacked gateway itself computes before a request counts.

    :param connections: of those attacks that cost only patience; see ``ATTACKS`` for the others.
    :param seconds: of each attack that costs only patience, while good clients are measured; half
        of it of the others.
    :param rounds: how often calm and attack alternate; the medians of all count.
    :param rate: requests per second of the good clients.
    :param most_times: by how much the latency of the good ones, at the 99th percentile, may grow.
    :param slack_s: what is no difference.
    :param max_growth: of resident memory, in bytes.
    """
    figures: Figures = {}
    async with _gateway() as attacked, _gateway() as spared:
        good = {"connections": 20, "rate": rate, "other_port": port_of(spared.url)}
        await traffic("Turns", attacked.url, seconds=1, **good)  # warm-up
        before = attacked.running.memory()["VmHWM"]
        for name in attacks:
            number = max(2, int(connections * ATTACKS[name].share))
            length_s = seconds if ATTACKS[name].share == 1 else seconds / 2
            seen = [await _round(name, attacked, number, length_s, good) for _ in range(rounds)]
            calm_s, among_s, beside_s, work_s = (median(each) for each in zip(*seen, strict=True))
            grown = attacked.running.memory()["VmHWM"] - before
            figures[f"{name} x {number}: p99 ms, calm / attacked / spared"] = " / ".join(
                f"{1000 * each:.1f}" for each in (calm_s, among_s, beside_s)
            )
            figures[f"{name}: p99 of work before a request, ms"] = round(1000 * work_s, 2)
            figures[f"{name}: memory grown by MiB"] = grown // _MIB
            is_quiet = max(calm_s, beside_s) <= _QUIET_S
            more_s = among_s - max(calm_s, beside_s) if is_quiet else work_s
            assert more_s <= (most_times - 1) * max(calm_s, beside_s) + slack_s, figures
            assert grown <= max_growth, figures
        for gateway in (attacked, spared):
            assert (await gateway.ledger())["gap"] == 0
    return figures


class _Seen(NamedTuple):
    """Latencies of good clients at the 99th percentile, and what is part of it.

    :param work_s: what the attacked gateway computed before it looked at a request.
    """

    calm_s: float
    among_s: float
    beside_s: float
    work_s: float


async def _round(
    name: str, attacked: GatewayProcess, number: int, seconds: float, good: Mapping[str, Any]
) -> _Seen:
    attack = ATTACKS[name]
    calm = await traffic("Turns", attacked.url, seconds=seconds / 2, **good)
    ramp_s = 1 + number / 2500
    attacking = asyncio.create_task(
        # They are there before the good ones come, and until those are gone.
        traffic(name, attacked.url, connections=number, seconds=ramp_s + seconds + _REST_S)
    )
    await asyncio.sleep(ramp_s)
    begin = time.monotonic()
    among, beside = await traffic("Turns", attacked.url, seconds=seconds, **good)
    end = time.monotonic()
    attackers = await attacking
    turns = read(attacked.directory / FILE, begin, end)
    assert turns, "no work was recorded"
    work_s = wait_of(turns, end - begin, share=0.01 / _TURNS)
    found = (name, among, attackers)
    assert set(among["statuses"]) == {"200"}, found
    assert among["broken"] == 0, found
    assert set(attackers["statuses"]) <= attack.statuses, found
    if attack.longest_s:
        assert attackers["longest_life_s"] <= attack.longest_s, found
        assert ramp_s + seconds < attack.longest_s or attackers["thrown_out"], found
    if name == "Endless":
        assert attackers["most_sent"] <= _LINGER_BYTES, found
    calm_s = max(each["p99_s"] for each in calm)
    return _Seen(calm_s, among["p99_s"], beside["p99_s"], work_s)


@asynccontextmanager
async def _gateway() -> AsyncIterator[GatewayProcess]:
    with tempfile.TemporaryDirectory() as directory:
        env = {FILE: str(Path(directory) / FILE)}
        program = Path(loop_turns.__file__)
        async with GatewayProcess(Path(directory), _NOWHERE, program=program, env=env) as gateway:
            yield gateway
