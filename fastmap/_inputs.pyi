from typing import final

from fastmap.program import Program

@final
class Inputs:
    def __init__(self, program: Program) -> None: ...
