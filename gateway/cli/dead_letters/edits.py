"""Edited dead letters: from an export, or from an editor."""

import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer

from gateway.cli.common import fail, say
from gateway.dead_letters.model import MAX_LETTERS, Edit, Letter
from gateway.events.depth import check_depth

__all__ = ["batches", "edited", "read_edits"]

_BATCH_BYTES = 1024 * 1024

_decode = msgspec.json.Decoder(Edit).decode


def read_edits(file: Path) -> Iterator[Edit]:
    """Give the letters of an edited export; exits with 2 at the first line that is none."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    check_depth(line)
                    yield _decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    text = f"line {number} of {file} is no dead letter: {error}"
                    raise fail(f"{text}; expected at least its id and its payload", 2) from None
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", 2) from None


def batches(edits: Iterator[Edit]) -> Iterator[list[Edit]]:
    """Give edits in pieces that one request can hold; one letter twice is in two pieces."""
    batch: dict[str, Edit] = {}
    size = 0
    for edit in edits:
        size += len(bytes(edit.payload))
        if batch and (size > _BATCH_BYTES or len(batch) == MAX_LETTERS or str(edit.id) in batch):
            yield list(batch.values())
            batch, size = {}, len(bytes(edit.payload))
        batch[str(edit.id)] = edit
    if batch:
        yield list(batch.values())


def edited(letter: Letter, editor: str) -> Edit:
    """Return a letter as a person leaves it in an editor; exits with 1 when it is not changed."""
    before = msgspec.json.format(bytes(letter.payload), indent=2)
    with tempfile.TemporaryDirectory(prefix="dead-letter-") as directory:
        file = Path(directory, f"{letter.id}.json")  # the directory is its owner's alone
        file.write_bytes(before + b"\n")
        while True:
            try:
                subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                raise fail(
                    f"the editor {editor!r} failed: {error}; choose one with --editor"
                ) from None
            after = file.read_bytes()
            if after.strip() == before:
                raise fail("nothing was changed, and nothing was done")
            try:
                check_depth(after)
                msgspec.json.decode(after)
            except (msgspec.DecodeError, RecursionError) as error:
                say(f"gateway: what you wrote is not valid JSON: {error}")
                try:
                    typer.confirm("edit it again?", default=True, abort=True, err=True)
                except typer.Abort:
                    raise fail("nothing was done") from None
                continue
            return Edit(id=letter.id, payload=msgspec.Raw(msgspec.json.format(after, indent=-1)))
