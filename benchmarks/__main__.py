"""The command line of the benchmarks; ``make bench`` runs it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import corpus, machine, mapping
from benchmarks.measure import CaseFailed, Figure

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Measure what the gateway costs, and its peers in the same run."""


@app.command("map")
def map_events(
    events: Annotated[int, typer.Option(min=1, help="Events in the corpus.")] = 3000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Fresh processes for each case, in turn with the others.")
    ] = 3,
    repetitions: Annotated[int, typer.Option(min=1, help="Measurements in each process.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="CPU time of a measurement.")] = 0.25,
    lines: Annotated[bool, typer.Option(help="Also measure how the cost grows.")] = True,
    seed: Annotated[int, typer.Option(help="Another seed gives another corpus.")] = corpus.SEED,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures there.", dir_okay=False),
    ] = None,
) -> None:
    """CPU time from the bytes of a body to the bytes of its records, on one core."""
    options = mapping.Options(
        events=events,
        seed=seed,
        rounds=rounds,
        repetitions=repetitions,
        seconds=seconds,
        lines=lines,
    )
    where = machine.describe()
    load = [machine.load()]
    try:
        result = _with_progress(options)
    except CaseFailed as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(1) from None
    load.append(machine.load())
    _print(result, where, load)
    if json_file is not None:
        report = {"benchmark": "map", **where, "load": load, **_report(result, options)}
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def _with_progress(options: mapping.Options) -> mapping.Result:
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("corpus")

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        return mapping.run(options, show)


def _print(result: mapping.Result, where: dict[str, Any], load: list[float]) -> None:
    console = Console()
    machine_is = where["machine"]
    for text in (
        f"{machine_is['cpu']}, {machine_is['cores']} cores; load {load[0]} before, {load[1]} after",
        f"Python {where['python']}, Node {where['node'] or 'not installed'}, "
        f"commit {where['commit'] or 'unknown'}; {result.event_bytes:.0f} bytes an event",
    ):
        console.print(text, highlight=False, soft_wrap=True)
    table = Table("case", "what it does", box=None, pad_edge=False)
    for heading in ("µs/event", "least", "events/s"):
        table.add_column(heading, justify="right")
    for row in result.rows:
        if row.job is None:
            table.add_row(row.case.name, mapping.NOT_INSTALLED)
            continue
        figure = row.job.figure
        table.add_row(
            row.case.name,
            row.case.about,
            f"{figure.median:.2f}",
            f"{figure.best:.2f}",
            f"{1e6 / figure.median:,.0f}",
        )
    console.print(table)
    for name, ratio in result.ratios().items():
        console.print(f"{name}: {ratio:.2f}", highlight=False)
    for line in result.lines:
        console.print(_sentence(line), highlight=False, soft_wrap=True)


def _sentence(line: mapping.Line) -> str:
    points = ", ".join(f"{round(x, 1):g}: {job.figure.median:.2f}" for x, job in line.points)
    fit = line.fit()
    return (
        f"µs/event by {line.title}: {points}; that is {fit.fixed:.2f} + {fit.slope:.2f} "
        f"for each {line.each}, within {fit.worst:.0%}"
    )


def _report(result: mapping.Result, options: mapping.Options) -> dict[str, Any]:
    return {
        "options": options,
        "event_bytes": result.event_bytes,
        "cases": {
            row.case.name: _figures(row.job.figure) if row.job else mapping.NOT_INSTALLED
            for row in result.rows
        },
        "ratios": result.ratios(),
        "lines": {
            line.title: {
                "points": [{"x": x, **_figures(job.figure)} for x, job in line.points],
                "fit_us": line.fit(),
            }
            for line in result.lines
        },
    }


def _figures(figure: Figure) -> dict[str, Any]:
    return {"median_us": figure.median, "least_us": figure.best, "us": figure.us}


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
