"""How deep JSON from outside may be nested: everything that is read as a whole checks it first.

Readers stop where the interpreter's own recursion limit stops them, which depends on its version
and on the stack at that moment; below this bound they stop nowhere.
"""

import re

import msgspec

from fastmap import is_deeper

__all__ = ["MAX_DEPTH", "check_depth", "read_json"]

MAX_DEPTH = 900
"""Levels of an event, a record or any other value."""

_decode = msgspec.json.Decoder(msgspec.Raw).decode
_PLACE = re.compile(r"\(byte (\d+)\)")


def check_depth(text: bytes | msgspec.Raw, most: int = MAX_DEPTH) -> None:
    """Refuse JSON text, which may be malformed, that is nested deeper than so many levels.

    :raises RecursionError: it is, as readers raise it for the same cause.
    """
    if is_deeper(text, most):
        raise RecursionError(f"it is nested deeper than {most} levels")


def read_json(text: bytes) -> msgspec.Raw:
    """Return JSON without white space around; what a reader comes to first is why it is none.

    :raises msgspec.DecodeError: it is no JSON.
    :raises RecursionError: it is nested too deep.
    """
    try:
        value = _decode(text)
    except msgspec.DecodeError as error:
        place = _PLACE.search(str(error))  # none where the text is cut off
        check_depth(text if place is None else text[: int(place[1])])
        raise
    check_depth(text)
    return value
