from typing import final

@final
class KeyTable:
    def __init__(self, numbers: dict[bytes, int]) -> None: ...
