"""The command line of the benchmarks; ``make bench`` runs it."""

import typer

from benchmarks.cli.latency import latency
from benchmarks.cli.map import map_events
from benchmarks.cli.report import report
from benchmarks.cli.soak import soak
from benchmarks.cli.throughput import gateway, ingest

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Measure what the gateway costs, and its peers in the same run."""


app.command("map")(map_events)
app.command()(ingest)
app.command()(gateway)
app.command()(latency)
app.command()(soak)
app.command()(report)

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
