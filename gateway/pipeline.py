"""From received events to durable records: prepare, map, append."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from gateway.clock import Clock
from gateway.config import Config, IpPolicy, SourceConfig
from gateway.errors import SpoolUnavailable
from gateway.events import Event, Received
from gateway.events.mixpanel import EndpointName, NativeRecord, RequestVerdict
from gateway.events.originals import Originals, without_key
from gateway.mapping import Clocks, Mapper, NativeMapper, policies_of, prepare
from gateway.model import DeadLetter, Entry, size_of
from gateway.notices import Notices, masked
from gateway.policy import Applied
from gateway.spool.base import Spool
from gateway.telemetry import Telemetry

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)


class Counted(Protocol):
    """A series of a metric."""

    def inc(self, amount: int) -> None:
        """Count so many more."""


_NATIVE = "(Mixpanel's SDKs)"
"""What stands for the source of records that come with a token instead of a write key."""


class Pipeline:
    """What happens to events between the request and its answer."""

    def __init__(
        self, config: Config, mapper: Mapper, spool: Spool, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._mapper = mapper
        self._native = NativeMapper(config.destinations)
        self._spool = spool
        self._clock = clock
        self._telemetry = telemetry
        self._notices = Notices(_log, clock)
        everywhere = tuple(destination.name for destination in config.destinations)
        self._destinations = {
            source.name: source.destinations or everywhere for source in config.sources
        }
        self._policies = policies_of(config)
        self._clocks = {source.name: Clocks() for source in config.sources}

    def accept(
        self,
        source: SourceConfig,
        received: Received,
        *,
        default_type: str | None,
        client_ip: str | None,
        user_agent: str | None = None,
        is_retry: bool,
        sender: str = "",
        hold: Callable[[int], bool] = lambda _: True,
        ip: IpPolicy = "keep",
    ) -> "asyncio.Future[None]":
        """Make the records of a request durable; the result arrives when they are on disk.

        Until then nothing but the records is kept: what waits for the disk is to be small.

        :param default_type: the type of events that name none.
        :param client_ip: the user's address where the request tells it.
        :param user_agent: the user's browser where the request tells it.
        :param is_retry: whether the request says that it was sent before.
        :param sender: what sends it, by its headers.
        :param hold: asks for room for that many bytes, the records, in place of the request's.
        :param ip: what the request itself asks for, which counts where it is stricter.
        :raises RequestError: (400) as of ``prepare``.
        :raises SpoolUnavailable: (also from the future) nothing was kept.
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
            sender=sender,
            clocks=self._clocks[source.name],
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
            misfits=[without_key(misfit, write_key) for misfit in received.misfits]
            if received.misfits
            else (),
            odd_contexts=received.odd_contexts,
            source=source.name,
            client_ip=client_ip,
            original=Originals(received, write_key),
        )
        counts: list[tuple[Counted, int]] = [
            (self._telemetry.events_received.labels(source.name), count)
        ]
        if received.nulls:
            counts.append((self._telemetry.numbers_nulled.labels(source.name), received.nulls))
        if uncorrected:
            counts.append((self._telemetry.times_uncorrected.labels(source.name), uncorrected))
        if applied is not None:
            counts += self._kept_away(source.name, applied)
        return self._keep(mapped.entries, mapped.dead, hold, counts)

    async def accept_records(
        self,
        endpoint: EndpointName,
        records: Sequence[NativeRecord],
        *,
        client_ip: str | None,
        destination: str | None = None,
        hold: Callable[[int], bool] = lambda _: True,
    ) -> RequestVerdict:
        """Make records of Mixpanel's own SDKs durable; returns when they are on disk.

        :param client_ip: the user's address, where Mixpanel is to locate it.
        :param destination: where they go; None: where their tokens say.
        :param hold: as for ``accept``.
        :returns: which of them were not taken.  Those of a destination are kept as dead letters.
        :raises SpoolUnavailable: nothing was kept.
        """
        mapped = self._native.map(
            endpoint,
            records,
            received_ms=self._clock.now_ms(),
            client_ip=client_ip,
            destination=destination,
        )
        counts: list[tuple[Counted, int]] = [
            (self._telemetry.events_received.labels(_NATIVE), len(records))
        ]
        counts += [
            (self._telemetry.events_rejected.labels("", fault), 1) for fault in mapped.nobodys
        ]
        nulls = getattr(records, "nulls", 0)
        if nulls:
            counts.append((self._telemetry.numbers_nulled.labels(_NATIVE), nulls))
        counts += [
            (self._telemetry.events_skipped.labels(*left_out), amount)
            for left_out, amount in mapped.skipped.items()
        ]
        if mapped.nobodys:
            self._note_nobodys(records, mapped.verdict)
        del records
        await self._keep(mapped.entries, mapped.dead, hold, counts)
        return mapped.verdict

    def _keep(
        self,
        entries: Sequence[Entry],
        dead: Sequence[DeadLetter],
        hold: Callable[[int], bool],
        counts: Sequence[tuple[Counted, int]],
    ) -> "asyncio.Future[None]":
        """Begin to keep records; the result arrives when all is on disk, and counted."""
        if not hold(size_of(entries, dead)):
            raise SpoolUnavailable("too many requests wait for the disk", retry_after_s=2)
        kept: asyncio.Future[None]
        if entries or dead:
            kept = asyncio.ensure_future(self._spool.append(entries, dead))
        else:
            kept = asyncio.get_running_loop().create_future()
            kept.set_result(None)
        # Called before whoever awaits the future goes on.
        kept.add_done_callback(partial(self._count, dead, counts))
        return kept

    def _count(
        self,
        dead: Sequence[DeadLetter],
        counts: Sequence[tuple[Counted, int]],
        kept: "asyncio.Future[None]",
    ) -> None:
        """Count what is on disk."""
        if kept.cancelled() or kept.exception() is not None:
            return
        for count, amount in counts:
            count.inc(amount)
        for letter in dead:
            destination, reason = letter.queue.destination, letter.reason
            self._telemetry.events_rejected.labels(destination, reason).inc()
            source = letter.origin.source if letter.origin is not None else _NATIVE
            self._notices.say(
                f"dead_letter {reason}",
                (destination, source),
                "an event of %s for %s became a dead letter, %s; see gateway dead-letters list",
                source,
                destination,
                reason,
            )

    def _note_nobodys(self, records: Sequence[NativeRecord], verdict: RequestVerdict) -> None:
        """Tell operators of records that were left out because no destination has their token."""
        for problem in verdict.problems:
            if problem.fault not in ("unknown_token", "missing_token"):
                continue
            token = records[problem.index].token
            shown = "none" if token is None else masked(token)
            self._notices.say(
                problem.fault,
                shown,
                "records of Mixpanel's SDKs were not taken: no destination has their token (%s); "
                "compare it with destinations[].settings.projectToken",
                shown,
            )
            return

    def _kept_away(self, source: str, applied: Applied) -> Iterator[tuple[Counted, int]]:
        """Yield how much a source's options kept away."""
        for reason, count in Counter(applied.filtered).items():
            yield self._telemetry.events_filtered.labels(source, reason), count
        for reason, count in Counter(each.reason for each in applied.removals).items():
            yield self._telemetry.values_removed.labels(source, reason), count
