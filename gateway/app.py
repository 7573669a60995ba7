"""The composition root: builds the parts, starts them in order, stops them in reverse."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.admin import AdminServer
from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.dead_letters import DeadLetters
from gateway.delivery import Delivery
from gateway.ingest import IngestServer
from gateway.mapping import Mapper, Remap, policies_of
from gateway.output import lost_lines
from gateway.pending import Pending
from gateway.pending.service import Hands
from gateway.pipeline import Pipeline
from gateway.spool.backends import spool_of
from gateway.spool.base import Spool
from gateway.spool.dead_letters import DeadLetterStore
from gateway.telemetry import Telemetry

__all__ = ["App", "ProcessRole", "dead_letters_of"]

_log = logging.getLogger(__name__)

_HAND_OVER_S = 5.0
"""For requests to destinations that are under way: cut off, they would be made twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRole:
    """Where a process stands among those that share a configuration.

    :param number: of its spool.
    :param serves: whether it takes events; otherwise it only delivers what is in its spool.
    :param listeners: where it takes them, in place of the configured address.
    :param admin_path: of a socket for operators, in place of the configured address.
    """

    number: int = 0
    serves: bool = True
    listeners: Sequence[socket.socket] = ()
    admin_path: Path | None = None


_ALONE = ProcessRole()


def dead_letters_of(config: Config, store: DeadLetterStore) -> DeadLetters:
    """Return what can be done with the dead letters of a spool."""
    return DeadLetters(
        store,
        Remap(config.destinations, policies_of(config)),
        destinations=[destination.name for destination in config.destinations],
    )


class App:
    """One gateway process.

    :param config: what to run.
    :param place: where it stands among others; alone by default.
    :param spool: closed; the configured one where none is given.
    :param sleep: what delivery waits with before it tries again.
    """

    def __init__(
        self,
        config: Config,
        *,
        place: ProcessRole = _ALONE,
        spool: Spool | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.config = config
        self._place = place
        clock = clock or SystemClock()
        self.telemetry = telemetry = Telemetry()
        self.spool: Spool = spool or spool_of(config, clock, telemetry, number=place.number)
        mapper = Mapper(config.destinations, telemetry)
        pipeline = Pipeline(config, mapper, self.spool, clock, telemetry)
        self.delivery = Delivery(
            config.destinations,
            self.spool,
            clock,
            telemetry,
            max_memory_bytes=config.delivery.max_memory_bytes,
            sleep=sleep,
        )
        self.ingest = IngestServer(
            config,
            pipeline.accept,
            pipeline.accept_records,
            telemetry=telemetry,
            check=self.spool.check,
            clock=clock,
        )
        self.admin = AdminServer(
            config.admin,
            spool=self.spool,
            dead_letters=dead_letters_of(config, self.spool.dead_letters),
            pending=Pending(
                self.spool.pending,
                clock,
                Hands(
                    state="not_configured",
                    status=self.delivery.status,
                    hurry=self.delivery.hurry,
                ),
            ),
            delivery_status=self.delivery.status,
            ingest_status=self.ingest.status,
            clock=clock,
            telemetry=telemetry,
        )
        telemetry.watch(
            ledger=self.spool.ledger,
            queues=self.spool.queues,
            kept=self.spool.dead_letters.kept,
            usage=self.spool.usage,
            dropped_fields=mapper.dropped_fields,
            lost_lines=lost_lines,
            now_ms=clock.now_ms,
        )

    async def start(self) -> None:
        """Open the spool, deliver what waits in it, and listen.

        :raises SpoolError: the spool cannot be used.
        :raises OSError: an address cannot be used.
        """
        await self.spool.open()
        try:
            await self.delivery.start()
            await self.admin.start(self._place.admin_path)
            if self._place.serves:
                await self.ingest.start(self._place.listeners)
        except BaseException:
            await self.stop(deliver=False)
            raise

    async def stop(self, *, deliver: bool = True) -> None:
        """Answer what is being asked, try to deliver what is pending, and close the spool.

        What cannot be delivered in time stays in the spool for the next start.  Idempotent.

        :param deliver: otherwise everything is cut short, requests too; also after a stop that was
            cancelled.
        """
        time_s = self.config.server.shutdown_timeout_s if deliver else 0.0
        await self._stop(time_s, partial(self.delivery.stop, time_s))

    async def hand_over(self) -> None:
        """Stop as ``stop`` does, but leave what is pending to others, who wait for it."""
        time_s = self.config.server.shutdown_timeout_s
        await self._stop(time_s, partial(self.delivery.hand_over, min(_HAND_OVER_S, time_s)))

    async def _stop(self, requests_s: float, end_delivery: Callable[[], Awaitable[None]]) -> None:
        self.admin.drain()
        await self.ingest.stop(requests_s)
        await end_delivery()
        await self.spool.close()
        await self.admin.stop()
