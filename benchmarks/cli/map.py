"""``python -m benchmarks map``: what the mapping costs."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import corpus, machine, mapping
from benchmarks.cli.common import JsonFile, measuring, print_machine, write_json
from benchmarks.measure import Figure

__all__ = ["as_json", "map_events", "print_result"]


def map_events(
    events: Annotated[int, typer.Option(min=1, help="Events in the corpus.")] = 3000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Fresh processes for each case, in turn with the others.")
    ] = 3,
    repetitions: Annotated[int, typer.Option(min=1, help="Measurements in each process.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="CPU time of a measurement.")] = 0.25,
    lines: Annotated[bool, typer.Option(help="Also measure how the cost grows.")] = True,
    seed: Annotated[int, typer.Option(help="Another seed gives another corpus.")] = corpus.SEED,
    json_file: JsonFile = None,
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
    with measuring() as show:
        result = mapping.run(options, show)
    load.append(machine.load())
    console = Console()
    print_machine(console, where, load)
    print_result(console, result)
    if json_file is not None:
        write_json(
            json_file, {"benchmark": "map", **where, "load": load, **as_json(result, options)}
        )


def print_result(console: Console, result: mapping.Result) -> None:
    """Print a table, the ratios, and how the cost grows."""
    console.print(f"{result.event_bytes:.0f} bytes an event", highlight=False)
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


def as_json(result: mapping.Result, options: mapping.Options) -> dict[str, Any]:
    """Return all figures."""
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
