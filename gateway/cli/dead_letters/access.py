"""How the commands reach dead letters."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from gateway.app import dead_letters_of
from gateway.cli.admin_port import AdminPort
from gateway.cli.dead_letters.over_http import OverHttp
from gateway.cli.dead_letters.several import SeveralOverHttp
from gateway.cli.options import Where
from gateway.cli.reach import Way, reach
from gateway.config import Config
from gateway.dead_letters import DeadLetters
from gateway.spool import SqliteSpool
from gateway.spool.several_letters import SeveralDeadLetters

__all__ = ["Access", "access"]

Access: TypeAlias = DeadLetters | OverHttp | SeveralOverHttp


def access(
    where: Where, *, destination: str | None = None
) -> AbstractAsyncContextManager[tuple[Access, str]]:
    """Give the dead letters, and a text that says where they are; see ``reach``."""
    return reach(where, _WAY, destination=destination)


async def _together(ports: Mapping[int, AdminPort]) -> Access:
    several = SeveralOverHttp({number: OverHttp(port) for number, port in ports.items()})
    await several.look()
    return several


def _directly(config: Config, spools: Mapping[int, SqliteSpool]) -> Access:
    letters = SeveralDeadLetters({number: spool.letters for number, spool in spools.items()})
    limits = next(iter(spools.values())).letter_limits
    return dead_letters_of(config, letters, limits)


_WAY: Way[Access] = Way(
    path="/dead-letters",
    things="dead letters",
    alone=OverHttp,
    together=_together,
    directly=_directly,
)
