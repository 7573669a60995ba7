"""The outlet of a queue, asked as often as it takes."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from random import Random
from typing import TypeVar

from gateway.config import DeliveryConfig
from gateway.delivery.batch import Batch
from gateway.delivery.circuit_breaker import Sleep
from gateway.delivery.retry import backoff_s
from gateway.errors import SpoolUnavailable
from gateway.notices import Notices
from gateway.spool.outlet import Lease, Outlet, Settlement

__all__ = ["Backlog"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Backlog:
    """What of a queue nobody works on yet; waits for the spool as long as it takes.

    :param outlet: of the queue.
    :param name: for the log.
    :param notices: tell operators of records that become dead letters.
    :param rng: source of the jitter, and of samples.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        outlet: Outlet,
        *,
        config: DeliveryConfig,
        name: str,
        notices: Notices,
        rng: Random,
        sleep: Sleep,
    ) -> None:
        self.outlet = outlet
        self._limits = (config.batch_records, config.batch_bytes)
        self._name = name
        self._notices = notices
        self._rng = rng
        self._sleep = sleep

    async def take(self) -> Batch | None:
        """Return the next batch; None when there is nothing left to take."""
        # Whatever an error is, the sender must outlive it; so everywhere where nothing is changed.
        lease = await self._persistently(lambda: self.outlet.take(*self._limits), Exception)
        return None if lease is None else Batch(lease)

    async def samples(self) -> Sequence[Batch]:
        """Return a few batches that nobody works on, spread over what waits, the newest first.

        They stay where they are, and are taken again later.
        """
        leases = await self._persistently(
            lambda: self.outlet.samples(self._rng, *self._limits), Exception
        )
        return [Batch(lease) for lease in leases]

    async def following(
        self, start: Hashable, at_most: int, *, after: Hashable = None
    ) -> AsyncIterator[Batch]:
        """Return the batches behind a chunk, in order; they stay where they are.

        :param after: the last chunk that was seen on the same walk, where it has been begun.
        """
        seen = start if after is None else after

        def ask() -> Awaitable[Lease | None]:
            return self.outlet.following(start, seen, *self._limits)

        for _ in range(at_most):
            if (lease := await self._persistently(ask, Exception)) is None:
                return
            seen = lease.chunks[-1].id
            yield Batch(lease)

    async def settle(self, batch: Batch, settlement: Settlement) -> None:
        """Have the spool take note; waits for it as long as it takes.

        :raises SpoolError: the spool holds something else than the settlement says.
        """
        await self._persistently(lambda: batch.lease.settle(settlement), SpoolUnavailable)
        if batch.lease.is_lost:
            return
        for letter in settlement.dead:
            self._notices.say(
                f"dead_letter {letter.reason}",
                None,
                "%s: a record became a dead letter, %s; see gateway dead-letters list",
                self._name,
                letter.reason,
            )

    async def _persistently(self, call: Callable[[], Awaitable[T]], retry_on: type[Exception]) -> T:
        failures = 0
        while True:
            try:
                return await call()
            except retry_on as error:
                failures += 1
                if failures == 1:
                    _log.warning(
                        "%s: waiting for the spool: %s: %s", self._name, type(error).__name__, error
                    )
                await self._sleep(backoff_s(failures, None, self._rng))
