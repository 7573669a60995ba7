"""The storage that a configuration names, for the parts that put a gateway together.

Only here is it known which one that is.
"""

from pathlib import Path
from typing import NamedTuple

from gateway.clock import Clock
from gateway.config import Config
from gateway.errors import SpoolError
from gateway.spool.base import Spool
from gateway.spool.dead_letters import LetterLimits
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.files import check_files, numbers_in, spool_name
from gateway.spool.sqlite.folder import look_at
from gateway.telemetry import Telemetry

__all__ = ["Outlook", "name_of", "numbers_left", "outlook", "spool_of"]


class Outlook(NamedTuple):
    """What can be told of a storage without changing anything.

    :param problem: why no spool can be opened there, "" when one can.
    :param free_bytes: the room that is left.
    """

    problem: str
    free_bytes: int = 0


def spool_of(config: Config, clock: Clock, telemetry: Telemetry, *, number: int = 0) -> Spool:
    """Return the spool of a process, closed.

    :param number: of the process among those that share the configuration.
    """
    days = config.spool.dead_letter_max_age_days
    return SqliteSpool(
        Path(config.spool.path),
        clock=clock,
        telemetry=telemetry,
        max_bytes=config.spool.max_bytes,
        min_free_bytes=config.spool.min_free_bytes,
        name=spool_name(number),
        letter_limits=LetterLimits(
            max_bytes=config.spool.dead_letter_max_bytes, max_age_ms=int(days * 86_400_000)
        ),
    )


def name_of(number: int) -> str:
    """Return what a process and its spool are called."""
    return spool_name(number)


def numbers_left(config: Config) -> list[int]:
    """Return the numbers of the processes that have left a spool, whether or not they run.

    :raises SpoolError: that cannot be found out now.
    """
    return numbers_in(Path(config.spool.path))


def outlook(path: str) -> Outlook:
    """Return what can be told of ``spool.path``, also where nothing is there yet."""
    directory = Path(path)
    place = look_at(directory)
    problem = place.problem
    if not problem:
        try:
            check_files(directory)
        except SpoolError as error:
            problem = str(error)
    return Outlook(problem, place.disk_free)
