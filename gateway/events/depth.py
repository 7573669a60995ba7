"""How deep JSON from outside may be nested: everything that is read as a whole checks it first.

Readers stop where the interpreter's own recursion limit stops them, which depends on its version
and on the stack at that moment; below this bound they stop nowhere.
"""

import msgspec

from fastmap import is_deeper

__all__ = ["MAX_DEPTH", "check_depth"]

MAX_DEPTH = 900
"""Levels of an event, a record or any other value."""


def check_depth(text: bytes | msgspec.Raw, most: int = MAX_DEPTH) -> None:
    """Refuse JSON text, which may be malformed, that is nested deeper than so many levels.

    :raises RecursionError: it is, as readers raise it for the same cause.
    """
    if is_deeper(text, most):
        raise RecursionError(f"it is nested deeper than {most} levels")
