from typing import final

def is_utf8(data: bytes) -> bool: ...

@final
class KeyTable:
    def __init__(self, numbers: dict[bytes, int]) -> None: ...
