"""How commands talk to the person at the terminal, and how they end."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from gateway.process import run_async

__all__ = ["Failed", "ask", "counted", "do", "fail", "say"]

_T = TypeVar("_T")


class Failed(Exception):
    """What was asked for could not be done; the text says why and what to do."""


def say(text: str) -> None:
    """Print a line for the person at the terminal; standard output is left to data."""
    typer.echo(text, err=True)


def fail(text: str, code: int = 1) -> typer.Exit:
    """Print what went wrong and return what to raise."""
    say(f"gateway: {text}")
    return typer.Exit(code)


def counted(count: int, thing: str) -> str:
    """Return a number of things, as in ``1 dead letter`` and ``2 dead letters``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def ask(question: str, *, yes: bool) -> None:
    """Go on only when the person agrees.

    :raises Failed: they do not, or there is nobody.
    """
    if yes:
        return
    try:
        is_agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise Failed("nothing was done: answer y, or give --yes") from None
    if not is_agreed:
        raise Failed("nothing was done")


def do(work: Coroutine[Any, Any, _T]) -> _T:
    """Run what a command does; exits with 1 when it cannot be done."""
    try:
        return run_async(work)
    except Failed as error:
        raise fail(str(error)) from None
    except KeyboardInterrupt:
        raise fail(
            "stopped; what is done is done, and the same command again does the rest"
        ) from None
