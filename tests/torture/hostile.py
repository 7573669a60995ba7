"""Hostile clients beside good ones: what the good ones notice, and what it costs the gateway."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.processes import GatewayProcess
from tests.torture.traffic import traffic

__all__ = ["ATTACKS", "run"]

_NOWHERE = "http://127.0.0.1:9"
_MIB = 1024 * 1024
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
    seconds: float = 20.0,
    attacks: Sequence[str] = tuple(ATTACKS),
    rate: float = 200.0,
    most_times: float = 2.0,
    slack_s: float = 0.015,
    max_growth: int = 320 * _MIB,
) -> dict[str, Any]:
    """Run each attack beside good clients.

    :param connections: of those attacks that cost only patience; see ``ATTACKS`` for the others.
    :param seconds: of each.
    :param rate: requests per second of the good clients.
    :param most_times: by how much the latency of the good ones, at the 99th percentile, may grow.
    :param slack_s: what is no difference.
    :param max_growth: of resident memory, in bytes.
    """
    figures: dict[str, Any] = {}
    good = {"connections": 20, "rate": rate, "seconds": seconds}
    with tempfile.TemporaryDirectory() as directory:
        async with GatewayProcess(Path(directory), _NOWHERE) as gateway:
            await traffic("Closed", gateway.url, connections=20, seconds=1)
            before = gateway.running.memory()["VmHWM"]
            for name in attacks:
                attack = ATTACKS[name]
                number = max(2, int(connections * attack.share))
                ramp_s = 1 + number / 2500
                calm = await traffic("Open", gateway.url, **good)
                attacking = asyncio.create_task(
                    traffic(name, gateway.url, connections=number, seconds=seconds + ramp_s)
                )
                await asyncio.sleep(ramp_s)  # they are connected
                among = await traffic("Open", gateway.url, **good)
                attackers = await attacking
                # The machine may have had other things to do: the worse of before and after counts.
                after = await traffic("Open", gateway.url, **good)
                calm_p99_s = max(calm["p99_s"], after["p99_s"])
                figures[name] = found = {
                    "connections": number,
                    "calm_p99_s": calm_p99_s,
                    "p99_s": among["p99_s"],
                    "good": {k: among[k] for k in ("statuses", "broken", "unsent")},
                    "attackers": attackers,
                    "grown_mib": (gateway.running.memory()["VmHWM"] - before) // _MIB,
                }
                assert set(among["statuses"]) == {"200"}, (name, found)
                assert among["broken"] == 0, (name, found)
                assert among["p99_s"] <= most_times * calm_p99_s + slack_s, (name, found)
                assert set(attackers["statuses"]) <= attack.statuses, (name, found)
                if attack.longest_s:
                    assert attackers["longest_life_s"] <= attack.longest_s, (name, found)
                    assert seconds < attack.longest_s or attackers["thrown_out"], (name, found)
                if name == "Endless":
                    assert attackers["most_sent"] <= _LINGER_BYTES, (name, found)
                assert found["grown_mib"] * _MIB <= max_growth, (name, found)
            assert (await gateway.ledger())["gap"] == 0
    return figures
