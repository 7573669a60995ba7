"""``gateway dead-letters list|show|export``: what there is."""

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import typer

from gateway.cli.common import counted, do, fail, say
from gateway.cli.dead_letters.access import Access, access
from gateway.cli.dead_letters.chosen import check_id, chosen
from gateway.cli.dead_letters.tables import progress, show_groups, show_letters
from gateway.cli.options import LetterOptions, Where
from gateway.dead_letters.model import MAX_LETTERS, Letter
from gateway.spool.dead_letters import Filter

__all__ = ["export_letters", "list_letters", "show_letter"]


def list_letters(letters: LetterOptions, where: Where, *, each: bool, as_json: bool) -> None:
    """Print dead letters, counted by cause or one by one."""
    wanted = chosen(letters)

    async def run() -> None:
        async with access(where, destination=wanted.destination) as (store, _):
            if each:
                await _list_each(store, wanted, as_json=as_json)
                return
            summary = await store.summary(wanted)
            if as_json:
                typer.echo(msgspec.json.encode(summary).decode())
            elif summary.groups:
                show_groups(summary.groups)
            else:
                say("gateway: no dead letters")

    do(run())


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


def show_letter(letter_id: str, where: Where, *, as_json: bool) -> None:
    """Print everything that is known of a dead letter."""
    check_id("ID", letter_id)

    async def run() -> Letter | None:
        async with access(where) as (store, _):
            return await store.get(letter_id)

    letter = do(run())
    if letter is None:
        raise fail(
            f"there is no dead letter {letter_id}, or no longer: replayed, purged or dropped"
        )
    text = msgspec.json.encode(letter)
    typer.echo((text if as_json else msgspec.json.format(text, indent=2)).decode())


def export_letters(file: Path | None, letters: LetterOptions, where: Where) -> None:
    """Write dead letters, one line of JSON each."""
    wanted = chosen(letters)

    async def run(output: BinaryIO) -> int:
        async with access(where, destination=wanted.destination) as (store, _):
            return await _export(store, wanted, output)

    try:
        with _output(file) as output:
            count = do(run(output))
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
    after: str | None = ""
    while after is not None:
        page = await letters.page(wanted, after=after, limit=MAX_LETTERS, has_payload=has_payload)
        after = page.next
        if page.letters:
            yield list(page.letters)
