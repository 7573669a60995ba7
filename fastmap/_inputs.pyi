from typing import final

from fastmap.compiler import Program

@final
class Inputs:
    def __init__(self, program: Program) -> None: ...
