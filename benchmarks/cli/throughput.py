"""``python -m benchmarks ingest`` and ``gateway``: as much as it takes."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import corpus, throughput
from benchmarks.arena import OWN, Setting
from benchmarks.cli.common import (
    Batches,
    Connections,
    Events,
    GzipOption,
    JsonFile,
    PerConnection,
    Processes,
    Seed,
    Sink,
    SpoolFolder,
    Workers,
    batches_of,
    carry_out,
    print_load,
)
from benchmarks.load.traffic import Gzip
from benchmarks.subjects.peers import PEERS, BareAiohttp

__all__ = ["as_json", "gateway", "ingest", "print_result"]

Seconds = Annotated[float, typer.Option(min=0.2, max=600, help="Of each round.")]
Rounds = Annotated[
    int, typer.Option(min=1, max=100, help="Of each subject, in turn with the others.")
]
Peers = Annotated[bool, typer.Option(help="Compare with peers, in the same run.")]

_BATCHES = ("50", "1", "sdk")


def ingest(
    batch: Batches = _BATCHES,  # type: ignore[assignment]  # typer takes any sequence
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    peers: Peers = True,
    processes: Processes = 2,
    connections: Connections = 64,
    per_connection: PerConnection = 0,
    gzip: GzipOption = Gzip.SDK,
    events: Events = 20_000,
    seed: Seed = corpus.SEED,
    workers: Workers = 1,
    spool: SpoolFolder = None,
    json_file: JsonFile = None,
) -> None:
    """HTTP in and durable; nothing is delivered. Closed loop: as much as it takes."""
    carry_out(
        "ingest",
        Setting(
            processes=processes,
            connections=connections,
            per_connection=per_connection,
            gzip=gzip,
            events=events,
            seed=seed,
            workers=workers,
            spool=spool,
        ),
        throughput.Options(
            batches=batches_of(batch),
            seconds=seconds,
            rounds=rounds,
            peers=[BareAiohttp.name] if peers else [],
            delivers=False,
        ),
        run=throughput.run,
        print_result=print_result,
        as_json=as_json,
        json_file=json_file,
    )


def gateway(
    batch: Batches = _BATCHES,  # type: ignore[assignment]
    seconds: Seconds = 5.0,
    rounds: Rounds = 3,
    peers: Peers = True,
    processes: Processes = 2,
    connections: Connections = 64,
    per_connection: PerConnection = 0,
    gzip: GzipOption = Gzip.SDK,
    events: Events = 20_000,
    seed: Seed = corpus.SEED,
    workers: Workers = 1,
    spool: SpoolFolder = None,
    sink: Sink = OWN,
    json_file: JsonFile = None,
) -> None:
    """End to end: HTTP in, durable, mapped, delivered. Closed loop: as much as it takes."""
    carry_out(
        "gateway",
        Setting(
            processes=processes,
            connections=connections,
            per_connection=per_connection,
            gzip=gzip,
            events=events,
            seed=seed,
            workers=workers,
            spool=spool,
            sink=sink,
        ),
        throughput.Options(
            batches=batches_of(batch),
            seconds=seconds,
            rounds=rounds,
            peers=[peer.name for peer in PEERS] if peers else [],
        ),
        run=throughput.run,
        print_result=print_result,
        as_json=as_json,
        json_file=json_file,
    )


def print_result(console: Console, result: throughput.Result) -> None:
    """Print a table for each kind of traffic; ``ratio`` is to the gateway's figure."""
    console.print()
    for row in result.sections[0].rows:
        console.print(f"{row.name:8} {row.about}", highlight=False)
    for name, how in result.missing.items():
        console.print(f"{name:8} {how}", highlight=False)
    for section in result.sections:
        console.print()
        console.print(_table(section))
        ours = section.gateway
        facts = ours.facts()
        console.print(
            f"an event came as {ours.bytes_per_event:.0f} bytes, and the gateway wrote "
            f"{facts['written_bytes_per_event']:.0f} to the disk, with "
            f"{facts['commits_per_1000_events']:.2f} commits for 1000 events",
            highlight=False,
            soft_wrap=True,
        )
        if (share := facts["busiest_process_share"]) < 1:
            console.print(f"its busiest process took {share:.0%} of its CPU time", highlight=False)
        print_load(console, ours.load_us_per_request)


def _table(section: throughput.Section) -> Table:
    table = Table(section.title, box=None, pad_edge=False)
    for heading in ("µs/event", "ratio", "events/s", "ratio", "requests/s", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    ratios = section.ratios()
    for row in section.rows:
        figures, ratio = row.figures, ratios.get(row.name)
        table.add_row(
            row.name,
            f"{figures.us_per_event:.2f}",
            f"{ratio['cpu_per_event']:.2f}" if ratio else "1",
            f"{figures.events_per_s:,.0f}",
            f"{ratio['events_per_s']:.2f}" if ratio else "1",
            f"{figures.requests_per_s:,.0f}",
            f"{figures.ms(50):.1f}",
            f"{figures.ms(99):.1f}",
        )
    return table


def as_json(result: throughput.Result) -> dict[str, Any]:
    """Return all figures."""
    return {
        "traffic": {
            section.title: {
                "batch": section.batch,
                "subjects": {
                    row.name: {"about": row.about, **row.figures.as_json()} for row in section.rows
                },
                "ratios": section.ratios(),
            }
            for section in result.sections
        },
        "missing": result.missing,
    }
