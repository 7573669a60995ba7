from collections.abc import Iterable
from typing import final

@final
class Folded:
    text: bytes
    def unfold(self, objects: Iterable[object], name: str, before: object = None) -> bool: ...

def fold(text: bytes, key: bytes) -> Folded | None: ...
