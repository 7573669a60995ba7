"""All senders together: what the application starts and stops."""

import asyncio
import logging
from collections.abc import Sequence
from random import Random

from gateway.clock import Clock
from gateway.config import DestinationConfig
from gateway.delivery.gate import Hold, Sleep
from gateway.delivery.limits import ProjectLimiter
from gateway.delivery.mixpanel import ENDPOINTS, MixpanelEndpoint
from gateway.delivery.sender import Sender, Status
from gateway.spool.base import Queue, Spool
from gateway.telemetry import Telemetry

__all__ = ["Delivery"]

_log = logging.getLogger(__name__)


class Delivery:
    """Brings everything in the spool to its destinations, each independently of the others.

    :param spool: open before ``start``, and until after ``stop``.
    :param rng: source of the jitter of all waiting.
    :param sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        destinations: Sequence[DestinationConfig],
        spool: Spool,
        clock: Clock,
        telemetry: Telemetry,
        *,
        rng: Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._destinations = destinations
        self._spool = spool
        self._clock = clock
        self._telemetry = telemetry
        self._rng = rng or Random()  # noqa: S311  # jitter, not cryptography
        self._sleep = sleep
        self._senders: dict[Queue, Sender] = {}

    async def start(self) -> None:
        """Begin to deliver what is in the spool and what will come."""
        for destination in self._destinations:
            self._add(destination)
        for queue, state in self._spool.queues().items():
            if state.pending and queue not in self._senders:
                _log.warning(
                    "%d records wait for %s/%s, which is not configured; they stay in the spool",
                    state.pending,
                    *queue,
                )
        self._spool.on_commit(self._wake)
        for sender in self._senders.values():
            sender.start()

    async def stop(self, deliver_for_s: float) -> None:
        """Deliver what is waiting for at most that time, then cut off what is under way.

        Nobody may append to the spool any more.  What is not delivered stays in it.  A paused
        sender is not waited for: it needs a person.
        """
        senders = list(self._senders.values())
        able = [sender for sender in senders if sender.status()["state"] != "paused"]
        try:
            async with asyncio.timeout(deliver_for_s):
                await asyncio.gather(*(sender.drained() for sender in able))
        except TimeoutError:
            pass
        await asyncio.gather(*(sender.stop() for sender in senders))
        self._senders.clear()

    def status(self) -> dict[str, dict[str, Status]]:
        """Return the status of each endpoint by destination."""
        status: dict[str, dict[str, Status]] = {}
        for queue, sender in self._senders.items():
            status.setdefault(queue.destination, {})[queue.endpoint] = sender.status()
        return status

    def _add(self, destination: DestinationConfig) -> None:
        config = destination.delivery
        hold = Hold(self._clock)
        limiter = ProjectLimiter(
            records_per_second=config.records_per_second,
            bytes_per_minute=config.bytes_per_minute,
        )
        for name in ENDPOINTS:
            queue = Queue(destination.name, name)
            self._senders[queue] = Sender(
                queue,
                MixpanelEndpoint(name, destination),
                config=config,
                spool=self._spool,
                limiter=limiter,
                hold=hold,
                clock=self._clock,
                telemetry=self._telemetry,
                rng=self._rng,
                sleep=self._sleep,
            )

    def _wake(self, queues: frozenset[Queue]) -> None:
        for queue in queues:
            sender = self._senders.get(queue)
            if sender is not None:
                sender.wake()
