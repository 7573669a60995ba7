"""``python -m benchmarks report``: everything in one run, as JSON and as a page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console

from benchmarks import corpus, latency, machine, mapping, page, soak, throughput
from benchmarks.arena import OWN, Arena, Setting
from benchmarks.cli import latency as latency_command
from benchmarks.cli import map as map_command
from benchmarks.cli import soak as soak_command
from benchmarks.cli import throughput as throughput_command
from benchmarks.cli.common import (
    Batches,
    Connections,
    Events,
    Processes,
    Seed,
    Sink,
    SpoolFolder,
    Workers,
    batches_of,
    disk_of,
    measuring,
    print_disk,
    print_machine,
    write_json,
)
from benchmarks.processes import ROOT
from benchmarks.progress import Show
from benchmarks.stages import stages
from benchmarks.subjects.peers import PEERS, BareAiohttp

__all__ = ["report"]

OptionsT = TypeVar("OptionsT")
ResultT = TypeVar("ResultT")

_MAP_EVENTS = 2000
_FOLDER = ROOT / "build/benchmarks"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How much is measured.

    :param seconds: of each round.
    """

    map_rounds: int
    rounds: int
    seconds: float
    latency_s: float
    soak_s: float


_SHORT = _Plan(map_rounds=1, rounds=2, seconds=3.0, latency_s=8.0, soak_s=20.0)
_LONG = _Plan(map_rounds=3, rounds=5, seconds=10.0, latency_s=60.0, soak_s=600.0)


def report(
    long: Annotated[
        bool, typer.Option("--long", help="Measure more, for about half an hour.")
    ] = False,
    scale: Annotated[
        float, typer.Option(min=0.05, max=10, help="Of all times; below 1 only to try it out.")
    ] = 1.0,
    html: Annotated[Path, typer.Option(metavar="FILE", help="The page.", dir_okay=False)] = _FOLDER
    / "report.html",
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", help="The figures.", dir_okay=False)
    ] = _FOLDER / "report.json",
    batch: Batches = ("50", "1", "sdk"),  # type: ignore[assignment]
    peers: Annotated[bool, typer.Option(help="Compare with peers, in the same run.")] = True,
    processes: Processes = 2,
    connections: Connections = 64,
    events: Events = 20_000,
    seed: Seed = corpus.SEED,
    workers: Workers = 1,
    spool: SpoolFolder = None,
    sink: Sink = OWN,
) -> None:
    """All benchmarks in one run; writes all figures, and a page with charts."""
    setting = Setting(
        processes=processes,
        connections=connections,
        events=events,
        seed=seed,
        workers=workers,
        spool=spool,
        sink=sink,
    )
    plan = _LONG if long else _SHORT
    seconds, rounds = plan.seconds * scale, plan.rounds
    console = Console()
    where = machine.describe()
    load = [machine.load()]
    figures = {"map": _map(console, plan, scale, min(events, _MAP_EVENTS), seed)}
    for name, compared in (("ingest", [BareAiohttp.name]), ("gateway", [p.name for p in PEERS])):
        taken = _measured(
            setting,
            throughput.run,
            throughput.Options(
                batches=batches_of(batch),
                seconds=seconds,
                rounds=rounds,
                peers=compared if peers else [],
                delivers=name == "gateway",
            ),
        )
        console.print(f"\n{name}", style="bold")
        throughput_command.print_result(console, taken)
        figures[name] = throughput_command.as_json(taken)
    timed = _measured(
        setting,
        latency.run,
        latency.Options(
            batches=batches_of(batch),
            seconds=plan.latency_s * scale,
            rate=None,
            share=0.5,
            peak_seconds=seconds,
        ),
    )
    console.print("\nlatency", style="bold")
    latency_command.print_result(console, timed)
    figures["latency"] = latency_command.as_json(timed)
    soaked = _measured(
        setting,
        soak.run,
        soak.Options(batch=None, seconds=plan.soak_s * scale, share=0.7, peak_seconds=seconds),
    )
    console.print("\nsoak", style="bold")
    soak_command.print_result(console, soaked)
    figures["soak"] = soak_command.as_json(soaked)
    load.append(machine.load())
    console.print()
    print_machine(console, where, load)
    print_disk(console, setting)
    whole = {
        "benchmark": "report",
        **where,
        "load": load,
        "setting": setting,
        "disk": disk_of(setting),
        **figures,
    }
    whole = msgspec.to_builtins(whole, str_keys=True, enc_hook=str)  # as it will be in the file
    whole["stages"] = stages(whole)
    write_json(json_file, whole)
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(page.render(whole), "utf-8")
    console.print(f"the page is {html}, the figures are {json_file}", highlight=False)


def _measured(
    setting: Setting, run: Callable[[Arena, OptionsT, Show], ResultT], options: OptionsT
) -> ResultT:
    with measuring() as show, Arena(setting) as arena:
        return run(arena, options, show)


def _map(console: Console, plan: _Plan, scale: float, events: int, seed: int) -> dict[str, Any]:
    options = mapping.Options(
        events=events,
        seed=seed,
        rounds=plan.map_rounds,
        repetitions=2,
        seconds=0.1 * scale,
        lines=True,
    )
    with measuring() as show:
        result = mapping.run(options, show)
    console.print("map", style="bold")
    map_command.print_result(console, result)
    return map_command.as_json(result, options)
