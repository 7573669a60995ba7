"""From received events to durable records: prepare, map, append."""

from collections import Counter
from collections.abc import Callable, Sequence

from gateway.clock import Clock
from gateway.config import Config, IpPolicy, SourceConfig
from gateway.errors import SpoolUnavailable
from gateway.events import Event, Received
from gateway.mapping import Mapper, policies_of, prepare
from gateway.originals import Originals, without_key
from gateway.policy import Applied
from gateway.spool.base import Spool
from gateway.telemetry import Telemetry

__all__ = ["Pipeline"]


class Pipeline:
    """What happens to events between the request and its answer."""

    def __init__(
        self, config: Config, mapper: Mapper, spool: Spool, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._mapper = mapper
        self._spool = spool
        self._clock = clock
        self._telemetry = telemetry
        everywhere = tuple(destination.name for destination in config.destinations)
        self._destinations = {
            source.name: source.destinations or everywhere for source in config.sources
        }
        self._policies = policies_of(config)

    async def accept(
        self,
        source: SourceConfig,
        received: Received,
        *,
        default_type: str | None,
        client_ip: str | None,
        user_agent: str | None = None,
        is_retry: bool,
        hold: Callable[[int], bool] = lambda _: True,
        ip: IpPolicy = "keep",
    ) -> None:
        """Make the records of a request durable; returns when they are on disk.

        :param default_type: the type of events that name none.
        :param client_ip: the user's address where the request tells it.
        :param user_agent: the user's browser where the request tells it.
        :param is_retry: whether the client sends the same bytes again.
        :param hold: asks for room for that many bytes, the records, in place of the request's.
        :param ip: what the request itself asks for, which counts where it is stricter.
        :raises SpoolUnavailable: nothing was kept.
        """
        received_ms = self._clock.now_ms()
        policy = self._policies[source.name, ip]
        if policy is not None:
            client_ip = policy.address(client_ip)
        uncorrected = prepare(
            received,
            received_ms=received_ms,
            default_type=default_type,
            client_ip=client_ip,
            user_agent=user_agent,
            is_retry=is_retry,
        )
        count = len(received.events) + len(received.misfits)
        events: Sequence[Event] = received.events
        applied = None
        if policy is not None:
            applied = policy.apply(received)
            events = applied.events
        write_key = source.write_key.reveal()
        mapped = self._mapper.map(
            self._destinations[source.name],
            events,
            received_ms=received_ms,
            misfits=[without_key(misfit, write_key) for misfit in received.misfits],
            source=source.name,
            client_ip=client_ip,
            original=Originals(received, write_key),
        )
        del received, events  # the records are all that waits for the disk
        if not hold(mapped.size):
            raise SpoolUnavailable("too many requests wait for the disk", retry_after_s=2)
        if mapped.entries or mapped.dead:
            await self._spool.append(mapped.entries, mapped.dead)
        self._telemetry.events_received.labels(source.name).inc(count)
        if uncorrected:
            self._telemetry.times_uncorrected.labels(source.name).inc(uncorrected)
        if applied is not None:
            self._count(source.name, applied)
        for letter in mapped.dead:
            self._telemetry.events_rejected.labels(letter.queue.destination, letter.reason).inc()

    def _count(self, source: str, applied: Applied) -> None:
        """Count what a source's options kept away."""
        for reason, count in Counter(applied.filtered).items():
            self._telemetry.events_filtered.labels(source, reason).inc(count)
        for reason, count in Counter(each.reason for each in applied.removals).items():
            self._telemetry.values_removed.labels(source, reason).inc(count)
