"""Lists of event names, in which ``*`` stands for any text."""

from collections.abc import Sequence

__all__ = ["Names"]


class Names:
    """A list of names and patterns; upper and lower case differ."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = frozenset(name for name in names if "*" not in name)
        self._patterns = [name.split("*") for name in names if "*" in name]

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def __contains__(self, name: str) -> bool:
        return name in self._exact or any(_matches(name, parts) for parts in self._patterns)


def _matches(name: str, parts: Sequence[str]) -> bool:
    """Return whether a name consists of the parts, in their order, with any text between them.

    Each part is taken where it first fits, so that the time is bounded by the name's length.
    """
    first, *middle, last = parts
    if not name.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(last) and name.endswith(last)
