"""How much memory all requests together may take."""

__all__ = ["Budget", "MemoryLease"]


class Budget:
    """Bytes that requests hold, from before their bodies are read until they are on disk.

    Bodies that still have to arrive may take no more than half of it: slow clients, whether they
    are many or hostile, never keep out a request that has arrived as a whole.

    :param capacity: in bytes.  A request that is alone may exceed it.
    """

    __slots__ = ("arriving", "capacity", "used")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.arriving = 0

    def lease(self, beside: int = 0) -> "MemoryLease":
        """Return a share of the budget that holds nothing yet.

        :param beside: bytes that it holds besides those that are asked for, once it holds any.
        """
        return MemoryLease(self, beside)


class MemoryLease:
    """What one request holds.  As a context, it is given back at the end, whatever happens."""

    __slots__ = ("_arriving", "_beside", "_budget", "_size")

    def __init__(self, budget: Budget, beside: int = 0) -> None:
        self._budget = budget
        self._beside = beside
        self._size = 0
        self._arriving = 0

    def __enter__(self) -> "MemoryLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._size

    def resize(self, size: int, *, arriving: bool = False) -> bool:
        """Hold ``size`` bytes in place of what was held; return whether they fit.

        :param arriving: the bytes are still to come.  What did not fit changes nothing.
        """
        budget = self._budget
        size += self._beside
        others = budget.used - self._size
        waiting = size if arriving else 0
        total = budget.arriving - self._arriving + waiting
        if others and (
            others + size > budget.capacity or (arriving and total > budget.capacity // 2)
        ):
            return False
        budget.used = others + size
        budget.arriving = total
        self._size, self._arriving = size, waiting
        return True

    def release(self) -> None:
        """Give everything back.  Idempotent."""
        self._budget.used -= self._size
        self._budget.arriving -= self._arriving
        self._size = self._arriving = 0
