"""The ledger once more, beside the file: it tells how much is missing when the file is damaged.

Written after each commit, never before, and not synced: it may be a little behind the file, and
is never ahead of it unless the file has lost something.
"""

import os
import struct
from pathlib import Path

import msgspec
from isal import isal_zlib

from gateway.model import Queue

__all__ = ["Memo", "QueueMemo", "Sidecar"]

SLOT_BYTES = 256 * 1024
"""Room for some 2000 queues.  Only what is used takes room on the disk."""

_HEAD = struct.Struct("<8sQII")  # magic, number, bytes of the body, CRC-32 of number and body
_MAGIC = b"gwledger"


class QueueMemo(msgspec.Struct, array_like=True):
    """A queue as it was after a commit.

    :param first_id: of the oldest waiting chunk; 0 when none waits.
    """

    id: int
    destination: str
    endpoint: str
    first_id: int

    @property
    def queue(self) -> Queue:
        """Its name."""
        return Queue(self.destination, self.endpoint)


class Memo(msgspec.Struct, array_like=True):
    """What is known of a spool without its file.

    :param format: of the file.
    :param last_id: the highest id that a chunk has had.
    :param ledger: by destination, the values of ``ledger_rows.COUNTED``.
    """

    format: int
    last_id: int
    ledger: dict[str, tuple[int, ...]]
    queues: list[QueueMemo]


class Sidecar:
    """Two slots, written in turns: when one is torn, the other is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._number = 0
        self._encoder = msgspec.msgpack.Encoder()

    def open(self) -> Memo | None:
        """Return the newest memo that is whole; None when there is none.

        :raises OSError: the file cannot be opened or read.
        """
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        data = os.pread(self._fd, 2 * SLOT_BYTES, 0)
        slots = (data[:SLOT_BYTES], data[SLOT_BYTES:])
        found = [slot for slot in map(_read, slots) if slot is not None]
        self._number, memo = max(found, key=lambda slot: slot[0], default=(0, None))
        return memo

    def close(self) -> None:
        """Release the file.  Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def write(self, memo: Memo) -> None:
        """Write a memo over the older one.

        :raises OSError: it is not kept; the one before still is.
        """
        if self._fd is None:
            return
        number = self._number + 1
        body = self._encoder.encode(memo)
        if len(body) + _HEAD.size > SLOT_BYTES:
            return
        head = _HEAD.pack(_MAGIC, number, len(body), _checksum(number, body))
        data = head + body
        if os.pwrite(self._fd, data, number % 2 * SLOT_BYTES) == len(data):
            self._number = number


def _read(data: bytes) -> tuple[int, Memo] | None:
    """Return what is in a slot, None when it is not whole."""
    if len(data) < _HEAD.size:
        return None
    magic, number, size, expected = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + size]
    if magic != _MAGIC or len(body) != size or _checksum(number, body) != expected:
        return None
    try:
        return number, msgspec.msgpack.decode(body, type=Memo)
    except msgspec.DecodeError:  # of another version
        return None


def _checksum(number: int, body: bytes) -> int:
    return isal_zlib.crc32(body, isal_zlib.crc32(number.to_bytes(8, "little")))
