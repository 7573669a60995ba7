"""The port that operators talk to: health, the ledger, metrics."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway import __version__
from gateway.admin.dead_letters import DeadLetterPages
from gateway.admin.listener import AdminListener
from gateway.admin.operator_pages import MAX_BODY_BYTES, OperatorPages
from gateway.admin.pending import PendingPages
from gateway.clock import Clock
from gateway.config import AdminConfig
from gateway.dead_letters import DeadLetters
from gateway.model import DeadLetterCount, Ledger
from gateway.pending import Pending
from gateway.spool.base import Spool
from gateway.telemetry import Telemetry

__all__ = ["AdminServer"]


class AdminServer:
    """Health and state over HTTP.

    :param delivery_status: what every sender is doing, by destination and endpoint.
    :param ingest_status: what requests take, and what they may take.
    """

    def __init__(
        self,
        config: AdminConfig,
        *,
        spool: Spool,
        dead_letters: DeadLetters,
        pending: Pending,
        delivery_status: Callable[[], Mapping[str, Any]],
        ingest_status: Callable[[], Mapping[str, Any]],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._spool = spool
        self._dead_letters = dead_letters
        self._delivery_status = delivery_status
        self._ingest_status = ingest_status
        self._clock = clock
        self._telemetry = telemetry
        self._started = clock.monotonic()
        self._draining = False
        operators = OperatorPages(config)
        pages = [
            web.get("/livez", self._livez),
            web.get("/readyz", self._readyz),
            web.get("/statusz", self._statusz),
            web.get("/metrics", self._metrics),
            *DeadLetterPages(dead_letters).routes(operators),
            *PendingPages(pending).routes(operators),
        ]
        self._listener = AdminListener(
            config,
            pages,
            served="/livez /readyz /statusz /metrics /dead-letters /pending",
            max_body_bytes=MAX_BODY_BYTES,
        )

    async def start(self, path: Path | None = None) -> None:
        """Listen.

        :param path: of a socket, in place of the configured address.
        :raises OSError: the address cannot be used.
        """
        await self._listener.start(path)

    async def stop(self) -> None:
        """Stop listening."""
        await self._listener.stop()

    def drain(self) -> None:
        """Answer from now on that no more requests should come here."""
        self._draining = True

    @property
    def port(self) -> int:
        """The port in use, also where the configuration says 0."""
        return self._listener.port

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._draining:
            return web.json_response({"status": "draining"}, status=503)
        health = await self._spool.check()
        if not health.accepting:
            return web.json_response({"status": "not ready", "detail": health.detail}, status=503)
        return web.json_response({"status": "ready"})

    async def _statusz(self, _: web.Request) -> web.Response:
        health = await self._spool.check()
        usage = self._spool.usage()
        now_ms = self._clock.now_ms()
        by_destination = self._spool.ledger()
        total = sum(by_destination.values(), Ledger())
        kept = self._dead_letters.kept()
        limits = self._dead_letters.limits
        delivery = self._delivery_status()
        return web.json_response(
            {
                "version": __version__,
                "uptime_seconds": int(self._clock.monotonic() - self._started),
                "ledger": _ledger(total),
                "dead_letters": {
                    **_dead_letters(total, sum(kept.values(), DeadLetterCount())),
                    "max_bytes": limits.max_bytes,
                    "max_age_days": limits.max_age_ms / 86_400_000,
                },
                "destinations": {
                    name: {
                        "ledger": _ledger(by_destination.get(name, Ledger())),
                        "dead_letters": _dead_letters(
                            by_destination.get(name, Ledger()), kept.get(name, DeadLetterCount())
                        ),
                        "endpoints": self._endpoints(name, delivery.get(name, {}), now_ms),
                    }
                    for name in sorted({*by_destination, *delivery})
                },
                "ingest": dict(self._ingest_status()),
                "spool": {
                    "accepting": health.accepting,
                    "detail": health.detail,
                    "used_bytes": usage.used,
                    "capacity_bytes": usage.capacity,
                    "disk_free_bytes": usage.disk_free,
                    "min_free_bytes": usage.min_free,
                },
            }
        )

    def _endpoints(
        self, destination: str, delivery: Mapping[str, Any], now_ms: int
    ) -> dict[str, Any]:
        endpoints: dict[str, Any] = {name: dict(state) for name, state in delivery.items()}
        for queue, state in self._spool.queues().items():
            if queue.destination == destination and queue.endpoint:
                age_ms = 0 if state.oldest_ms is None else max(0, now_ms - state.oldest_ms)
                endpoints.setdefault(queue.endpoint, {}).update(
                    pending=state.pending, chunks=state.chunks, oldest_age_seconds=age_ms / 1000
                )
        return endpoints

    async def _metrics(self, _: web.Request) -> web.Response:
        await self._spool.check()
        return web.Response(
            body=self._telemetry.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def _ledger(ledger: Ledger) -> dict[str, int]:
    return {
        "accepted": ledger.accepted,
        "delivered": ledger.delivered,
        "dead_lettered": ledger.dead_lettered,
        "pending": ledger.pending,
        "gap": ledger.gap,
    }


def _dead_letters(ledger: Ledger, kept: DeadLetterCount) -> dict[str, int]:
    return {
        "kept": kept.letters,
        "bytes": kept.bytes,
        "replayed": ledger.replayed,
        "purged": ledger.purged,
        "dropped": ledger.dropped,
        "lost": ledger.lost,
        "gap": ledger.kept - kept.letters,
    }
