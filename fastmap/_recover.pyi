from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, final

class Group(NamedTuple):
    name: bytes | None
    members: dict[bytes, bytes]
    items: list[tuple[bytes, bool]]
    gaps: list[bytes]

@final
class Shapes:
    def __init__(
        self,
        *,
        lists: Sequence[bytes],
        members: Sequence[bytes],
        objects: Iterable[Collection[bytes]],
        kind: bytes | None = None,
        kinds: Iterable[bytes] = (),
        beside: Iterable[bytes] = (),
    ) -> None: ...

def recover(text: bytes, shapes: Shapes, limit: int) -> tuple[list[Group], int, bool]: ...
