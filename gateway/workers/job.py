"""What the supervisor and a worker say to each other."""

import socket
from dataclasses import dataclass
from pathlib import Path

from gateway.app import Place
from gateway.config import Config

__all__ = ["READY", "Job"]

READY = "ready"
"""What a worker answers when it serves; anything else is the reason why it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is to do.

    :param config: its share of it; it passes through a pipe, so no secret of it is ever on disk or
        among the arguments of a process.
    :param listeners: the descriptors of the sockets that SDKs connect to; none: it only delivers.
    """

    config: Config
    number: int
    admin_path: Path
    listeners: tuple[int, ...]

    def place(self) -> Place:
        """Return where its process stands."""
        return Place(
            number=self.number,
            serves=bool(self.listeners),
            listeners=[socket.socket(fileno=each) for each in self.listeners],
            admin_path=self.admin_path,
        )
