"""How much all senders of a process may hold in memory together."""

from collections import Counter
from collections.abc import Callable, Hashable

__all__ = ["MemoryBudget", "Reservation"]


class MemoryBudget:
    """A budget of bytes that nobody ever has to wait for to get on.

    The first batch of a holder is always granted.  Further ones are granted while the holder has
    no more than what would be left over afterwards (the dynamic threshold of shared packet
    buffers): one busy holder may take half of the budget, ten a tenth each, and one that hangs
    never takes what the others need.

    Further batches never take the total above ``max_bytes``; only first ones can.

    :param max_bytes: the budget.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: Counter[Hashable] = Counter()
        self._turned_away: dict[Hashable, Callable[[], None]] = {}
        self.held_bytes = 0
        """What is held now."""

    def reserve(
        self, holder: Hashable, size: int, *, is_first: bool, on_room: Callable[[], None]
    ) -> "Reservation | None":
        """Reserve ``size`` bytes; None when there is no room for them.

        :param is_first: whether the holder has nothing else to work on.
        :param on_room: called once when it is worth to ask again.
        """
        if not is_first and self._held[holder] + size > self._max_bytes - self.held_bytes:
            self._turned_away[holder] = on_room
            return None
        reservation = Reservation(self, holder)
        reservation.resize(size)
        return reservation

    def change(self, holder: Hashable, by: int) -> None:
        """Take note that ``holder`` has so much more, or less; reservations call this."""
        self._held[holder] += by
        self.held_bytes += by
        if by < 0 and self._turned_away:
            turned_away, self._turned_away = self._turned_away, {}
            for on_room in turned_away.values():
                on_room()


class Reservation:
    """Some bytes of the budget, until they are given back."""

    def __init__(self, memory: MemoryBudget, holder: Hashable) -> None:
        self._memory = memory
        self._holder = holder
        self._size = 0

    def resize(self, size: int) -> None:
        """Take note of how much it really is; ``0`` gives everything back."""
        by, self._size = size - self._size, size
        self._memory.change(self._holder, by)

    def end(self) -> None:
        """Give the bytes back.  Idempotent."""
        self.resize(0)
