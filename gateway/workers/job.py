"""What the supervisor and a worker say to each other, on the channel between them.

The supervisor sends the job, then words, each a line.  The worker answers in words.
"""

import pickle
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import msgspec

from gateway.app import ProcessRole
from gateway.config import Config

__all__ = [
    "ALIVE",
    "ASK",
    "CANNOT",
    "HAND_OVER",
    "LEFT",
    "MOST_BYTES",
    "READY",
    "STOP_NOW",
    "Job",
    "Left",
]

ASK = b"?"
"""The supervisor: whether the event loop still turns."""

HAND_OVER = b"hand over"
"""The supervisor: stop in order, and leave to the next what is pending."""

STOP_NOW = b"stop now"
"""The supervisor: stop, and leave undone what takes time."""

ALIVE = b"alive"
"""A worker: it does."""

READY = b"ready"
"""A worker: it serves."""

CANNOT = b"cannot "
"""A worker: it cannot start; the reason follows."""

LEFT = b"left "
"""A worker, at its end: ``Left`` follows, as JSON."""

MOST_BYTES = 16 * 1024 * 1024
"""Of a line."""

_HEAD_BYTES = 8
_MOST_SOCKETS = 250  # SCM_MAX_FD is 253


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What remains of a worker that has stopped in order.

    :param pending: records that wait for the next start.
    :param metrics: in Prometheus' text format.
    """

    pending: int
    metrics: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is to do.

    :param config: its share of it; it passes through the channel, so no secret of it is ever on
        disk or among the arguments of a process.
    :param listeners: the descriptors of the sockets that SDKs connect to; none: it only delivers.
    """

    config: Config
    number: int
    admin_path: Path
    listeners: tuple[int, ...]

    def place(self) -> ProcessRole:
        """Return where its process stands."""
        return ProcessRole(
            number=self.number,
            serves=bool(self.listeners),
            listeners=[socket.socket(fileno=each) for each in self.listeners],
            admin_path=self.admin_path,
        )

    def begin(self, channel: socket.socket) -> bytes:
        """Send the listeners; return what is to be sent after them.

        :raises OSError: the process has gone.
        """
        text = pickle.dumps(self)
        socket.send_fds(channel, [len(text).to_bytes(_HEAD_BYTES, "big")], self.listeners)
        return text

    @classmethod
    def receive(cls, channel: socket.socket) -> Self | None:
        """Wait for the job; return None when the supervisor has gone."""
        head, listeners, _, _ = socket.recv_fds(channel, _HEAD_BYTES, _MOST_SOCKETS)
        text = b""
        while head and len(text) < int.from_bytes(head, "big"):
            part = channel.recv(int.from_bytes(head, "big") - len(text))
            if not part:
                return None
            text += part
        if not text:
            return None
        job: Self = pickle.loads(text)  # noqa: S301 - from who started this process
        return replace(job, listeners=tuple(listeners))
