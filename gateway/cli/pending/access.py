"""How the commands reach pending records."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from gateway.cli.admin_port import AdminPort
from gateway.cli.options import Where
from gateway.cli.pending.over_http import PendingOverHttp
from gateway.cli.reach import Way, reach
from gateway.clock import SystemClock
from gateway.config import Config
from gateway.pending import MergedPending, Pending
from gateway.spool.base import Spool

__all__ = ["Access", "access"]

Access: TypeAlias = PendingOverHttp | MergedPending


def access(
    where: Where, *, destination: str | None = None
) -> AbstractAsyncContextManager[tuple[Access, str]]:
    """Give the pending records, and a text that says where they are; see ``reach``."""
    return reach(where, _WAY, destination=destination)


async def _together(ports: Mapping[int, AdminPort]) -> Access:
    members = [PendingOverHttp(port) for _, port in sorted(ports.items())]
    return MergedPending(members, is_delivered=True)


def _directly(config: Config, spools: Mapping[int, Spool]) -> Access:
    clock = SystemClock()
    members = [Pending(spool.pending, clock) for _, spool in sorted(spools.items())]
    return MergedPending(members, is_delivered=False)


_WAY: Way[Access] = Way(
    path="/pending",
    things="pending records",
    alone=PendingOverHttp,
    together=_together,
    directly=_directly,
)
