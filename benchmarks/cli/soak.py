"""``python -m benchmarks soak``: whether it stays as it is for a long time."""

from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import corpus
from benchmarks import soak as benchmark
from benchmarks.arena import OWN, Setting
from benchmarks.cli.common import (
    Connections,
    Events,
    GzipOption,
    JsonFile,
    OneBatch,
    PeakSeconds,
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

__all__ = ["as_json", "print_result", "soak"]

_MB = 1e6


def soak(
    batch: OneBatch = "sdk",
    minutes: Annotated[float, typer.Option(min=0.01, max=10_000, help="Of the load.")] = 10.0,
    share: Share = 0.7,
    peak_seconds: PeakSeconds = 10.0,
    processes: Processes = 2,
    connections: Connections = 256,
    gzip: GzipOption = Gzip.SDK,
    events: Events = 20_000,
    seed: Seed = corpus.SEED,
    workers: Workers = 1,
    spool: SpoolFolder = None,
    sink: Sink = OWN,
    json_file: JsonFile = None,
) -> None:
    """Open loop for a long time: memory, descriptors and the ledger."""
    setting = Setting(
        processes=processes,
        connections=connections,
        gzip=gzip,
        events=events,
        seed=seed,
        workers=workers,
        spool=spool,
        sink=sink,
    )
    options = benchmark.Options(
        batch=batches_of([batch])[0], seconds=minutes * 60, share=share, peak_seconds=peak_seconds
    )
    carry_out(
        "soak",
        setting,
        options,
        run=benchmark.run,
        print_result=print_result,
        as_json=as_json,
        json_file=json_file,
    )


def print_result(console: Console, result: benchmark.Result) -> None:
    """Print what changed and what did not."""
    settled, end = result.settled(), result.end
    last = settled[-1]
    figures = result.figures
    peak_mb = max(sample.resident_bytes for sample in result.samples) / _MB
    largest_mb = max(sample.largest_bytes for sample in result.samples) / _MB
    lines = (
        f"{result.title}: {result.rate:,.0f} requests/s, {result.rate / result.peak:.0%} of "
        f"the peak, for {last.at_s:.0f} s; {sum(t.events for t in figures.trials):,} events",
        f"resident memory: {settled[0].resident_bytes / _MB:.1f} MB after the warm-up, "
        f"{last.resident_bytes / _MB:.1f} MB at the end, {peak_mb:.1f} MB at most, "
        f"{largest_mb:.1f} MB of it in one process; "
        f"{result.growth() / _MB:+.2f} MB a minute",
        f"open descriptors: {settled[0].descriptors}, {last.descriptors} at the end",
        f"ledger: {end.accepted:,} accepted, {end.delivered:,} delivered, {end.pending} "
        f"pending, gap {end.gap}; at most {max(s.pending for s in result.samples):,} were pending",
        f"latency: p50 {figures.ms(50):.1f} ms, p99 {figures.ms(99):.1f} ms; "
        f"{figures.us_per_event:.2f} CPU µs an event",
    )
    console.print()
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    print_load(console, figures.load_us_per_request)


def as_json(result: benchmark.Result) -> dict[str, Any]:
    """Return all figures."""
    return {
        "title": result.title,
        "peak_requests_per_s": result.peak,
        "rate": result.rate,
        "bytes_a_minute": result.growth(),
        "descriptors_gained": result.descriptor_growth(),
        **result.figures.as_json(),
        "samples": result.samples,
        "end": result.end,
    }
