"""The command line of the torture runs; ``make torture`` runs all of them."""

import asyncio
import inspect
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from tests.torture import Figures
from tests.torture.scenarios import SCENARIOS, Scenario

_LOG_EVERY_S = 10.0


class Scale(StrEnum):
    """How large the runs are."""

    SMALL = "small"
    FULL = "full"


class Result(NamedTuple):
    """How a scenario went.

    :param problem: which promise was broken, and how; "" when none was.
    """

    name: str
    figures: Figures
    problem: str
    seconds: float


app = typer.Typer(add_completion=False)


@app.command()
def main(
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help=", ".join(SCENARIOS))
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is random.")] = 1,
    scale: Annotated[Scale, typer.Option()] = Scale.FULL,
) -> None:
    """Break everything that can break, and show that the promises hold."""
    names = scenarios or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        known = ", ".join(SCENARIOS)
        raise typer.BadParameter(f"no scenario {', '.join(unknown)}; there are {known}")
    err = Console(stderr=True)
    results = [_run(name, seed, scale, err) for name in names]
    _print(results)
    failed = [result.name for result in results if result.problem]
    typer.echo(f"seed {seed}, scale {scale}")
    if failed:
        typer.echo(
            f"failed: {', '.join(failed)}; to repeat: "
            f"{sys.executable} -m tests.torture {' '.join(failed)} --seed {seed} --scale {scale}"
        )
        raise typer.Exit(1)


def _run(name: str, seed: int, scale: Scale, err: Console) -> Result:
    scenario = SCENARIOS[name]
    err.print(f"[bold]{name}[/bold]: {scenario.promise}")
    began = time.monotonic()
    figures: Figures = {}
    problem = ""
    with (
        tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as directory,
        _progress(name, err) as show,
    ):
        try:
            run = _runnable(scenario, Path(directory), seed, scale, show)
            figures = asyncio.run(run())
        except Exception as error:  # whatever it is, the other scenarios go on
            problem = str(error) or type(error).__name__
            err.print(f"[red]{name} failed[/red]")
            err.print(traceback.format_exc(), markup=False)
    return Result(name, figures, problem, time.monotonic() - began)


@contextmanager
def _progress(name: str, err: Console) -> Iterator[Callable[[str], None]]:
    """Show where it is: on a terminal always, in a log from time to time."""
    began = time.monotonic()
    shown_s = -_LOG_EVERY_S
    with err.status(name) as status:

        def show(text: str) -> None:
            nonlocal shown_s
            seconds = time.monotonic() - began
            line = f"{name}, {seconds:.0f} s: {text}"
            if err.is_terminal:
                status.update(line)
            elif seconds >= shown_s + _LOG_EVERY_S:
                shown_s = seconds
                err.print(line, markup=False)

        yield show


def _runnable(
    scenario: Scenario, directory: Path, seed: int, scale: Scale, show: Callable[[str], None]
) -> Callable[[], Any]:
    """Return the scenario's function with what it takes of what there is."""
    run = import_module(scenario.module).run
    offered = {"directory": directory, "tmp_path": directory, "seed": seed, "progress": show}
    accepted = inspect.signature(run).parameters
    arguments = {name: value for name, value in offered.items() if name in accepted}
    sizes = scenario.small if scale is Scale.SMALL else scenario.full
    return lambda: run(**arguments, **sizes)


def _print(results: Sequence[Result]) -> None:
    table = Table("scenario", "promise", "measured", "verdict")
    for result in results:
        measured = "\n".join(f"{name}: {_text(value)}" for name, value in result.figures.items())
        table.add_row(
            result.name,
            SCENARIOS[result.name].promise,
            measured or result.problem[:1000],
            f"{'FAILED' if result.problem else 'held'}\n{result.seconds:.0f} s",
            end_section=True,
        )
    # Wide enough for a log, which has no terminal to ask.
    Console(width=None if sys.stdout.isatty() else 140).print(table, markup=False)


def _text(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    app()
