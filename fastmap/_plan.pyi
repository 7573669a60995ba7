from collections.abc import Collection, Sequence
from typing import final

from fastmap._buffer import Buffer
from fastmap.program import Program

@final
class Plan:
    def __init__(self, program: Program, objects: Collection[str] = ()) -> None: ...
    def run(
        self, event: object, outputs: Sequence[Buffer], received_ms: int, skew_ms: int = 0
    ) -> int | str: ...
    def dropped(self) -> dict[str, int]: ...
