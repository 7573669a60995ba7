from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar, final

from fastmap._buffer import Buffer
from fastmap._plan import Plan

_Event = TypeVar("_Event")

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
