"""All senders together: what the application starts and stops."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

from gateway.clock import Clock
from gateway.config import DeliveryConfig, DestinationConfig, SharedDeliveryConfig
from gateway.delivery.circuit_breaker import DestinationPause, Sleep
from gateway.delivery.memory_budget import MemoryBudget
from gateway.delivery.mixpanel import MixpanelEndpoint, project_of
from gateway.delivery.rate_limit import ProjectLimiter
from gateway.delivery.sender import EndpointStatus, Sender
from gateway.model import ENDPOINTS, Queue
from gateway.spool.base import Spool
from gateway.telemetry import Telemetry

__all__ = ["Delivery"]

_THREADS = 2
"""Threads that build requests.  Each takes a few copies of a batch while it works; apart from
the threads that everything else in the process shares, so that nobody waits for the others."""

_log = logging.getLogger(__name__)

_USUAL = SharedDeliveryConfig()


class Delivery:
    """Brings everything in the spool to its destinations, each independently of the others.

    :param spool: open before ``start``, and until after ``stop``.
    :param max_memory_bytes: what all senders may hold in memory together.
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
        max_memory_bytes: int = _USUAL.max_memory_bytes,
        rng: Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._destinations = destinations
        self._spool = spool
        self._clock = clock
        self._telemetry = telemetry
        self._rng = rng or Random()  # noqa: S311  # jitter, not cryptography
        self._sleep = sleep
        self._memory = MemoryBudget(max_memory_bytes)
        telemetry.delivery_memory.set_function(lambda: self._memory.held_bytes)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="delivery")
        self._senders: dict[Queue, Sender] = {}

    async def start(self) -> None:
        """Begin to deliver what is in the spool and what will come."""
        limiters = _limiters(self._destinations)
        for destination in self._destinations:
            self._add(destination, limiters[project_of(destination)])
        for queue, state in self._spool.queues().items():
            if state.pending and queue not in self._senders:
                _log.warning(
                    "%d records wait for %s/%s, which is not configured; they stay in the spool",
                    state.pending,
                    *queue,
                )
        for sender in self._senders.values():
            sender.start()

    async def stop(self, deliver_for_s: float) -> None:
        """Deliver what is waiting for at most that time, then cut off what is under way.

        Nobody may append to the spool any more.  What is not delivered stays in it.  A paused
        sender is not waited for: it needs a person.
        """
        able = self._in_state("ok", "retrying")
        await self._stop([sender.drained() for sender in able], deliver_for_s)

    async def hand_over(self, wait_for_s: float) -> None:
        """Make no more requests, wait for answers for at most that time, then cut them off.

        For others to go on with what is in the spool.  Where an endpoint does not work nobody waits
        for it.
        """
        for sender in self._senders.values():
            sender.finish()
        await self._stop([sender.finished() for sender in self._in_state("ok")], wait_for_s)

    def _in_state(self, *states: str) -> list[Sender]:
        return [each for each in self._senders.values() if each.status()["state"] in states]

    async def _stop(self, ends: Sequence[Awaitable[None]], wait_for_s: float) -> None:
        try:
            async with asyncio.timeout(wait_for_s):
                await asyncio.gather(*ends)
        except TimeoutError:
            pass
        await asyncio.gather(*(sender.stop() for sender in self._senders.values()))
        self._senders.clear()
        self._threads.shutdown(wait=False)

    def status(self) -> dict[str, dict[str, EndpointStatus]]:
        """Return the status of each endpoint by destination."""
        status: dict[str, dict[str, EndpointStatus]] = {}
        for queue, sender in self._senders.items():
            status.setdefault(queue.destination, {})[queue.endpoint] = sender.status()
        return status

    def hurry(self, queue: Queue) -> None:
        """Make the next attempt of an endpoint now.

        Where it waits for another endpoint of its destination, it is that one's attempt.
        """
        for each, sender in self._senders.items():
            is_it = each == queue
            if is_it or (each.destination == queue.destination and sender.holds_others()):
                sender.hurry()

    def _add(self, destination: DestinationConfig, limiter: ProjectLimiter) -> None:
        hold = DestinationPause(self._clock)
        for name in ENDPOINTS:
            queue = Queue(destination.name, name)
            self._senders[queue] = Sender(
                queue,
                MixpanelEndpoint(name, destination),
                config=destination.delivery,
                outlet=self._spool.outlet(queue),
                limiter=limiter,
                hold=hold,
                memory=self._memory,
                threads=self._threads,
                clock=self._clock,
                telemetry=self._telemetry,
                rng=self._rng,
                sleep=self._sleep,
            )


def _limiters(destinations: Iterable[DestinationConfig]) -> dict[object, ProjectLimiter]:
    """Return one limiter for each project, with the lowest of the limits given for it."""
    configs: dict[object, list[DeliveryConfig]] = {}
    for destination in destinations:
        configs.setdefault(project_of(destination), []).append(destination.delivery)
    return {
        project: ProjectLimiter(
            records_per_second=min(config.records_per_second for config in given),
            bytes_per_minute=min(config.bytes_per_minute for config in given),
        )
        for project, given in configs.items()
    }
