"""How fast one Mixpanel project may be fed, whichever endpoint the records are for."""

import asyncio

from aiolimiter import AsyncLimiter

__all__ = ["ProjectLimiter"]


class ProjectLimiter:
    """Limits records a second and bytes a minute; shared by all that feed one project.

    Each bucket holds one second's worth.  A bucket as large as the documented minute would let two
    minutes' worth through in the first minute.

    :param records_per_second: records, of all endpoints and destinations together.
    :param bytes_per_minute: uncompressed JSON, likewise.
    """

    def __init__(self, *, records_per_second: float, bytes_per_minute: float) -> None:
        self._records = AsyncLimiter(records_per_second, 1.0)
        self._bytes = AsyncLimiter(bytes_per_minute / 60.0, 1.0)
        # First come, first served: aiolimiter alone serves the smallest amount first, and a steady
        # stream of small requests would starve the large ones.
        self._turn = asyncio.Lock()

    async def acquire(self, records: int, size: int) -> None:
        """Wait until a request of this size may be sent.

        Amounts larger than a bucket are taken in several steps, so that any request passes.
        """
        async with self._turn:
            await _take(self._records, records)
            await _take(self._bytes, size)


async def _take(limiter: AsyncLimiter, amount: float) -> None:
    while amount > 0:
        step = min(amount, limiter.max_rate)
        await limiter.acquire(step)
        amount -= step
