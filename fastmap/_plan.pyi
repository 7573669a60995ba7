from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar, final

from fastmap._buffer import Buffer
from fastmap.program import Program

_Event = TypeVar("_Event")

@final
class Plan:
    def __init__(self, program: Program, objects: Collection[str] = ()) -> None: ...
    def run(
        self, event: object, outputs: Sequence[Buffer], received_ms: int, skew_ms: int = 0
    ) -> int | str: ...
    def dropped(self) -> dict[str, int]: ...

class Reasons(NamedTuple):
    unmatched: str
    empty: str
    malformed: str

@final
class Dispatch:
    def __init__(
        self,
        plans: Mapping[str, Plan | None],
        other: Plan | None,
        *,
        kind: str,
        skew: str,
        reasons: Reasons,
    ) -> None: ...
    def run(
        self, events: Iterable[_Event], outputs: Iterable[Buffer], received_ms: int
    ) -> list[tuple[_Event, str]]: ...
    @property
    def unreadable_times(self) -> int: ...
    @property
    def impossible_times(self) -> int: ...
