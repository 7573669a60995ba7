from collections.abc import Iterable
from typing import final

from fastmap._buffer import Buffer

@final
class Outputs:
    def __init__(self, buffers: Iterable[Buffer]) -> None: ...
