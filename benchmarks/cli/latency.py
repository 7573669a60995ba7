"""``python -m benchmarks latency``: how long answers take at a given load."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import corpus
from benchmarks import latency as benchmark
from benchmarks.arena import OWN, Setting
from benchmarks.cli.common import (
    Batches,
    Connections,
    Events,
    GzipOption,
    JsonFile,
    PeakSeconds,
    PerConnection,
    Processes,
    Seed,
    Share,
    Sink,
    SpoolFolder,
    Workers,
    batches_of,
    carry_out,
    print_load,
)
from benchmarks.load.traffic import Gzip
from benchmarks.trial import PERCENTILES

__all__ = ["as_json", "latency", "print_result"]


def latency(
    batch: Batches = ("50", "1", "sdk"),  # type: ignore[assignment]
    seconds: Annotated[float, typer.Option(min=0.2, max=3600, help="Of the load.")] = 10.0,
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e6, help="Requests a second, in place of a share of the peak."),
    ] = None,
    share: Share = 0.5,
    peak_seconds: PeakSeconds = 5.0,
    processes: Processes = 2,
    connections: Connections = 256,
    per_connection: PerConnection = 0,
    gzip: GzipOption = Gzip.SDK,
    events: Events = 20_000,
    seed: Seed = corpus.SEED,
    workers: Workers = 1,
    spool: SpoolFolder = None,
    sink: Sink = OWN,
    json_file: JsonFile = None,
) -> None:
    """Open loop: requests come when they are due, whatever became of those before.

    Latency counts from when a request was due, so that a gateway that answers late cannot hide it
    by being asked less.
    """
    setting = Setting(
        processes=processes,
        connections=connections,
        per_connection=per_connection,
        gzip=gzip,
        events=events,
        seed=seed,
        workers=workers,
        spool=spool,
        sink=sink,
    )
    options = benchmark.Options(
        batches=batches_of(batch),
        seconds=seconds,
        rate=rate,
        share=share,
        peak_seconds=peak_seconds,
    )
    carry_out(
        "latency",
        setting,
        options,
        run=benchmark.run,
        print_result=print_result,
        as_json=as_json,
        json_file=json_file,
    )


def print_result(console: Console, result: benchmark.Result) -> None:
    """Print a row for each kind of traffic."""
    table = Table("", box=None, pad_edge=False)
    percentiles = [f"p{percent:g} ms" for percent in PERCENTILES]
    for heading in ("requests/s", "of peak", *percentiles, "lag s", "µs/event"):
        table.add_column(heading, justify="right")
    for row in result.rows:
        lag = row.figures.facts().get("lag_p99_s")
        table.add_row(
            row.title,
            f"{row.rate:,.0f}",
            f"{row.rate / row.peak:.0%}" if row.peak else "",
            *(f"{row.figures.ms(percent):.2f}" for percent in PERCENTILES),
            "" if lag is None else f"{lag:.2f}",
            f"{row.figures.us_per_event:.2f}",
        )
    console.print()
    console.print("from when a request was due to its answer; lag: 99 % are delivered after that")
    console.print(table)
    for row in result.rows:
        if refused := sum(trial.refused for trial in row.figures.trials):
            console.print(f"{row.title}: {refused} requests were refused with 503")
    print_load(console, max(row.figures.load_us_per_request for row in result.rows))


def as_json(result: benchmark.Result) -> dict[str, Any]:
    """Return all figures."""
    return {
        "traffic": {
            row.title: {
                "batch": row.batch,
                "peak_requests_per_s": row.peak,
                "rate": row.rate,
                **row.figures.as_json(),
            }
            for row in result.rows
        }
    }
