"""``gateway dead-letters list|show|export``: what there is."""

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from gateway.cli.common import counted, fail, say
from gateway.cli.dead_letters import options
from gateway.cli.dead_letters.access import Access, access
from gateway.cli.dead_letters.tables import progress, show_groups, show_letters
from gateway.dead_letters.model import MAX_LETTERS, Letter
from gateway.spool.dead_letters import Filter

__all__ = ["export_letters", "list_letters", "show_letter"]


def list_letters(
    each: Annotated[bool, typer.Option("--each", help="List each, with its detail.")] = False,
    as_json: options.AsJson = False,
    destination: options.Destination = None,
    endpoint: options.Endpoint = None,
    reason: options.Reason = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    config: options.Config = None,
    admin: options.Admin = None,
    token: options.Token = None,
) -> None:
    """Count dead letters by cause, or list them one by one."""
    wanted = options.chosen(destination, endpoint, reason, kind, since, until, ids)

    async def run() -> None:
        async with access(options.where(config, admin, token)) as (letters, _):
            if each:
                await _list_each(letters, wanted, as_json=as_json)
                return
            summary = await letters.summary(wanted)
            if as_json:
                typer.echo(msgspec.json.encode(summary).decode())
            elif summary.groups:
                show_groups(summary.groups)
            else:
                say("gateway: no dead letters")

    options.do(run())


async def _list_each(letters: Access, wanted: Filter, *, as_json: bool) -> None:
    count = 0
    async for page in _pages(letters, wanted, has_payload=False):
        if as_json:
            for letter in page:
                typer.echo(msgspec.json.encode(letter).decode())
        else:
            show_letters(page, has_header=count == 0)
        count += len(page)
    if not count:
        say("gateway: no dead letters")


def show_letter(
    letter_id: Annotated[int, typer.Argument(metavar="ID", min=0, max=2**63 - 1)],
    as_json: options.AsJson = False,
    config: options.Config = None,
    admin: options.Admin = None,
    token: options.Token = None,
) -> None:
    """Print everything that is known of a dead letter, as JSON; with --json on one line."""

    async def run() -> Letter | None:
        async with access(options.where(config, admin, token)) as (letters, _):
            return await letters.get(letter_id)

    letter = options.do(run())
    if letter is None:
        raise fail(f"there is no dead letter {letter_id}: it was replayed, purged or dropped")
    text = msgspec.json.encode(letter)
    typer.echo((text if as_json else msgspec.json.format(text, indent=2)).decode())


def export_letters(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Without it, or for -, standard output."),
    ] = None,
    destination: options.Destination = None,
    endpoint: options.Endpoint = None,
    reason: options.Reason = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    config: options.Config = None,
    admin: options.Admin = None,
    token: options.Token = None,
) -> None:
    """Write dead letters as JSON, one line each; they stay where they are.

    Lines with another payload can be sent with: gateway dead-letters replay --edited FILE
    """
    wanted = options.chosen(destination, endpoint, reason, kind, since, until, ids)

    async def run(output: BinaryIO) -> int:
        async with access(options.where(config, admin, token)) as (letters, _):
            return await _export(letters, wanted, output)

    try:
        with _output(file) as output:
            count = options.do(run(output))
    except OSError as error:
        raise fail(f"cannot write {file or 'standard output'}: {error.strerror or error}") from None
    say(f"gateway: {counted(count, 'dead letter')} exported")


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    """Give a file that appears under its name when it is complete, else standard output.

    A pipe or a device is written to as it is.

    Only its owner may read it: it holds personal data.
    """
    if file is None or str(file) == "-":
        yield sys.stdout.buffer
        return
    if file.exists() and not file.is_file():  # a pipe or a device, which others use too
        with file.open("wb") as output:
            yield output
        return
    file = file.resolve()  # a link stays one
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


async def _export(letters: Access, wanted: Filter, output: BinaryIO) -> int:
    summary = await letters.summary(wanted)
    total = sum(group.letters for group in summary.groups)
    wanted = msgspec.structs.replace(wanted, up_to=summary.up_to)
    with progress() as bar:
        task = bar.add_task("exported", total=total)
        count = 0
        async for page in _pages(letters, wanted, has_payload=True):
            output.writelines(msgspec.json.encode(letter) + b"\n" for letter in page)
            count += len(page)
            bar.update(task, completed=count)
    output.flush()
    return count


async def _pages(
    letters: Access, wanted: Filter, *, has_payload: bool
) -> AsyncIterator[list[Letter]]:
    after: int | None = 0
    while after is not None:
        page = await letters.page(wanted, after=after, limit=MAX_LETTERS, has_payload=has_payload)
        after = page.next
        if page.letters:
            yield list(page.letters)
