"""The ids that a file gives, as they are known outside.

Each file counts its own, so the same number is in several.  Outside, an id says in which: that of
letter 17 of ``worker-3.db`` is 3000000000017, and those of ``worker-0.db`` are as in the file.
"""

from collections.abc import Iterable

import msgspec

__all__ = ["IDS_PER_FILE", "FileIds"]

IDS_PER_FILE = 10**12
"""No file has ids as high as this, so that those of several files can be told apart."""


class FileIds:
    """The ids of one file.

    :param number: of the file.
    """

    def __init__(self, number: int = 0) -> None:
        self._first = number * IDS_PER_FILE

    def text(self, own_id: int) -> str:
        """Return what an id is called outside."""
        return str(self._first + own_id)

    def own(self, texts: Iterable[str]) -> list[int]:
        """Return those ids that are of this file, as it knows them.

        :raises msgspec.ValidationError: a text is no id.
        """
        numbers = [_number(text) - self._first for text in texts]
        return [number for number in numbers if 0 < number < IDS_PER_FILE]

    def bound(self, text: str) -> int:
        """Return what an id that is a bound means in this file; "" is before all others.

        :raises msgspec.ValidationError: the text is no id.
        """
        if not text:
            return 0
        try:
            return max(0, _number(text) - self._first)
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"after, up_to: {error}") from None


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    raise msgspec.ValidationError(
        f"not an id: {text[:100]!r}; expected one as in the list, e.g. 17"
    )
