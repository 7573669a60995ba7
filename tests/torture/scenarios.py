"""The table of scenarios: what each promises, and how large it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["SCENARIOS", "Scenario"]


class Scenario(NamedTuple):
    """A module with ``async def run(directory, ..., **sizes)``, which returns its figures.

    It raises AssertionError when the promise is broken.  It may also take ``seed``, and
    ``progress``, which is called with a line of text from time to time.
    """

    module: str
    promise: str
    small: Mapping[str, Any]
    full: Mapping[str, Any]


SCENARIOS: Mapping[str, Scenario] = {
    "kills": Scenario(
        "tests.torture.kills",
        "killed at any moment: nothing acknowledged is missing, invented or damaged",
        {"kills": 8},
        {"kills": 200},
    ),
    "drain": Scenario(
        "tests.torture.drain",
        "restarted under load: nothing acknowledged is missing, each stop ends well and soon",
        {"restarts": 5},
        {"restarts": 100},
    ),
    "outage": Scenario(
        "tests.torture.outage",
        "Mixpanel away: memory below 300 MB, ingest as fast as before, the backlog drains",
        {"backlog": 40_000, "events_per_s": 1500.0, "phase_s": 1.5},
        {"backlog": 3_000_000},
    ),
    "isolation": Scenario(
        "tests.torture.isolation",
        "one project of ten in trouble: the other nine and ingest do not notice",
        {"projects": 4, "events_per_s": 200.0, "phase_s": 1.5},
        {"projects": 10},
    ),
    "poison": Scenario(
        "tests.torture.poison",
        "one client of twenty sends only what Mixpanel refuses: the others do not notice",
        {"seconds": 10.0},
        {"seconds": 600.0},
    ),
    "order": Scenario(
        "tests.torture.order",
        "faults of every kind: the updates of each profile arrive in their order",
        {"profiles": 10, "updates": 10, "lives": 2},
        {"seeds": 100},
    ),
    "overload": Scenario(
        "tests.torture.overload",
        "ten times the load: goodput stays, every refusal says when to come back",
        {
            "connections": 16,
            "seconds": 1.5,
            "rounds": 1,
            "loads": ("events", "batches, little room"),
            "least_share": 0.3,
        },
        {},
    ),
    "hostile": Scenario(
        "tests.torture.hostile",
        "slow, greedy and lying clients: the others hardly notice, nothing is smuggled",
        {"connections": 200, "seconds": 1.5, "rounds": 1, "most_times": 20.0},
        {"connections": 10_000},
    ),
    "disk": Scenario(
        "tests.torture.disk",
        "the disk fails in every way: refused at once, healed by itself, nothing lost",
        {"fault_s": 1.0, "answer_s": 3.0, "recovery_s": 10.0, "faults": ("no space left",)},
        {},
    ),
    "power": Scenario(
        "tests.torture.power",
        "power cuts and kills between any two steps: what was acknowledged is there",
        {"histories": 100},
        {"histories": 10_000},
    ),
    "corruption": Scenario(
        "tests.torture.corruption",
        "files cut or damaged anywhere: it opens, and what is lost is counted",
        {"damages": 200},
        {"damages": 20_000},
    ),
}
