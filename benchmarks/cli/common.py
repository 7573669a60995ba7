"""Options, the progress bar, and what all commands print and write."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import machine
from benchmarks.arena import OWN, SANDBOX, Arena, Setting
from benchmarks.load.traffic import Gzip
from benchmarks.measure import CaseFailed
from benchmarks.processes import Broken
from benchmarks.progress import Show

__all__ = [
    "Batches",
    "Connections",
    "Events",
    "GzipOption",
    "JsonFile",
    "OneBatch",
    "PeakSeconds",
    "PerConnection",
    "Processes",
    "Seed",
    "Share",
    "Sink",
    "SpoolFolder",
    "Workers",
    "batches_of",
    "carry_out",
    "disk_of",
    "measuring",
    "print_disk",
    "print_load",
    "print_machine",
    "write_json",
]

OptionsT = TypeVar("OptionsT")
ResultT = TypeVar("ResultT")

SDK = "sdk"
_MAX_BATCH = 2000


def _batch(text: str) -> str:
    if text != SDK and not (text.isdecimal() and 1 <= int(text) <= _MAX_BATCH):
        raise typer.BadParameter(f"{text!r}: {SDK}, or a number from 1 to {_MAX_BATCH}")
    return text


def _sink(text: str) -> str:
    parts = urlsplit(text)
    if text not in (OWN, SANDBOX) and not (parts.scheme in ("http", "https") and parts.hostname):
        raise typer.BadParameter(f"{text!r}: {OWN}, {SANDBOX}, or the http URL of another one")
    return text


_BATCH_HELP = f"Events in a request, or {SDK}: as SDKs send them."

Batches = Annotated[
    list[str],
    typer.Option("--batch", parser=_batch, metavar="N|sdk", help=f"{_BATCH_HELP} May be repeated."),
]
OneBatch = Annotated[str, typer.Option("--batch", parser=_batch, metavar="N|sdk", help=_BATCH_HELP)]
GzipOption = Annotated[
    Gzip, typer.Option(help="Which bodies are compressed; sdk: those of SDKs that do it unasked.")
]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes of the load.")]
Connections = Annotated[
    int, typer.Option(min=1, max=4096, help="Connections, of all these processes together.")
]
PerConnection = Annotated[
    int,
    typer.Option(
        min=0,
        help="Requests on each connection before a new one takes its place, as phones come "
        "and go; 0: all.",
    ),
]
Events = Annotated[int, typer.Option(min=1, help="Different events, before the first comes again.")]
Seed = Annotated[int, typer.Option(help="Another seed gives another corpus.")]
Workers = Annotated[
    int, typer.Option(min=0, max=256, help="Processes of the gateway; 0: one for each core.")
]
SpoolFolder = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        metavar="DIR",
        help="Folder on the disk to measure, for the gateway's spool; else /var/tmp.",
        exists=True,
        file_okay=False,
        writable=True,
    ),
]
Sink = Annotated[
    str,
    typer.Option(
        parser=_sink,
        metavar="own|sandbox|URL",
        help="Where the gateway delivers: a cheap stand-in, the sandbox, or any other stand-in.",
    ),
]
Share = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Of the peak, which is measured first.")
]
PeakSeconds = Annotated[float, typer.Option(min=0.2, max=600, help="For measuring the peak.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write all figures there.", dir_okay=False),
]


def batches_of(texts: Sequence[str]) -> list[int | None]:
    """Return sizes of batches; None for those that SDKs send."""
    return [None if text == SDK else int(text) for text in texts]


@contextmanager
def measuring() -> Iterator[Show]:
    """Show a progress bar; end with a message when what is measured is broken.

    SIGTERM ends a benchmark as Ctrl-C does: with every process that it started.
    """
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("preparing")

            def show(name: str, done: float, total: float) -> None:
                bar.update(task, description=name, completed=done, total=total)

            yield show
    except (CaseFailed, Broken) as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def carry_out(
    name: str,
    setting: Setting,
    options: OptionsT,
    *,
    run: Callable[[Arena, OptionsT, Show], ResultT],
    print_result: Callable[[Console, ResultT], None],
    as_json: Callable[[ResultT], dict[str, Any]],
    json_file: Path | None,
) -> None:
    """Measure, print, and write to a file where one is wanted."""
    where = machine.describe()
    load = [machine.load()]
    with measuring() as show, Arena(setting) as arena:
        result = run(arena, options, show)
    load.append(machine.load())
    console = Console()
    print_machine(console, where, load)
    print_disk(console, setting)
    print_result(console, result)
    if json_file is not None:
        asked = {"setting": setting, "disk": disk_of(setting), "options": options}
        write_json(
            json_file, {"benchmark": name, **where, "load": load, **asked, **as_json(result)}
        )


def print_machine(console: Console, where: dict[str, Any], load: Sequence[float]) -> None:
    """Print where figures come from."""
    machine_is = where["machine"]
    for text in (
        f"{machine_is['cpu']}, {machine_is['cores']} cores; load {load[0]} before, {load[1]} after",
        f"Python {where['python']}, Node {where['node'] or 'not installed'}, "
        f"commit {where['commit'] or 'unknown'}",
    ):
        console.print(text, highlight=False, soft_wrap=True)


def disk_of(setting: Setting) -> str:
    """Return what the gateway's spool is on."""
    return f"{setting.spool_folder} ({machine.filesystem(setting.spool_folder) or 'unknown'})"


def print_disk(console: Console, setting: Setting) -> None:
    """Print what the gateway's spool is on, and warn where that is no disk."""
    kind = machine.filesystem(setting.spool_folder)
    note = "; that is memory, where a commit costs nothing: choose a disk with --spool"
    console.print(
        f"spool in {disk_of(setting)}{note if kind in ('tmpfs', 'ramfs') else ''}",
        highlight=False,
        soft_wrap=True,
    )


def print_load(console: Console, us_per_request: float) -> None:
    """Print what the load itself takes."""
    console.print(
        f"the load takes {us_per_request:.1f} CPU µs a request, so a core of it could send "
        f"{1e6 / us_per_request:,.0f} requests/s",
        highlight=False,
        soft_wrap=True,
    )


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Write figures to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report, enc_hook=str)) + b"\n")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
