"""``gateway config``: what can be set."""

import json
import shutil
import textwrap

import typer

from gateway.cli.common import fail
from gateway.config.json_schema import json_schema
from gateway.config.reference import KeyEntry, entries

__all__ = ["print_keys", "print_schema"]

_INDENT = "    "


def print_keys(word: str | None) -> None:
    """Print the keys that a word stands in, or in whose meaning it does; None for all."""
    wanted = (word or "").lower()
    found = [
        each
        for each in entries()
        if any(wanted in text.lower() for text in (each.path, each.variable, each.plain_text))
    ]
    if not found:
        raise fail(f"no key has to do with {word!r}; gateway config keys lists all")
    width = max(40, min(100, shutil.get_terminal_size().columns))
    for each in found:
        typer.echo(each.path)
        for line in _told(each):
            typer.echo(
                textwrap.fill(line, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
            )


def print_schema() -> None:
    """Print the JSON Schema of configuration files."""
    typer.echo(json.dumps(json_schema(), indent=2))


def _told(entry: KeyEntry) -> list[str]:
    default = entry.default.replace("`", "")
    lines = [
        entry.plain_text,
        f"accepted: {entry.accepted}; {f'default: {default}' if default else 'required'}",
    ]
    return lines + ([f"without a file: {entry.variable}"] if entry.variable else [])
