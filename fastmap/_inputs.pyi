from fastmap.compiler import Program
from typing import final

@final
class Inputs:
    def __init__(self, program: Program) -> None: ...
