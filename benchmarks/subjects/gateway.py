"""The gateway, started as its users start it."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.load.client import Result
from benchmarks.measure import Settings
from benchmarks.processes import Broken, Program, Usage, python, total, until
from benchmarks.sink import Stats
from benchmarks.subjects import metrics
from benchmarks.subjects.base import SETTLE_S, Facts, OwnSink, Subject, address_of, get, read_json

__all__ = ["Gateway"]

_UNLIMITED = 1e12
_STOP = {"shutdown_timeout_s": 1.0}  # long enough where everything has been delivered
_COMMITS = "gateway_spool_commits_total"
_LAG = "gateway_delivery_lag_seconds"

Ledger = dict[str, int]


class Gateway(Subject):
    """``gateway run --config FILE`` on loopback, with a spool of its own on a disk.

    :param directory: for its configuration and what it prints.
    :param workers: its processes.
    :param spool: folder in which it gets one for its spool, removed at the end.
    :param sink: counts what is delivered; None when only the ledger tells.
    :param sink_url: where it delivers; None for nowhere.
    """

    name = "gateway"
    about = "durable, mapped, delivered"

    def __init__(
        self,
        directory: Path,
        *,
        spool: Path,
        sink: OwnSink | None,
        sink_url: str | None,
        workers: int = 1,
    ) -> None:
        super().__init__()
        self.directory = directory
        self._spool = spool
        self._workers = workers
        self._sink = sink
        self._sink_url = sink_url
        self._url = self._admin = ""
        self._ledger: Ledger = {}
        self._stats = Stats()
        self._metrics: metrics.Samples = {}
        self._usages: dict[int, Usage] = {}
        if sink_url is None:
            self.about = "durable, mapped, not delivered"

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes events."""
        return address_of(self._url)

    def start(self, stack: ExitStack) -> None:
        """Start it, and return when it serves."""
        spool = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="benchmark-spool-", dir=self._spool)
        )
        config = self.directory / "gateway.json"
        # Nobody listens at port 9 (discard); what is refused there stays in the spool.
        sink_url = self._sink_url or "http://127.0.0.1:9"
        config.write_text(json.dumps(_config(spool, sink_url, self._workers)))
        self.program = stack.enter_context(
            Program(
                "the gateway",
                python("gateway", "run", "--config", str(config)),
                log=self.directory / "gateway.log",
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", os.defpath)},  # which configures nothing
            )
        )
        self._url = self.program.wait_for(r"SDKs send to +(http://\S+)")[1]
        self._admin = self.program.wait_for(r"(http://\S+)/statusz")[1]

    def ledger(self) -> Ledger:
        """Return the ledger.

        :raises Broken: the gateway does not run, or something vanished.
        """
        self.program.check()
        ledger: Ledger = read_json(f"{self._admin}/statusz")["ledger"]
        if ledger["gap"]:
            raise Broken(f"the gateway's ledger has a gap: {ledger}")
        return ledger

    def before(self) -> None:
        """Take note of the ledger, the metrics and the sink's counters."""
        self._ledger = self.ledger()
        self._metrics = metrics.parse(get(f"{self._admin}/metrics").decode())
        self._usages = self.program.usages()
        if self._sink is not None:
            self._stats = self._sink.stats()

    def settle(self, results: Sequence[Result]) -> Facts:
        """Wait until nothing is pending, and see whether the books are right."""

        def drained() -> Ledger | None:
            ledger = self.ledger()
            return ledger if ledger["pending"] == 0 or self._sink_url is None else None

        ledger = until(drained, SETTLE_S)
        if ledger is None:
            raise Broken(
                f"records are still pending {SETTLE_S:g} s after the load: {self.ledger()}"
            )
        added = {state: count - self._ledger.get(state, 0) for state, count in ledger.items()}
        self._check(added, sum(result.records for result in results))
        events = sum(result.events for result in results)
        return self._facts(added, events)

    def _check(self, added: Mapping[str, int], records: int) -> None:
        """Compare what the gateway says with what was sent and what arrived."""
        if added["accepted"] != records:
            raise Broken(f"the gateway accepted {added['accepted']} records of {records}")
        ended = added["delivered"] + added["dead_lettered"]
        if ended + added["pending"] != records:
            raise Broken(f"the gateway's ledger does not add up: {added}")
        if added["dead_lettered"]:
            raise Broken(f"the gateway could not deliver {added['dead_lettered']} good records")
        if self._sink_url is not None and ended != records:
            raise Broken(f"the gateway delivered {ended} records of {records}")
        if self._sink is not None:
            arrived = self._sink.stats().records - self._stats.records
            if arrived != added["delivered"]:
                raise Broken(
                    f"{arrived} records are in the sink, and the gateway delivered "
                    f"{added['delivered']}"
                )

    def _facts(self, added: Mapping[str, int], events: int) -> Facts:
        samples = metrics.parse(get(f"{self._admin}/metrics").decode())
        new = metrics.difference(self._metrics, samples)
        usages = self.program.usages()
        written = total(usages).written_bytes - total(self._usages).written_bytes
        facts: Facts = {
            "records": added["accepted"],
            "commits_per_1000_events": 1000 * metrics.total(new, _COMMITS) / events,
            "requests_to_sink": metrics.total(new, "gateway_delivery_requests_total"),
            "written_bytes_per_event": written / events,
            "busiest_process_share": _busiest_share(self._usages, usages),
        }
        commit = metrics.quantile(new, "gateway_spool_commit_seconds", 0.99)
        lag = metrics.quantile(new, _LAG, 0.99)
        facts |= {"commit_p99_ms": commit * 1e3} if commit is not None else {}
        facts |= {"lag_p99_s": lag} if lag is not None and self._sink_url is not None else {}
        return facts


def _busiest_share(before: Mapping[int, Usage], after: Mapping[int, Usage]) -> float:
    """Return the share of CPU time that the busiest process has of that of all."""
    idle = Usage(0.0, 0, 0, 0)
    used = [usage.cpu_s - before.get(pid, idle).cpu_s for pid, usage in after.items()]
    return max(used) / sum(used) if sum(used) > 0 else 1.0


def _config(spool: str, sink_url: str, workers: int) -> dict[str, Any]:
    settings = Settings(received_ms=corpus.RECEIVED_MS)
    return {
        "server": {"host": "127.0.0.1", "port": 0, "workers": workers, **_STOP},
        "admin": {"host": "127.0.0.1", "port": 0},
        "spool": {"path": spool},
        "sources": [{"name": "app", "write_key": corpus.WRITE_KEY}],
        "destinations": [
            {
                "name": "mixpanel",
                "profile": "segment",
                "base_url": sink_url,
                # Mixpanel's limits are not what is measured.
                "delivery": {"records_per_second": _UNLIMITED, "bytes_per_minute": _UNLIMITED},
                "settings": {"projectToken": settings.token, "sourceName": settings.source_name},
            }
        ],
    }
