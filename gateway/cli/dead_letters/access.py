"""How the commands reach dead letters."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from gateway.app import dead_letters_of
from gateway.cli.admin_port import AdminPort
from gateway.cli.dead_letters.over_http import LettersOverHttp
from gateway.cli.options import Where
from gateway.cli.reach import Way, reach
from gateway.config import Config
from gateway.dead_letters import MergedDeadLetters
from gateway.spool.base import Spool

__all__ = ["Access", "access"]

Access: TypeAlias = LettersOverHttp | MergedDeadLetters


def access(
    where: Where, *, destination: str | None = None
) -> AbstractAsyncContextManager[tuple[Access, str]]:
    """Give the dead letters, and a text that says where they are; see ``reach``."""
    return reach(where, _WAY, destination=destination)


async def _together(ports: Mapping[int, AdminPort]) -> Access:
    return MergedDeadLetters([LettersOverHttp(port) for _, port in sorted(ports.items())])


def _directly(config: Config, spools: Mapping[int, Spool]) -> Access:
    stores = [spool.dead_letters for _, spool in sorted(spools.items())]
    return MergedDeadLetters([dead_letters_of(config, store) for store in stores])


_WAY: Way[Access] = Way(
    path="/dead-letters",
    things="dead letters",
    alone=LettersOverHttp,
    together=_together,
    directly=_directly,
)
